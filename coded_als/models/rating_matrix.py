"""Rating matrices at the entrance of a model: what is accepted, and which entries were ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def checked_ratings(ratings: Any) -> Any:
    """R as (m, n) float64, dense or compressed by rows, once it is known to be a finite matrix of numbers.

    A sparse one then holds each place once: entries of one place are summed, as scipy reads them.

    Raises
    ------
    UsageError
    """
    from scipy import sparse

    matrix = ratings.tocsr() if sparse.issparse(ratings) else np.asarray(ratings)
    if len(matrix.shape) != 2 or min(matrix.shape) == 0:
        raise UsageError(
            f"ratings must be a matrix with rows and columns; got shape {matrix.shape}. Pass an (m, n) matrix."
        )
    values = matrix.data if sparse.issparse(matrix) else matrix
    if matrix.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise UsageError("ratings must be finite real numbers; got NaN, infinity or another type. Clean the input.")
    matrix = matrix.astype(np.float64, copy=False)
    return _summed(matrix) if sparse.issparse(matrix) else matrix


def require_factorable(largest: float, squared_norm: float) -> None:
    """Refuse a matrix that is all zero, or whose squared norm float64 does not hold.

    Parameters
    ----------
    largest
        Its largest absolute entry.
    squared_norm
        The sum of its squares.

    Raises
    ------
    UsageError
    """
    if largest == 0:
        raise UsageError("ratings must not all be zero; got a zero matrix. Check the input and its weighting.")
    if not np.finfo(np.float64).tiny <= squared_norm < np.inf:
        raise UsageError(
            "ratings must be of a size whose squares are finite and not zero in float64; "
            f"got entries up to {largest:.0e}. Multiply the input by a constant."
        )


def rating_matrix(ratings: Any, dtype: Any, *, columns: int | None = None) -> csr_array:
    """A csr matrix in canonical form with int64 row pointers and int32 columns.

    Parameters
    ----------
    ratings
        (m, n) scipy sparse (every stored entry is a rating) or a dense array (zeros are missing).
    dtype
        Of the values.
    columns
        How many there must be, or None.

    Raises
    ------
    UsageError
        For what is not a real matrix, has no entry, holds NaN or infinity, or has the wrong number of columns.
    """
    from scipy import sparse

    if not sparse.issparse(ratings):
        ratings = np.asarray(ratings)
    if ratings.ndim != 2 or ratings.dtype.kind not in "biuf":
        raise UsageError(
            f"ratings must be a real matrix; got shape {ratings.shape} of {ratings.dtype}. Pass a scipy.sparse matrix."
        )
    matrix = sparse.csr_array(ratings)
    if matrix.nnz == 0:
        raise UsageError(f"ratings must have at least one entry; got an empty {matrix.shape} matrix. Check the input.")
    if columns is not None and matrix.shape[1] != columns:
        raise UsageError(f"ratings must have one column per item, {columns}; got {matrix.shape[1]}. Pad or cut them.")
    matrix = _summed(matrix)
    with np.errstate(over="ignore"):
        values = matrix.data.astype(dtype)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        raise UsageError(
            f"ratings must be finite in {values.dtype}; got {matrix.data[bad[0]]} at row {row}, "
            f"column {matrix.indices[bad[0]]}. Remove or correct it."
        )
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    clean = sparse.csr_array((values, indices, indptr), shape=matrix.shape, copy=False)
    # scipy narrows the pointers; compiled loops want one type of them, not two
    clean.indptr, clean.indices = indptr, indices
    return clean


def _summed(matrix: Any) -> Any:
    """The csr matrix in canonical form: sums over its values would be wrong where a place is held twice."""
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()
    matrix.sum_duplicates()
    return matrix


def pattern(shape: tuple[int, int], indptr: NDArray[Any], indices: NDArray[Any]) -> csr_array:
    """A sparse pattern from its parts, checked; the ones are a single byte each.

    Raises
    ------
    ValueError
        When the parts are not those of a sparse matrix of this shape.
    """
    from scipy import sparse

    matrix = sparse.csr_array((np.ones(indices.size, dtype=np.int8), indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def seen_pattern(ratings: Any) -> csr_array | None:
    """Which entries of a training matrix were ratings, for `FactorModel._keep`.

    Parameters
    ----------
    ratings
        (m, n), scipy sparse (stored entries are ratings) or dense (zeros are missing).

    Returns
    -------
    (m, n) sparse pattern, or None for a dense matrix without zeros: where all is known there is nothing to filter.
    """
    from scipy import sparse

    if not sparse.issparse(ratings):
        present = np.asarray(ratings) != 0
        if present.all():
            return None
        indptr = np.concatenate(([0], np.cumsum(present.sum(axis=1))))
        return pattern(present.shape, indptr, np.nonzero(present)[1])
    stored: Any = sparse.csr_array(ratings)
    return pattern(stored.shape, stored.indptr, stored.indices)
