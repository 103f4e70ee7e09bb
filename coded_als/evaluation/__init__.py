"""Quality of predictions and recommendations: metrics on arrays, and fitted models put through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names

# Loaded on first use: metrics on arrays need neither SciPy nor models.
_HOMES = {
    "coded_als.evaluation.metrics": "average_precision coverage find_hits hit_rate mae ndcg precision ranks_among recall reciprocal_rank rmse",
    "coded_als.evaluation.rankings": "RankingScores RatingErrors evaluate_ranking evaluate_ratings trained_on",
    "coded_als.evaluation.strong": "StrongScores evaluate_strong held_out_auc held_out_rmse",
    "coded_als.models.top_n": "recommend_batch",
}
__all__ = public_names(_HOMES)

if TYPE_CHECKING:
    from coded_als.evaluation.metrics import (
        average_precision as average_precision,
        coverage as coverage,
        find_hits as find_hits,
        hit_rate as hit_rate,
        mae as mae,
        ndcg as ndcg,
        precision as precision,
        ranks_among as ranks_among,
        recall as recall,
        reciprocal_rank as reciprocal_rank,
        rmse as rmse,
    )
    from coded_als.evaluation.rankings import (
        RankingScores as RankingScores,
        RatingErrors as RatingErrors,
        evaluate_ranking as evaluate_ranking,
        evaluate_ratings as evaluate_ratings,
        trained_on as trained_on,
    )
    from coded_als.evaluation.strong import (
        StrongScores as StrongScores,
        evaluate_strong as evaluate_strong,
        held_out_auc as held_out_auc,
        held_out_rmse as held_out_rmse,
    )
    from coded_als.models.top_n import recommend_batch as recommend_batch

__getattr__ = lazily(__name__, _HOMES)
