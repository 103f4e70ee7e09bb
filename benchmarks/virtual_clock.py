"""How fast the virtual clock is: schedules alone, and with numerics at a thousand workers.

Bars: 10,000 workers x 1,000 rounds of times in 10 s; 1,000 workers x 50 rounds of the Table I problem
(m=2400, n=1500, d=200) with numerics at h=20 in 120 s and 4 GB.
"""

from __future__ import annotations

import resource
import time

import numpy as np

from coded_als.als import CodedALS
from coded_als.cluster import Fastest
from coded_als.cluster.machine import Machine
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.cluster.waiting import RoundCost, round_seconds
from coded_als.delays import DelayStream


def times_alone() -> None:
    started = time.perf_counter()
    round_seconds(DelayStream("exp:mean=20ms", 10_000, 1), [(RoundCost(1e6), Fastest(9_000))], Machine(), 1_000)
    print(f"10,000 workers x 1,000 rounds, times alone: {time.perf_counter() - started:.1f} s (bar 10 s)")


def with_numerics() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.standard_normal((2400, 200)) @ rng.standard_normal((200, 1500)) + 0.1 * rng.standard_normal(
        (2400, 1500)
    )
    started = time.perf_counter()
    with SimulatedCluster(1000, "exp:mean=20ms", seed=1) as cluster:
        model = CodedALS(200, partitions=20, solver="als", iterations=50, tolerance=0.0, precomputation="local")
        model.fit(ratings, cluster=cluster)
        virtual_s = cluster.seconds()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"1,000 workers x {len(model.history_)} rounds with numerics, h=20: {time.perf_counter() - started:.0f} s wall "
        f"(bar 120 s), {virtual_s:.2f} s virtual, peak {peak_gb:.1f} GB (bar 4 GB)"
    )


if __name__ == "__main__":
    times_alone()
    with_numerics()
