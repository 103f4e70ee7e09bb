"""The same delays on real workers and on the virtual clock: mean seconds of a round, W = 20.

Bar: within 10 %. The delays dominate, since 20 workers share this machine's cores.
"""

from __future__ import annotations

import numpy as np

from coded_als.cluster import Cluster, Fastest, Round
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.master import LocalCluster

WORKERS, NEEDED, ROUNDS = 20, 11, 60


def mean_round_s(cluster: Cluster) -> float:
    """Mean seconds of a small product, of its own clock."""
    rng = np.random.default_rng(0)
    cluster.store("left", (rng.standard_normal((1, 50, 50)) for _ in range(WORKERS)))
    share = rng.standard_normal((1, 50, 10))
    round = Round("product", ("left",), [(share,)] * WORKERS, (), ((1, 50, 10),), 25_000.0, "E = D B")
    return float(np.mean([cluster.run(round, Fastest(NEEDED)).elapsed_s for _ in range(ROUNDS)]))


def ratio(delays: str, seed: int = 1) -> tuple[float, float]:
    """Mean seconds of a round: wall, virtual."""
    with LocalCluster(WORKERS, delays, seed) as local, SimulatedCluster(WORKERS, delays, seed) as virtual:
        return mean_round_s(local), mean_round_s(virtual)


if __name__ == "__main__":
    for delays in (
        "exp:mean=50ms",
        "bimodal:p=0.5,fast=20ms,slow=200ms",
        "slow:n=5,delay=1s+uniform:low=30ms,high=60ms",
    ):
        wall_s, virtual_s = ratio(delays)
        print(
            f"{delays}: {1e3 * wall_s:.1f} ms wall, {1e3 * virtual_s:.1f} ms virtual, ratio {wall_s / virtual_s:.3f} (bar 0.9 to 1.1)"
        )
