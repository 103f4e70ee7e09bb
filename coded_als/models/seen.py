"""Sparse patterns: which entries are rated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from coded_als.models.rating_matrix import as_matrix


def pattern(shape: tuple[int, int], indptr: NDArray[Any], indices: NDArray[Any]) -> csr_array:
    """A sparse pattern from its parts, checked; the ones are a single byte each.

    Parameters
    ----------
    shape
        (m, n).
    indptr
        Where rows begin, (m + 1,).
    indices
        Columns of the entries, (entries,).

    Returns
    -------
    (m, n).

    Raises
    ------
    ValueError
        When the parts are not those of a sparse matrix of this shape.
    """
    from scipy import sparse

    matrix = sparse.csr_array((np.ones(indices.size, dtype=np.int8), indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    return matrix


def seen_pattern(ratings: Any, *, full: bool = False) -> csr_array | None:
    """Which entries of a training matrix were ratings, for `FactorModel._keep`.

    Parameters
    ----------
    ratings
        (m, n), as for `as_matrix`.
    full
        Whether a dense matrix without zeros has a pattern too.

    Returns
    -------
    (m, n) sparse pattern, or None for a dense matrix without zeros: where all is known there is nothing to filter.
    """
    from scipy import sparse

    stored = as_matrix(ratings)
    if isinstance(stored, np.ndarray):
        if not full and stored.all():
            return None
        stored = sparse.csr_array(stored)
    return pattern(stored.shape, stored.indptr, stored.indices)
