"""What is refused before anything is started."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from scipy import sparse

from coded_als.errors import UsageError


def checked_ratings(ratings: Any) -> Any:
    """R as (m, n) float64, dense or compressed by rows, once it is known to be a finite matrix of numbers.

    Raises
    ------
    UsageError
    """
    matrix = ratings.tocsr() if sparse.issparse(ratings) else np.asarray(ratings)
    if len(matrix.shape) != 2 or min(matrix.shape) == 0:
        raise UsageError(
            f"ratings must be a matrix with rows and columns; got shape {matrix.shape}. Pass an (m, n) matrix."
        )
    values = matrix.data if sparse.issparse(matrix) else matrix
    if matrix.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise UsageError("ratings must be finite real numbers; got NaN, infinity or another type. Clean the input.")
    return matrix.astype(np.float64, copy=False)


def require_factorable(squared_norm: float) -> None:
    """Refuse a matrix that is all zero, or whose squares overflow."""
    if squared_norm == 0:
        raise UsageError("ratings must not all be zero; got a zero matrix. Check the input and its weighting.")
    if not np.isfinite(squared_norm):
        raise UsageError("ratings must be so small that their squares are finite; got an overflow. Scale the input.")


def require_choices(chosen: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse a value that is not one of its literal type, by name: (value, type)."""
    for name, (value, allowed) in chosen.items():
        if value not in get_args(allowed):
            names = ", ".join(get_args(allowed))
            raise UsageError(f"{name} must be one of {names}; got {value!r}. Choose one of them.")


def require_whole(least: int, **values: int | None) -> None:
    """Refuse what is not a whole number of at least ``least``; None is a default to be chosen later."""
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise UsageError(f"{name} must be a whole number of at least {least}; got {value!r}. Correct it.")


def require_not_negative(**values: float) -> None:
    """Refuse what is not a finite number of at least 0."""
    for name, value in values.items():
        if not (np.isfinite(value) and value >= 0):
            raise UsageError(f"{name} must be a number >= 0; got {value!r}. Correct it.")
