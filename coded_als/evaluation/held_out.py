"""Fitted models against a part of each row, left out and predicted from the rest of that row.

Folding a row in and predicting that same row measures how much a model can bend, and the largest rank always wins.
The choice of ratings to leave out depends on the rows alone, so that models are compared on the same ratings.
"""

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

    ``matrix``: csr (k, n). Returns (entries,).
    """
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(counts.size), counts)
    order = np.lexsort((np.random.default_rng(seed).random(matrix.nnz), rows))
    place = np.empty(matrix.nnz, dtype=np.int64)
    place[order] = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
    return np.asarray(place < np.clip(np.rint(share * counts), counts > 1, np.maximum(counts - 1, 0))[rows])


def leave_out(ratings: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The ratings kept, csr, and row, column and value of those left out of rows with at least two, row by row.

    Returns the matrix (k, n), and (left out,) of each of the others. Raises UsageError when no row has two entries.
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

    ``kept``: csr (k, n). Returns pairs of a number and scores, (rows, n).
    """
    for start in range(0, kept.shape[0], _BLOCK_ROWS):
        yield start, model.score_new(model.fold_in(kept[start : start + _BLOCK_ROWS]))


def fitted_model(estimator: Any) -> tuple[FactorModel, bool]:
    """The model in a scikit-learn estimator, and whether it came in one; a pipeline is not looked into."""
    within = getattr(estimator, "model_", None)
    return (estimator, False) if within is None else (within, True)


def held_out_rmse(model: Any, ratings: Any, y: Any = None) -> float:
    """Root mean squared error on a fifth of each row's ratings, predicted from the other ones.

    Parameters
    ----------
    model
        Fitted, with fold-in. Or a fitted `coded_als.sklearn.Factorization`, as ``scoring=held_out_rmse`` of a search of
        scikit-learn passes it: the result is then minus the error, as such a search takes the largest.
    ratings
        (k, n) rows of users, known to the model or not.
    y
        Ignored.

    Returns
    -------
    At least 0; at most 0 for an estimator of scikit-learn.

    Raises
    ------
    UsageError
        When no row has two ratings.
    """
    model, is_searched = fitted_model(model)
    kept, rows, columns, values = leave_out(ratings)
    errors = np.empty(values.size)
    for start, scores in score_blocks(model, kept):
        part = (rows >= start) & (rows < start + len(scores))
        errors[part] = scores[rows[part] - start, columns[part]] - values[part]
    error = float(np.sqrt(np.mean(np.square(errors))))
    return -error if is_searched else error


def held_out_auc(model: Any, ratings: Any, y: Any = None) -> float:
    """The chance that an item left out of a row scores above one that is not in the row at all.

    Parameters
    ----------
    model
        Fitted, with fold-in; or a fitted `coded_als.sklearn.Factorization`, so that it may be passed as ``scoring=``.
    ratings
        (k, n) interactions of users, known to the model or not; their values do not matter.
    y
        Ignored.

    Returns
    -------
    Mean over the rows of which something is left out and something else is missing, 0 to 1; 0.5, chance, where there
    is no such row. A tie counts half.

    Raises
    ------
    UsageError
        When no row has two entries.
    """
    from scipy.stats import rankdata

    model, _ = fitted_model(model)
    kept, rows, columns, _ = leave_out(ratings)
    ends = np.searchsorted(rows, np.arange(kept.shape[0] + 1))
    chances = []
    for start, block in score_blocks(model, kept):
        for row, scores in enumerate(block, start):
            left_out = columns[ends[row] : ends[row + 1]]
            known = kept.indices[kept.indptr[row] : kept.indptr[row + 1]]
            others = scores.size - known.size - left_out.size
            if not left_out.size or not others:
                continue
            scores[known] = -np.inf
            # ranks among the items left out and the missing ones; the known ones are all below
            above = rankdata(scores)[left_out] - known.size
            wins = above.sum() - left_out.size * (left_out.size + 1) / 2
            chances.append(wins / (left_out.size * others))
    return float(np.mean(chances)) if chances else 0.5
