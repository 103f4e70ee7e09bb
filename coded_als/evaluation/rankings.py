"""Top lists of a fitted model against test ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.evaluation.metrics import (
    expected_lists,
    mae,
    rmse,
)
from coded_als.models.factor_model import FactorModel
from coded_als.models.top_n import require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from coded_als.data.ratings import RatingData


def trained_on(model: FactorModel, test: RatingData) -> int:
    """How many of the test ratings the model was trained on, which makes errors too small and lists too short.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings; matched by their original ids.

    Raises
    ------
    UsageError
        When the model knows no pair of the test part.
    """
    rows, columns, _ = known_triples(model, test)
    if model.seen_ is None:
        return int(rows.size)
    both = model.seen_.multiply(pattern_of(rows, columns, model.seen_.shape))
    return int(both.nnz)


def known_triples(model: FactorModel, test: RatingData) -> tuple[Integers, Integers, Floats]:
    """Rows, columns and ratings, in the model's numbering, of the test ratings that it has both parts of.

    Returns each (known,).
    """
    rows, columns, values = test.triples()
    rows, columns = model.user_rows(test.user_ids)[rows], model.item_columns(test.item_ids)[columns]
    known = (rows >= 0) & (columns >= 0)
    if not known.any():
        raise UsageError(
            f"the test part must share users and items with the training part; {test.source} shares none. Check the ids."
        )
    return rows[known], columns[known], values[known]


def pattern_of(rows: Integers, columns: Integers, shape: tuple[int, int]) -> csr_array:
    """A sparse matrix with ones at some places.

    ``rows, columns``: the places, (entries,) each. Returns csr of the given shape.
    """
    from scipy.sparse import csr_array

    return csr_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=shape)


@dataclass(frozen=True)
class RankingScores:
    """Means over the users that have ratings in training and something relevant in the test part.

    Parameters
    ----------
    k
        Length of the lists.
    users
        Number of users that count.
    users_without_training
        Number of users with something relevant in the test part that are left out: they have no ratings in training, so there
        is nothing to rank items for them by.

    Examples
    --------
    >>> from coded_als import Popularity
    >>> from coded_als.data import holdout, load_ratings
    >>> from coded_als.evaluation import evaluate_ranking
    >>> train, test = holdout(load_ratings("synthetic:m=60,n=40,d=5,density=0.3"))
    >>> scores = evaluate_ranking(Popularity().fit(train), test, k=10)
    >>> scores.k, 0 <= scores.ndcg <= 1
    (10, True)
    """

    k: int
    users: int
    users_without_training: int
    hit_rate: float
    precision: float
    recall: float
    ndcg: float
    map: float
    mrr: float
    coverage: float


def evaluate_ranking(
    model: FactorModel,
    test: RatingData,
    k: int = 10,
    *,
    filter_seen: bool = True,
    relevant_from: float = -np.inf,
    memory_limit_bytes: int = 32 * 2**20,
) -> RankingScores:
    """Rank the whole catalogue for every user of the test part and compare with the items that they rated there.

    Users without ratings in training are left out and counted. Items that score the same stand in any order with the same
    chance, and every figure is the mean over these orders: it does not depend on how items are named or numbered.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings; matched to the model's users and items by their original ids.
    k
        Length of the lists.
    filter_seen
        Whether to leave out the items that the user rated in training.
    relevant_from
        The least test rating that makes an item relevant.
    memory_limit_bytes
        Bound on the temporary arrays.

    Raises
    ------
    UsageError
        When the model knows no relevant pair of the test part of a user with ratings in training, or k < 1.

    Examples
    --------
    >>> from coded_als import ImplicitALS
    >>> from coded_als.data import holdout, load_ratings
    >>> from coded_als.evaluation import evaluate_ranking
    >>> train, test = holdout(load_ratings("synthetic:m=60,n=40,d=5,density=0.3"))
    >>> scores = evaluate_ranking(ImplicitALS(rank=4).fit(train), test, k=10)
    >>> 0 < scores.ndcg <= 1
    True
    """
    require_count(k)
    rows, columns, actual = known_triples(model, test)
    rows, columns = rows[actual >= relevant_from], columns[actual >= relevant_from]
    if not rows.size:
        raise UsageError(f"the test part must have ratings of {relevant_from} or more; got none. Lower relevant_from.")
    trained = _are_trained(model, rows)
    without = _users_without_training(model, test, relevant_from)
    rows, columns = rows[trained], columns[trained]
    if not rows.size:
        raise UsageError(
            f"the test part must have users with ratings in training; got {without} without. Train with some of theirs."
        )
    users, row_of_pair = np.unique(rows, return_inverse=True)
    relevant = pattern_of(row_of_pair, columns, (users.size, len(model.item_factors_)))
    # longer lists hold nothing more
    width = min(k, len(model.item_factors_))
    factors, counts = model.user_factors_[users], np.diff(relevant.indptr)
    seen = model.seen_[users] if filter_seen and model.seen_ is not None else None
    lists = expected_lists(
        lambda n: model.best_columns(factors, n, seen=seen, memory_limit_bytes=memory_limit_bytes),
        factors,
        model.item_factors_,
        model.item_biases_,
        relevant,
        width,
        seen=seen,
        memory_limit_bytes=memory_limit_bytes,
    )
    return RankingScores(
        k=k,
        users=users.size,
        users_without_training=without,
        hit_rate=float(lists.hit_rate().mean()),
        precision=float(lists.precision().mean()) * width / k,
        recall=float(lists.recall(counts).mean()),
        ndcg=float(lists.ndcg(counts).mean()),
        map=float(lists.average_precision(counts).mean()),
        mrr=float(lists.reciprocal_rank().mean()),
        coverage=float(lists.chances.mean()),
    )


def _are_trained(model: FactorModel, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the users in these rows, (rows,), -1 for an unknown one, have ratings in training."""
    if model.seen_ is None:
        return np.asarray(rows >= 0)
    return np.asarray((rows >= 0) & (np.diff(model.seen_.indptr)[rows] > 0))


def _users_without_training(model: FactorModel, test: RatingData, relevant_from: float) -> int:
    rows, _, values = test.triples()
    tested = np.unique(rows[values >= relevant_from])
    return int(np.count_nonzero(~_are_trained(model, model.user_rows(test.user_ids)[tested])))


@dataclass(frozen=True)
class RatingErrors:
    """Errors on the test ratings for which the model knows user and item.

    Parameters
    ----------
    rmse
        Root mean square error over ``ratings`` test ratings.
    mae
        Mean absolute error over the same ratings.
    unknown
        Test ratings left out: their user or item was not in training.
    """

    rmse: float
    mae: float
    ratings: int
    unknown: int


def evaluate_ratings(
    model: FactorModel, test: RatingData, *, limits: tuple[float, float] | None = None
) -> RatingErrors:
    """Predict the test ratings; users and items are matched by their original ids.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings.
    limits
        The scale's least and largest rating, to which predictions are clipped.

    Raises
    ------
    UsageError
        When the model knows no pair of the test part.

    Examples
    --------
    >>> from coded_als import RidgeALS
    >>> from coded_als.data import holdout, load_ratings
    >>> from coded_als.evaluation import evaluate_ratings
    >>> train, test = holdout(load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3"))
    >>> errors = evaluate_ratings(RidgeALS(rank=4).fit(train), test)
    >>> errors.mae <= errors.rmse
    True
    """
    rows, columns, actual = known_triples(model, test)
    predicted = model.predict_pairs(rows, columns)
    if limits is not None:
        predicted = np.clip(predicted, *limits)
    unknown = test.entries - actual.size
    return RatingErrors(rmse(predicted, actual), mae(predicted, actual), actual.size, unknown)
