"""What is refused before anything is started."""

from __future__ import annotations

from typing import Any

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
