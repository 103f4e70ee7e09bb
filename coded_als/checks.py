"""Checks of parameters and of arrays that every room shares."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError

# the sources of randomness that NumPy's functions take as ``rng``
RNG = int | np.random.SeedSequence | np.random.Generator | None


def seed_from(seed: int | None, rng: RNG) -> int:
    """The seed that the user gave as a number, or as a source of random numbers in place of it; 0 without either."""
    if seed is not None and rng is not None:
        raise UsageError(f"seed and rng are two names for one thing; got seed={seed!r} and rng={rng!r}. Leave one out.")
    if isinstance(rng, (np.random.SeedSequence, np.random.Generator)):
        return int(np.random.default_rng(rng).integers(2**32))
    if rng is None:
        return 0 if seed is None else seed
    if not is_whole(rng) or rng < 0:
        raise UsageError(f"rng must be a whole number of at least 0, a SeedSequence or a Generator; got {rng!r}.")
    return rng


def seed_of_state(random_state: int | np.random.RandomState | None) -> int:
    """The seed that a ``random_state`` of scikit-learn is or gives; None stands for NumPy's global source."""
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return int((random_state or np.random).randint(2**31))
    if not is_whole(random_state) or random_state < 0:
        raise UsageError(
            f"random_state must be a whole number of at least 0, a RandomState or None; got {random_state!r}."
        )
    return random_state


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
