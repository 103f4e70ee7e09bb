"""Weighted approximate-rank pairwise ranking (WARP)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from coded_als.baselines.ranking import RankingModel
from coded_als.baselines.ranking_loops import warp_epoch
from coded_als.checks import require_whole


class WARP(RankingModel):
    """Weighted approximate-rank pairwise loss (Weston, Bengio, Usunier 2011).

    Others are sampled until one scores within 1 of the chosen item; the earlier that is, the worse the chosen
    item's estimated rank and the harder the push. ``history_`` holds the mean weighted hinge loss over each pass.

    Parameters
    ----------
    rank, regularization, iterations, learning_rate, seed, dtype
        As in `BPR`.
    max_samples
        Samples before an entry is left alone.
    """

    kind: ClassVar[str] = "warp"

    def __init__(
        self,
        rank: int = 64,
        regularization: float = 0.002,
        iterations: int = 30,
        *,
        learning_rate: float = 0.05,
        max_samples: int = 20,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, learning_rate, seed, dtype)
        require_whole("max_samples", max_samples, 1)
        self.max_samples = max_samples

    def _loss_of_nothing(self, items: int) -> float:
        return float(np.log(max(items, 2)))

    def _epoch(self, arguments: tuple[Any, ...]) -> float:
        return float(warp_epoch(*arguments, self.max_samples))
