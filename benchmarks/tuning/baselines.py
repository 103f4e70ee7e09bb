"""Choose the settings of the ranking baselines on validation data that is carved from the training part alone.

One training interaction of every user is left out at random and ranked among 99 items that the user never touched,
the test item excepted: the benchmark's own test cases are not looked at. What comes out on top is what
``benchmarks/baselines_quality.py`` uses.

    PYTHONPATH=benchmarks python benchmarks/tuning/baselines.py [implicit64] [implicit192] [warp] [bpr]
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ncf import NCFBenchmark, evaluate_ncf, load_ncf

from coded_als.baselines import BPR, WARP, ImplicitALS
from coded_als.data import leave_one_out

Grid = Iterator[tuple[Callable[..., Any], dict[str, Any]]]


def data_folder() -> Path:
    """Where the real data are."""
    return Path(os.environ.get("CODED_ALS_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def validation_of(benchmark: NCFBenchmark, seed: int = 0) -> NCFBenchmark:
    """A benchmark of the same form within the training part."""
    train, held_out = leave_one_out(benchmark.train, seed=seed)
    users, items, _ = held_out.triples()
    generator = np.random.default_rng(seed)
    touched = benchmark.train.matrix.toarray() > 0
    touched[benchmark.test_users, benchmark.test_items] = True
    negatives = np.array([generator.choice(np.flatnonzero(~touched[user]), 99, replace=False) for user in users])
    return NCFBenchmark(train, users, items, negatives)


def product(model: Callable[..., Any], fixed: dict[str, Any], **values: tuple[Any, ...]) -> Grid:
    """All combinations."""
    for combination in itertools.product(*values.values()):
        yield model, fixed | dict(zip(values, combination, strict=True))


GRIDS: dict[str, Callable[[], Grid]] = {
    "implicit64": lambda: product(
        ImplicitALS,
        {"rank": 64, "iterations": 16},
        regularization=(0.003, 0.005, 0.007, 0.01),
        unobserved_weight=(0.1, 0.2, 0.3, 0.5, 1.0),
    ),
    "implicit192": lambda: product(
        ImplicitALS,
        {"rank": 192, "iterations": 16},
        regularization=(0.003, 0.005, 0.007, 0.01),
        unobserved_weight=(0.1, 0.2, 0.3, 0.5),
    ),
    "warp": lambda: product(
        WARP,
        {"rank": 64, "iterations": 30},
        learning_rate=(0.05, 0.1),
        regularization=(0.1, 0.2, 0.3, 0.4),
    ),
    "bpr": lambda: product(
        BPR,
        {"rank": 64, "iterations": 30},
        learning_rate=(0.1, 0.3, 1.0),
        regularization=(0.003, 0.01, 0.03),
    ),
}


def main(names: list[str]) -> None:
    benchmark = validation_of(load_ncf(data_folder() / "ncf-ml-1m" / "ncf_ml1m.npz"))
    for name in names or list(GRIDS):
        results = []
        for build, settings in GRIDS[name]():
            started = time.perf_counter()
            model = build(**settings).fit(benchmark.train.matrix)
            hit_rate, ndcg = evaluate_ncf(model.predict_pairs, benchmark)
            results.append((hit_rate + ndcg, settings))
            seconds = time.perf_counter() - started
            print(f"{name:12} HR@10 {hit_rate:.4f}  NDCG@10 {ndcg:.4f}  {seconds:6.1f} s  {settings}", flush=True)
        print(f"{name:12} best on validation: {max(results, key=lambda result: result[0])[1]}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
