"""Quality of predictions and recommendations: metrics on arrays, and fitted models put through them."""

from __future__ import annotations

from coded_als.evaluation.held_out import held_out_auc, held_out_rmse
from coded_als.evaluation.known import trained_on
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
from coded_als.evaluation.ncf import evaluate_ncf
from coded_als.evaluation.rankings import RankingScores, evaluate_ranking
from coded_als.evaluation.rating_errors import RatingErrors, evaluate_ratings
from coded_als.evaluation.strong import StrongScores, evaluate_strong
from coded_als.models.top_n import recommend_batch

__all__ = [
    "RankingScores",
    "RatingErrors",
    "StrongScores",
    "average_precision",
    "coverage",
    "evaluate_ncf",
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
