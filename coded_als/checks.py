"""Checks of parameters and of arrays that every room shares."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError


def is_whole(value: object) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def require_whole(name: str, value: Any, least: int) -> None:
    """Raise `UsageError` unless ``value`` is a whole number of at least ``least``."""
    if not is_whole(value) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def require_number(name: str, value: Any, *, positive: bool = False) -> None:
    """Raise `UsageError` unless ``value`` is finite and not negative (or, on request, greater than 0)."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise UsageError(f"{name} must be a number {'>' if positive else '>='} 0; got {value!r}.")


def require_one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise `UsageError` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}; got {value!r}.")


def all_finite(arrays: Iterable[NDArray[Any]]) -> bool:
    """Whether arrays hold neither NaN nor infinity."""
    # a finite sum has finite terms, and costs no mask; the sum of finite terms may still overflow
    with np.errstate(over="ignore", invalid="ignore"):
        return all(math.isfinite(array.sum()) or bool(np.isfinite(array).all()) for array in arrays)


def require_finite(name: str, *given: Any) -> None:
    """Raise `UsageError` unless arrays and numbers are finite and real; None is."""
    arrays = [np.asarray(value) for value in given if value is not None]
    if not all(array.dtype.kind in "biuf" for array in arrays) or not all_finite(arrays):
        raise UsageError(
            f"{name} must be finite real numbers; got NaN, infinity or another type. "
            "Scale the ratings or raise regularization."
        )
