"""Quality of predictions and recommendations: metrics on arrays, and fitted models put through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily

# Loaded on first use: metrics on arrays need neither SciPy nor models.
_HOMES = {
    "RankingScores": "coded_als.evaluation.rankings",
    "RatingErrors": "coded_als.evaluation.rankings",
    "StrongScores": "coded_als.evaluation.strong",
    "average_precision": "coded_als.evaluation.metrics",
    "coverage": "coded_als.evaluation.metrics",
    "evaluate_ranking": "coded_als.evaluation.rankings",
    "evaluate_ratings": "coded_als.evaluation.rankings",
    "evaluate_strong": "coded_als.evaluation.strong",
    "find_hits": "coded_als.evaluation.metrics",
    "held_out_auc": "coded_als.evaluation.held_out",
    "held_out_rmse": "coded_als.evaluation.held_out",
    "hit_rate": "coded_als.evaluation.metrics",
    "mae": "coded_als.evaluation.metrics",
    "ndcg": "coded_als.evaluation.metrics",
    "precision": "coded_als.evaluation.metrics",
    "ranks_among": "coded_als.evaluation.metrics",
    "recall": "coded_als.evaluation.metrics",
    "reciprocal_rank": "coded_als.evaluation.metrics",
    "recommend_batch": "coded_als.models.top_n",
    "rmse": "coded_als.evaluation.metrics",
    "trained_on": "coded_als.evaluation.rankings",
}
__all__ = [
    "RankingScores",
    "RatingErrors",
    "StrongScores",
    "average_precision",
    "coverage",
    "evaluate_ranking",
    "evaluate_ratings",
    "evaluate_strong",
    "find_hits",
    "held_out_auc",
    "held_out_rmse",
    "hit_rate",
    "mae",
    "ndcg",
    "precision",
    "ranks_among",
    "recall",
    "reciprocal_rank",
    "recommend_batch",
    "rmse",
    "trained_on",
]

if TYPE_CHECKING:
    from coded_als.evaluation.held_out import held_out_auc, held_out_rmse
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
    from coded_als.evaluation.rankings import (
        RankingScores,
        RatingErrors,
        evaluate_ranking,
        evaluate_ratings,
        trained_on,
    )
    from coded_als.evaluation.strong import StrongScores, evaluate_strong
    from coded_als.models.top_n import recommend_batch

__getattr__ = lazily(__name__, _HOMES)
