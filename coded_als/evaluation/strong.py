"""Ratings that are left out of a row and predicted from the rest of it, of users known or not to the model.

Folding a row in and predicting that same row measures how much a model can bend, and the largest rank always wins.
The choice of ratings to leave out depends on the rows alone, so that models are compared on the same ratings.

Strong generalisation is that of users that the model was not trained on. For graphs this is the protocol of Mehta, Rendle,
Krichene, Zhang, "ALX: Large Scale Matrix Factorization on TPUs" (2021), section 5: a tenth of the source nodes is held out of
training, three quarters of the links of each fold it in, and the others are to be among the first 20 or 50.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.checks import RNG, seed_from
from coded_als.errors import UsageError
from coded_als.evaluation.metrics import ExpectedLists, expected_lists
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import as_matrix
from coded_als.models.top_n import recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from coded_als.data.ratings import RatingData

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


@dataclass(frozen=True)
class StrongScores:
    """Means over the users that were held out, and over the orders of items that score the same.

    Parameters
    ----------
    users
        How many count: those with two items or more that the model knows.
    recall
        By length of the list, the share of a user's hidden items that is in it.
    popularity
        The same for lists of the items that most users of the training part chose; None where the model does not
        know them.
    """

    users: int
    recall: dict[int, float]
    popularity: dict[int, float] | None


def evaluate_strong(
    model: FactorModel,
    test: RatingData,
    cutoffs: Sequence[int] = (20, 50),
    *,
    hidden: float = 0.25,
    seed: int | None = None,
    rng: RNG = None,
    memory_limit_bytes: int = 32 * 2**20,
) -> StrongScores:
    """Fold the users of the test part in by some of their ratings and look for the others in their lists.

    Parameters
    ----------
    model
        Fitted, with ``fold_in``.
    test
        Ratings; those of users that the model was trained on are left out.
    cutoffs
        Lengths of the lists.
    hidden
        Share of a user's ratings that is looked for, rounded so that either part has one; the others fold it in.
    seed
        Seed of the choice.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    memory_limit_bytes
        Bound on the temporary arrays.

    Raises
    ------
    UsageError
        When the test part has no user to hold out, or for a cutoff or share that makes no sense.
    """
    for cutoff in cutoffs:
        require_count(cutoff)
    if not cutoffs or not 0 < hidden < 1:
        raise UsageError(f"hidden must be between 0 and 1, for one list or more; got {hidden} and {cutoffs}.")
    rows = _held_out(model, test)
    looked_for = left_out(rows, hidden, seed_from(seed, rng))
    given, truth = _part(rows, ~looked_for), _part(rows, looked_for)
    users, items = rows.shape
    width = min(max(cutoffs), items)
    # a bias of the user shifts all its scores alike
    limits: Any = {"seen": given, "memory_limit_bytes": memory_limit_bytes}
    folded = model.fold_in(given).factors
    lists = expected_lists(
        lambda n: model.best_columns(folded, n, **limits),
        folded,
        model.item_factors_,
        model.item_biases_,
        truth,
        width,
        **limits,
    )
    popularity = None
    if model.seen_ is not None:
        counts = np.bincount(model.seen_.indices, minlength=items).astype(np.float64)[:, None]
        alike = np.ones((users, 1))
        popular = expected_lists(
            lambda n: recommend_batch(alike, counts, n, **limits), alike, counts, None, truth, width, **limits
        )
        popularity = _recall(popular, truth, cutoffs)
    return StrongScores(users, _recall(lists, truth, cutoffs), popularity)


def _held_out(model: FactorModel, test: RatingData) -> csr_array:
    """The rows of the users that the model was not trained on and that have two items it knows, in its columns."""
    from scipy.sparse import csr_array

    rows, columns, values = test.triples()
    columns = model.item_columns(test.item_ids)[columns]
    places = model.user_rows(test.user_ids)
    trained = places >= 0
    if model.seen_ is not None:
        # users that are only named: their ratings were held out of the fit
        trained[trained] = np.diff(model.seen_.indptr)[places[trained]] > 0
    usable = (columns >= 0) & ~trained[rows]
    counts = np.bincount(rows[usable], minlength=len(places))
    usable &= counts[rows] >= 2
    if not usable.any():
        raise UsageError(
            "the test part must have users outside of training with two items or more that the model knows; "
            f"{test.source} has none. Fit with some held out: fit --hold-out-users 0.1."
        )
    numbers, row = np.unique(rows[usable], return_inverse=True)
    return csr_array((values[usable], (row, columns[usable])), shape=(numbers.size, len(model.item_factors_)))


def _part(matrix: csr_array, chosen: np.ndarray) -> csr_array:
    from scipy.sparse import csr_array

    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return csr_array((matrix.data[chosen], (rows[chosen], matrix.indices[chosen])), shape=matrix.shape)


def _recall(lists: ExpectedLists, truth: csr_array, cutoffs: Sequence[int]) -> dict[int, float]:
    return {cutoff: float(lists.recall(np.diff(truth.indptr), cutoff).mean()) for cutoff in cutoffs}
