"""What uncoded ALS gains by not waiting: quality over time under three policies, on the interactions of NCF ML-1M.

First on 16 worker processes, in wall seconds, then under other delays on the virtual clock, in virtual seconds. All
policies meet the same delays. The bar: `FirstCopy` and `Partial` reach what `WaitForAll` ends with in a fraction of
its time.

    python benchmarks/straggler_policies.py
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ncf import NCFBenchmark, evaluate_ncf, load_ncf
from numpy.typing import NDArray

from coded_als import ImplicitALS, LocalCluster, SimulatedCluster
from coded_als.baselines.distributed import FirstCopy, Partial, StragglerPolicy, WaitForAll, fit_on_cluster

WORKERS, RANK, SEED = 16, 32, 0
REAL_DELAYS = "bimodal:p=0.1,fast=5ms,slow=1s"
VIRTUAL_DELAYS = (
    "exp:mean=200ms",
    "markov:fast=5ms,slow=1s,enter=0.05,leave=0.2",
)
# Partial gets more iterations, since each of its own does less; what counts is the time.
POLICIES: dict[str, tuple[StragglerPolicy, int]] = {
    "all": (WaitForAll(), 12),
    "replicated": (FirstCopy(2), 12),
    "partial": (Partial(12, max_skips=3), 20),
}


@dataclass(frozen=True)
class Curve:
    """State after each iteration: seconds of the cluster's clock, objective, HR@10 and NDCG@10."""

    seconds: NDArray[np.float64]
    objective: NDArray[np.float64]
    hit_rate: NDArray[np.float64]
    ndcg: NDArray[np.float64]


def main() -> None:
    folder = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    file = folder / "ncf-ml-1m" / "ncf_ml1m.npz"
    if not file.is_file():
        print("no real data: set CODED_ALS_DATA to their folder")
        return
    benchmark = load_ncf(file)
    print(f"ImplicitALS, rank {RANK}, {benchmark.train.matrix.nnz} interactions, {WORKERS} workers")
    compare(benchmark, LocalCluster, REAL_DELAYS, "wall", show_curves=True)
    for delays in VIRTUAL_DELAYS:
        compare(benchmark, SimulatedCluster, delays, "virtual", show_curves=False)


def compare(benchmark: NCFBenchmark, start: Any, delays: str, clock: str, *, show_curves: bool) -> None:
    """All policies under the same delays, and when each reached what waiting for all ends with."""
    print(f"\n{delays}, {clock} seconds")
    curves: dict[str, Curve] = {}
    for name, (policy, iterations) in POLICIES.items():
        with start(WORKERS, delays, seed=SEED) as cluster:
            curves[name] = curve(benchmark, cluster, policy, iterations)
        if show_curves:
            print_curve(name, curves[name], clock)
    for name, reached in curves.items():
        print(
            f"{name:10} {reached.seconds[-1] / len(reached.seconds):5.2f} {clock} s/iteration; "
            f"{when_reached('objective', curves['all'], reached)}; {when_reached('ndcg', curves['all'], reached)}",
            flush=True,
        )


def curve(benchmark: NCFBenchmark, cluster: Any, policy: StragglerPolicy, iterations: int) -> Curve:
    """Fit, then score what each iteration held: scoring costs no time on the cluster's clock."""
    sent = keep_what_is_sent(cluster)
    model = ImplicitALS(RANK, iterations=iterations, unobserved_weight=0.2, dtype="float64")
    fit_on_cluster(model, benchmark.train.matrix, cluster, policy)
    # users, items, users, ... from the random start on; the last users were never sent
    sides = [*sent[1:], model.user_factors_]
    scores = [score(users, items, benchmark) for items, users in zip(sides[::2], sides[1::2], strict=True)]
    history = np.array([(iteration.seconds, iteration.objective) for iteration in model.history_])
    return Curve(np.cumsum(history[:, 0]), history[:, 1], *np.transpose(scores))


def keep_what_is_sent(cluster: Any) -> list[NDArray[np.float64]]:
    """The fixed factors of every round, as it is run."""
    sent: list[NDArray[np.float64]] = []
    run = cluster.run

    def keeping(round: Any, until: Any) -> Any:
        sent.append(round.payloads[0][0])
        return run(round, until)

    cluster.run = keeping
    return sent


def score(users: NDArray[np.float64], items: NDArray[np.float64], benchmark: NCFBenchmark) -> tuple[float, float]:
    return evaluate_ncf(lambda row, column: np.einsum("pd,pd->p", users[row], items[column]), benchmark)


def when_reached(quality: str, goal: Curve, curve: Curve) -> str:
    """When a curve first is as good as the goal's end, and that as a fraction of the goal's own first time."""
    own, other = first_reached(quality, goal, goal), first_reached(quality, goal, curve)
    if other is None or own is None:
        return f"{quality} of all's end not reached in {curve.seconds[-1]:.2f} s"
    fraction = curve.seconds[other] / goal.seconds[own]
    return (
        f"{quality} of all's end: {curve.seconds[other]:5.2f} s (iteration {other + 1}, {fraction:.2f} of all's time)"
    )


def first_reached(quality: str, goal: Curve, curve: Curve) -> int | None:
    """Place of the first iteration that is as good as the goal's last."""
    if quality == "objective":
        enough = curve.objective <= goal.objective[-1] * (1 + 1e-9)
    else:
        enough = curve.ndcg >= goal.ndcg[-1]
    return int(enough.argmax()) if enough.any() else None


def print_curve(name: str, curve: Curve, clock: str) -> None:
    print(f"{name}: iteration, {clock} seconds, objective, HR@10, NDCG@10")
    for index, row in enumerate(zip(curve.seconds, curve.objective, curve.hit_rate, curve.ndcg, strict=True), 1):
        print("{:4} {:7.2f} {:10.1f} {:.4f} {:.4f}".format(index, *row))


if __name__ == "__main__":
    main()
