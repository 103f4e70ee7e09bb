"""Quality of the sparse baselines on real data, beside the figures that they are held to.

MovieLens 100K: the five folds of scikit-surprise's ``KFold(5, random_state=0)``. Within every fold the settings are
chosen on a tenth of its training part, then the model is fitted on all of it: no test rating takes part in a choice.
NCF ML-1M: settings come from ``benchmarks/tuning/baselines.py``, which looks at the training part alone.

    python benchmarks/baselines_quality.py [ratings] [ranking]
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ncf import evaluate_ncf, load_ncf
from scipy.sparse.linalg import svds

from coded_als.baselines import BPR, SGD, WARP, ImplicitALS, RidgeALS
from coded_als.data import RatingData, holdout, k_fold, load_ratings
from coded_als.evaluation import evaluate_ratings

Build = Callable[..., Any]
SCALE = (1.0, 5.0)

RIDGE_GRID = [
    {"rank": rank, "regularization_scaling": "count", "regularization": weight, "bias_regularization": bias}
    for rank, weight, bias in itertools.product((20, 50), (0.08, 0.1, 0.12), (0.02, 0.05))
]
SGD_GRID = [
    {"rank": rank, "regularization": weight, "learning_rate": 0.01, "iterations": passes}
    for rank, weight, passes in itertools.product((50, 100), (0.06, 0.08, 0.1, 0.12), (30, 60))
]
# the settings of Rendle et al. 2022 for this benchmark
PUBLISHED = {"regularization": 0.007, "unobserved_weight": 0.3, "iterations": 12}
# chosen by benchmarks/tuning/baselines.py
IMPLICIT_64 = {"rank": 64, "regularization": 0.005, "unobserved_weight": 0.2, "iterations": 16}
IMPLICIT_192 = {"rank": 192, "regularization": 0.007, "unobserved_weight": 0.2, "iterations": 16}
WARP_SETTINGS = {"rank": 64, "learning_rate": 0.1, "regularization": 0.4, "iterations": 30}
BPR_SETTINGS = {"rank": 64, "learning_rate": 0.3, "regularization": 0.01, "iterations": 30}


def main(parts: list[str]) -> None:
    folder = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not folder.is_dir():
        print("no real data: set CODED_ALS_DATA to their folder")
        return
    if not parts or "ratings" in parts:
        ratings(load_ratings(folder / "ml-100k" / "u.data"))
    if not parts or "ranking" in parts:
        ranking(folder / "ncf-ml-1m" / "ncf_ml1m.npz")


def ratings(data: RatingData) -> None:
    """RMSE over five folds."""
    RidgeALS(2, iterations=1).fit(data.matrix)  # compiled code is read once, outside the timing
    for name, build, grid, bar in (("RidgeALS", RidgeALS, RIDGE_GRID, 0.915), ("SGD", SGD, SGD_GRID, 0.935)):
        errors, absolute, seconds = [], [], []
        for train, test in k_fold(data, 5, seed=0):
            settings = chosen(build, grid, train)
            started = time.perf_counter()
            model = build(**settings).fit(train.matrix)
            seconds.append(time.perf_counter() - started)
            model.set_ids(train.user_ids, train.item_ids)
            found = evaluate_ratings(model, test, limits=SCALE)
            errors.append(found.rmse)
            absolute.append(found.mae)
            print(
                f"  {name} fold {len(errors)}: RMSE {found.rmse:.4f} in {seconds[-1]:.2f} s with {settings}", flush=True
            )
        report(f"ML-100K {name} RMSE", float(np.mean(errors)), bar, below=True)
        print(f"  MAE {np.mean(absolute):.4f}")
        if build is RidgeALS:
            report(f"ML-100K {name} seconds a fold", float(np.median(seconds)), 0.5, below=True)


def chosen(build: Build, grid: list[dict[str, Any]], train: RatingData) -> dict[str, Any]:
    """The settings with the least error on a tenth of the training part, fitted on the rest."""
    inner, validation = holdout(train, 0.1, seed=1)

    def error(settings: dict[str, Any]) -> float:
        model = build(**settings).fit(inner.matrix).set_ids(inner.user_ids, inner.item_ids)
        return evaluate_ratings(model, validation, limits=SCALE).rmse

    return min(grid, key=error)


def ranking(path: Path) -> None:
    """HR@10 and NDCG@10 on the leave-one-out benchmark."""
    benchmark = load_ncf(path)
    matrix = benchmark.train.matrix
    left, values, right = svds(matrix, k=64, random_state=0)
    scores = (left * values) @ right
    show("PureSVD d=64", evaluate_ncf(lambda rows, columns: scores[rows, columns], benchmark), (0.692, 0.430))
    for name, model, bars in (
        ("ImplicitALS d=64", ImplicitALS(**IMPLICIT_64), (0.720, 0.442)),
        ("ImplicitALS d=192", ImplicitALS(**IMPLICIT_192), (0.729, 0.450)),
        ("published, d=64", ImplicitALS(64, **PUBLISHED), (0.720, 0.442)),
        ("published, d=192", ImplicitALS(192, **PUBLISHED), (0.729, 0.450)),
        ("WARP", WARP(**WARP_SETTINGS), (0.70, 0.42)),
        ("BPR", BPR(**BPR_SETTINGS), None),
    ):
        started = time.perf_counter()
        model.fit(matrix)
        seconds = time.perf_counter() - started
        show(f"{name} ({seconds:.1f} s)", evaluate_ncf(model.predict_pairs, benchmark), bars)


def show(name: str, found: tuple[float, float], bars: tuple[float, float] | None) -> None:
    for metric, value, bar in zip(("HR@10", "NDCG@10"), found, bars or (None, None), strict=True):
        report(f"NCF ML-1M {name} {metric}", value, bar)


def report(name: str, value: float, bar: float | None, *, below: bool = False) -> None:
    if bar is None:
        print(f"{name:45} {value:.4f}   (no bar)", flush=True)
        return
    met = value <= bar if below else value >= bar
    print(f"{name:45} {value:.4f}   bar {'<=' if below else '>='} {bar:.3f}   {'met' if met else 'MISSED'}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
