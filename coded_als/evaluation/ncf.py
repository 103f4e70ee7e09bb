"""The benchmark of neural collaborative filtering (He et al. 2017): one item left out, among its negatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.evaluation.metrics import (
    ranks_among,
)
from coded_als.models.top_n import require_count

if TYPE_CHECKING:
    from coded_als.data.ncf import NCFBenchmark

ScorePairs = Callable[[Integers, Integers], NDArray[np.floating[Any]]]


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
