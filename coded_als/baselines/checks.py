"""What the sparse models accept."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from coded_als.errors import UsageError


def rating_matrix(ratings: Any, dtype: Any, *, columns: int | None = None) -> sparse.csr_array:
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
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    with np.errstate(over="ignore"):
        values = matrix.data.astype(dtype)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        raise UsageError(
            f"ratings must be finite in {values.dtype}; got {matrix.data[bad[0]]} at row {row}, column {matrix.indices[bad[0]]}. Remove or correct it."
        )
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    clean = sparse.csr_array((values, indices, indptr), shape=matrix.shape, copy=False)
    # scipy narrows the pointers; compiled loops want one type of them, not two
    clean.indptr, clean.indices = indptr, indices
    return clean
