"""Bayesian personalised ranking (BPR)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from coded_als.baselines.ranking import RankingModel
from coded_als.baselines.ranking_loops import bpr_epoch


class BPR(RankingModel):
    """Bayesian personalised ranking (Rendle et al. 2009): ``-log sigmoid(score of chosen - score of other)``.

    ``history_`` holds the mean of that over each pass, without regularisation.

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        Of all parameters, per step.
    iterations
        Passes over the observed entries.
    learning_rate
        Adagrad's, greater than 0.
    seed
        Of the start, the order and the samples; equal seeds give equal models.
    dtype
        As in `RidgeALS`.
    """

    kind: ClassVar[str] = "bpr"

    def __init__(
        self,
        rank: int = 64,
        regularization: float = 0.002,
        iterations: int = 30,
        *,
        learning_rate: float = 0.05,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, learning_rate, seed, dtype)

    def _loss_of_nothing(self, items: int) -> float:
        return float(np.log(2))

    def _epoch(self, arguments: tuple[Any, ...]) -> float:
        return float(bpr_epoch(*arguments))
