"""The leave-one-out benchmark of neural collaborative filtering: one positive among given negatives.

He et al., "Neural Collaborative Filtering", WWW 2017, section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.data import RatingData
from coded_als.data.ratings import csr_from_sorted, from_matrix
from coded_als.evaluation import ranks_among

ScorePairs = Callable[[Integers, Integers], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class NCFBenchmark:
    """Training interactions, and for every case the item that was left out and items never touched.

    Parameters
    ----------
    train
        (m, n) sparse, 1 for each interaction.
    test_users, test_items
        (cases,) rows and columns.
    negatives
        (cases, negatives) columns.
    """

    train: RatingData
    test_users: NDArray[np.int64]
    test_items: NDArray[np.int64]
    negatives: NDArray[np.int64]


def load_ncf(path: str | Path) -> NCFBenchmark:
    """Read the benchmark from a .npz of five arrays; repeated training interactions count once."""
    names = ("train_user", "train_item", "test_user", "test_item", "negatives")
    with np.load(path, allow_pickle=False) as archive:
        users, items, test_users, test_items, negatives = (archive[name].astype(np.int64) for name in names)
    shape = (1 + max(users.max(), test_users.max()), 1 + max(items.max(), test_items.max(), negatives.max()))
    rows, columns = np.divmod(np.unique(users * shape[1] + items), shape[1])
    train = from_matrix(csr_from_sorted(rows, columns, np.ones(rows.size), shape), Path(path).name)
    return NCFBenchmark(train, test_users, test_items, negatives)


def evaluate_ncf(score_pairs: ScorePairs, benchmark: NCFBenchmark, k: int = 10) -> tuple[float, float]:
    """HR@k and NDCG@k of the item left out, ranked among its negatives.

    ``score_pairs`` maps rows and columns, (pairs,) each, to scores: `FactorModel.predict_pairs` of a fitted model.
    """
    cases, negatives = benchmark.negatives.shape
    positive = np.asarray(score_pairs(benchmark.test_users, benchmark.test_items))
    negative = np.asarray(score_pairs(np.repeat(benchmark.test_users, negatives), benchmark.negatives.ravel()))
    ranks = ranks_among(positive, negative.reshape(cases, negatives))
    gains = np.where(ranks < k, 1.0 / np.log2(ranks + 2), 0.0)
    return float((ranks < k).mean()), float(gains.mean())
