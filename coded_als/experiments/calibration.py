"""The machine at hand: its speeds, for plans about local workers, and its system and versions, for notes of measurements."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_info, threadpool_limits

import coded_als
from coded_als.cluster import Cluster, Round, all_of
from coded_als.cluster.machine import Machine

FEW, CALIBRATED_WORKERS = 2, 8
LARGE_ROWS, COLUMNS = 4000, 25
REPEATS = 15
# Numbers of an array that a worker is given to keep, and how often.
GIVEN, GIVINGS = 1_000_000, 3


def calibrated(columns: int = COLUMNS) -> Machine:
    """The speeds of local workers and their master, measured in about two seconds.

    A round of W messages each way takes ``2 W message_s + 2 latency_s`` and, for large payloads and responses, their bytes
    over the link's besides: the differences between few workers and many, and between small arrays and large ones, tell
    them apart. Where workers share memory payloads cost next to nothing: the link's speed is that of both ways together.
    Arrays for workers to keep go into fresh memory and take longer.
    """
    speed = multiplications_per_second(columns)
    few_s, _, _ = _round_seconds(FEW)
    many_s, large_s, giving_s = _round_seconds(CALIBRATED_WORKERS)
    message_s = max(1e-6, (many_s - few_s) / (2 * (CALIBRATED_WORKERS - FEW)))
    latency_s = max(1e-6, few_s / 2 - FEW * message_s)
    # data that the workers send or keep are copied at least once: if noise hides the time, the time of a copy counts
    responses, kept = CALIBRATED_WORKERS * LARGE_ROWS * COLUMNS, CALIBRATED_WORKERS * GIVEN
    bytes_per_second = 2 * 8 * responses / max(_copying_s(responses), large_s - many_s)
    given = 8 * kept / max(_copying_s(kept), giving_s - many_s)
    return Machine(speed, bytes_per_second, latency_s, message_s, len(os.sched_getaffinity(0)), given)


def _copying_s(count: int) -> float:
    """The least seconds in which this process copies so many numbers."""
    numbers = np.ones(count)
    copy = np.empty_like(numbers)
    return max(1e-9, min(_seconds(lambda: np.copyto(copy, numbers)) for _ in range(GIVINGS)))


def multiplications_per_second(columns: int) -> float:
    """Of one core in the product of a large matrix with a block of columns, the best of several."""
    left, right = np.ones((1500, 1500)), np.ones((1500, columns))
    with threadpool_limits(1):
        return left.size * columns / min(_seconds(lambda: left @ right) for _ in range(REPEATS))


def _round_seconds(workers: int) -> tuple[float, float, float]:
    """Least seconds of a round that computes next to nothing: small, with arrays large both ways, and with some to keep."""
    from coded_als.master import LocalCluster

    with LocalCluster(workers) as cluster:
        small_s = _round_s(cluster, 1, 1)
        large_s = _round_s(cluster, LARGE_ROWS, 1) + _round_s(cluster, 1, LARGE_ROWS) - small_s
        return small_s, large_s, _giving_s(cluster)


def _giving_s(cluster: Cluster) -> float:
    """Seconds of giving every worker an array to keep, and of a small round after it: the median of a few."""
    one = np.ones((1, 1, 1))
    round = Round("product", ("left",), [(one,)] * cluster.size, (), ((1, 1, 1),))

    def give() -> None:
        cluster.store("kept", [np.ones((1, 1, GIVEN)) for _ in range(cluster.size)])
        cluster.store("left", [one] * cluster.size)
        cluster.run(round, all_of(cluster.size))

    return sorted(_seconds(give) for _ in range(GIVINGS))[GIVINGS // 2]


def _round_s(cluster: Cluster, sent: int, returned: int) -> float:
    cluster.store("left", [np.ones((1, returned, sent))] * cluster.size)
    payload = np.ones((1, sent, COLUMNS))
    round = Round("product", ("left",), [(payload,)] * cluster.size, (), ((1, returned, COLUMNS),))
    # the least of several: other work at the time is no property of the machine
    return min(cluster.run(round, all_of(cluster.size)).elapsed_s for _ in range(REPEATS))


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def environment() -> dict[str, Any]:
    """Versions, machine, cores and BLAS threads that this process may use, its command, and the time."""
    return {
        "coded_als": coded_als.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"],
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count(),
        "usable_processors": len(os.sched_getaffinity(0)),
        "blas_threads": sorted(
            {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
        ),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
