"""Which entries of a matrix were ratings, as a sparse pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def pattern(shape: tuple[int, int], indptr: NDArray[Any], indices: NDArray[Any]) -> csr_array:
    """A sparse pattern from its parts, checked; the ones are a single byte each.

    Raises
    ------
    ValueError
        When the parts are not those of a sparse matrix of this shape.
    """
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(indices.size, dtype=np.int8), indices, indptr), shape=shape)
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
