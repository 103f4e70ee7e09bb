"""Early stopping on the interactions of NCF ML-1M: the iterations that it saves, and the test beside fits that run on.

A tenth of the training interactions is the validation part; both fits see the rest alone.

    PYTHONPATH=benchmarks python benchmarks/stopping.py
"""

from __future__ import annotations

from typing import Any

from baselines_quality import BPR_SETTINGS, IMPLICIT_64, WARP_SETTINGS
from ncf import evaluate_ncf, load_ncf
from tuning.baselines import data_folder

from coded_als import EarlyStopping
from coded_als.baselines import BPR, WARP, ImplicitALS
from coded_als.data import holdout
from coded_als.evaluation import evaluate_ranking

METHODS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (ImplicitALS, IMPLICIT_64 | {"iterations": 30}),
    (BPR, BPR_SETTINGS | {"iterations": 60}),
    (WARP, WARP_SETTINGS | {"iterations": 60}),
)


def main() -> None:
    benchmark = load_ncf(data_folder() / "ncf-ml-1m" / "ncf_ml1m.npz")
    train, validation = holdout(benchmark.train, 0.1, seed=0)
    for method, settings in METHODS:
        stop = EarlyStopping(validation, metric="ndcg", k=10, patience=3)
        for callback in (stop, None):
            model = method(**settings).fit(train, callback=callback)
            kept = evaluate_ranking(model, validation, 10).ndcg
            hit_rate, ndcg = evaluate_ncf(model.predict_pairs, benchmark)
            print(
                f"{method.__name__:12} {'stopped' if callback else 'to the end':10} {len(model.history_):3} iterations  "
                f"validation {kept:.4f}  test HR@10 {hit_rate:.4f}  NDCG@10 {ndcg:.4f}",
                flush=True,
            )
        print(f"{'':12} best of the figures {max(stop.figures):.4f}, at iteration {stop.best_iteration}", flush=True)


if __name__ == "__main__":
    main()
