"""Fitted models against test ratings, and against the benchmark of neural collaborative filtering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.evaluation.metrics import (
    average_precision,
    coverage,
    find_hits,
    hit_rate,
    mae,
    ndcg,
    precision,
    ranks_among,
    recall,
    reciprocal_rank,
    rmse,
)
from coded_als.models.factor_model import FactorModel
from coded_als.models.top_n import recommend_batch, require_count

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from coded_als.data.ncf import NCFBenchmark
    from coded_als.data.ratings import RatingData

ScorePairs = Callable[[Integers, Integers], NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class RatingErrors:
    """Errors on the test ratings whose user and item the model knows.

    Parameters
    ----------
    rmse, mae
        Over ``ratings`` of them.
    unknown
        Test ratings left out: their user or item was not in training.
    """

    rmse: float
    mae: float
    ratings: int
    unknown: int


@dataclass(frozen=True)
class RankingScores:
    """Means over the users that have something relevant in the test part.

    Parameters
    ----------
    k
        Length of the lists.
    users
        How many users count.
    """

    k: int
    users: int
    hit_rate: float
    precision: float
    recall: float
    ndcg: float
    map: float
    mrr: float
    coverage: float


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
    """
    rows, columns, actual = _known_triples(model, test)
    predicted = model.predict_pairs(rows, columns)
    if limits is not None:
        predicted = np.clip(predicted, *limits)
    unknown = test.entries - actual.size
    return RatingErrors(rmse(predicted, actual), mae(predicted, actual), actual.size, unknown)


def evaluate_ranking(
    model: FactorModel,
    test: RatingData,
    k: int = 10,
    *,
    filter_seen: bool = True,
    relevant_from: float = -np.inf,
    memory_limit_bytes: int = 32 * 2**20,
) -> RankingScores:
    """Rank the whole catalogue for every user of the test part and compare with what they rated there.

    Parameters
    ----------
    model
        Fitted.
    test
        Ratings; matched to the model's users and items by their original ids.
    k
        Length of the lists.
    filter_seen
        Leave out what was rated in training.
    relevant_from
        The least test rating that makes an item relevant.
    memory_limit_bytes
        Bound on the temporary arrays.

    Raises
    ------
    UsageError
        When the model knows no relevant pair of the test part, or k < 1.
    """
    require_count(k)
    rows, columns, actual = _known_triples(model, test)
    rows, columns = rows[actual >= relevant_from], columns[actual >= relevant_from]
    if not rows.size:
        raise UsageError(f"the test part must have ratings of {relevant_from} or more; got none. Lower relevant_from.")
    users, row_of_pair = np.unique(rows, return_inverse=True)
    relevant = _pattern_of(row_of_pair, columns, (users.size, len(model.item_factors_)))
    # longer lists hold nothing more
    width = min(k, len(model.item_factors_))
    recommended, _ = recommend_batch(
        model.user_factors_[users],
        model.item_factors_,
        width,
        item_biases=model.item_biases_,
        seen=model.seen_[users] if filter_seen and model.seen_ is not None else None,
        memory_limit_bytes=memory_limit_bytes,
    )
    hits, counts = find_hits(recommended, relevant), np.diff(relevant.indptr)
    return RankingScores(
        k=k,
        users=users.size,
        hit_rate=float(hit_rate(hits).mean()),
        precision=float(precision(hits).mean()) * width / k,
        recall=float(recall(hits, counts).mean()),
        ndcg=float(ndcg(hits, counts).mean()),
        map=float(average_precision(hits, counts).mean()),
        mrr=float(reciprocal_rank(hits).mean()),
        coverage=coverage(recommended, len(model.item_factors_)),
    )


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
    rows, columns, _ = _known_triples(model, test)
    if model.seen_ is None:
        return int(rows.size)
    both = model.seen_.multiply(_pattern_of(rows, columns, model.seen_.shape))
    return int(both.nnz)


def evaluate_ncf(score_pairs: ScorePairs, benchmark: NCFBenchmark, k: int = 10) -> tuple[float, float]:
    """HR@k and NDCG@k of the item left out, ranked among its negatives.

    Parameters
    ----------
    score_pairs
        Maps rows and columns, both (pairs,), to scores: `FactorModel.predict_pairs` of a fitted model.
    benchmark
        As `coded_als.data.load_ncf` reads it.
    k
        Length of the list.

    Raises
    ------
    UsageError
        For k < 1.
    """
    require_count(k)
    cases, negatives = benchmark.negatives.shape
    positive = np.asarray(score_pairs(benchmark.test_users, benchmark.test_items))
    negative = np.asarray(score_pairs(np.repeat(benchmark.test_users, negatives), benchmark.negatives.ravel()))
    ranks = ranks_among(positive, negative.reshape(cases, negatives))
    gains = np.where(ranks < k, 1.0 / np.log2(ranks + 2), 0.0)
    return float((ranks < k).mean()), float(gains.mean())


def _known_triples(model: FactorModel, test: RatingData) -> tuple[Integers, Integers, Floats]:
    """Rows, columns and ratings, in the model's numbering, of the test ratings that it has both parts of."""
    rows, columns, values = test.triples()
    rows, columns = model.user_rows(test.user_ids)[rows], model.item_columns(test.item_ids)[columns]
    known = (rows >= 0) & (columns >= 0)
    if not known.any():
        raise UsageError(
            f"the test part must share users and items with the training part; {test.source} shares none. Check the ids."
        )
    return rows[known], columns[known], values[known]


def _pattern_of(rows: Integers, columns: Integers, shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    return csr_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=shape)
