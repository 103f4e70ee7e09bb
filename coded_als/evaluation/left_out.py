"""A part of each row that is left out, and the scores that the rest of the row predicts for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import as_matrix

_LEFT_OUT = 0.2
_BLOCK_ROWS = 256


def left_out(matrix: Any, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Which entries to leave out of each row, at random, so that a row with two or more loses one and keeps one.

    Parameters
    ----------
    matrix
        csr (k, n).
    share
        Of the entries of a row, rounded.
    seed
        Of the choice.

    Returns
    -------
    (entries,)
    """
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(counts.size), counts)
    order = np.lexsort((np.random.default_rng(seed).random(matrix.nnz), rows))
    place = np.empty(matrix.nnz, dtype=np.int64)
    place[order] = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    return np.asarray(place < np.clip(np.rint(share * counts), counts > 1, np.maximum(counts - 1, 0))[rows])


def leave_out(ratings: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The ratings kept, csr, and row, column and value of those left out of rows with at least two, row by row.

    Returns
    -------
    The matrix (k, n), and (left out,) of each of the others.

    Raises
    ------
    UsageError
        When no row has two entries.
    """
    from scipy.sparse import csr_array

    matrix = csr_array(as_matrix(ratings))
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(counts.size), counts)
    out = left_out(matrix, _LEFT_OUT)
    if not out.any():
        raise UsageError("ratings must have a row with two or more to leave one out; got none. Pass longer rows.")
    kept = csr_array((matrix.data[~out], (rows[~out], matrix.indices[~out])), shape=matrix.shape)
    return kept, rows[out], matrix.indices[out], matrix.data[out]


def score_blocks(model: FactorModel, kept: Any) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Number of the first row and scores of all items, some rows at a time.

    Parameters
    ----------
    model
        Fitted, with fold-in.
    kept
        csr (k, n).

    Returns
    -------
    Pairs of a number and scores, (rows, n).
    """
    for start in range(0, kept.shape[0], _BLOCK_ROWS):
        yield start, model.score_new(model.fold_in(kept[start : start + _BLOCK_ROWS]))
