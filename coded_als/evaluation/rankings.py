"""Top lists of a fitted model against test ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import coded_als.evaluation.metrics as metrics
from coded_als.errors import UsageError
from coded_als.evaluation.known import known_triples, pattern_of
from coded_als.models.factor_model import FactorModel
from coded_als.models.top_n import require_count

if TYPE_CHECKING:
    from coded_als.data.ratings import RatingData


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
    rows, columns, actual = known_triples(model, test)
    rows, columns = rows[actual >= relevant_from], columns[actual >= relevant_from]
    if not rows.size:
        raise UsageError(f"the test part must have ratings of {relevant_from} or more; got none. Lower relevant_from.")
    users, row_of_pair = np.unique(rows, return_inverse=True)
    relevant = pattern_of(row_of_pair, columns, (users.size, len(model.item_factors_)))
    # longer lists hold nothing more
    width = min(k, len(model.item_factors_))
    recommended, _ = model.best_columns(
        model.user_factors_[users],
        width,
        seen=model.seen_[users] if filter_seen and model.seen_ is not None else None,
        memory_limit_bytes=memory_limit_bytes,
    )
    hits, counts = metrics.find_hits(recommended, relevant), np.diff(relevant.indptr)
    return RankingScores(
        k=k,
        users=users.size,
        hit_rate=float(metrics.hit_rate(hits).mean()),
        precision=float(metrics.precision(hits).mean()) * width / k,
        recall=float(metrics.recall(hits, counts).mean()),
        ndcg=float(metrics.ndcg(hits, counts).mean()),
        map=float(metrics.average_precision(hits, counts).mean()),
        mrr=float(metrics.reciprocal_rank(hits).mean()),
        coverage=metrics.coverage(recommended, len(model.item_factors_)),
    )
