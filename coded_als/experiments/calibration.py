"""The machine at hand: its speeds, for plans about local workers, and its system and versions, for notes of measurements."""

from __future__ import annotations

import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_info, threadpool_limits

import coded_als
from coded_als.als import CodedALS
from coded_als.arrays import Array
from coded_als.cluster import Cluster, Round, all_of
from coded_als.cluster.machine import Machine
from coded_als.errors import UsageError
from coded_als.planner.choice import Candidate, Race
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import default_solver, typical_iterations
from coded_als.planner.timing import Workload

FEW, CALIBRATED_WORKERS = 2, 8
LARGE_ROWS, COLUMNS = 4000, 25
REPEATS = 15
# Numbers of an array that a worker is given to keep, and how often.
GIVEN, GIVINGS = 1_000_000, 3

# Fits of two sizes, with a code and without in turns, on no more workers than this. They show how much longer than planned a fit
# takes under the load of the moment, and for how long workers that have just started are slow. A load delays different workers
# from round to round: a fit that waits for all of them takes longer than one that waits for half.
REFERENCES, REFERENCE_TURNS, MOST_STARTED = (Size(600, 400, 10), Size(2500, 1600, 40)), 3, 16
# On a machine at rest a plan may be off by the least factor. A load may change before a fit ends, so the factor grows with the
# root of the load, and with so many standard deviations of the reference fits. It has a limit: both ends lie at most a factor
# of two apart, as a wider interval would say nothing.
LEAST_OFF, DEVIATIONS, MOST_OFF = 1.2, 1.5, 1.41
# The measured machine is at rest, or nearly: fits that seem quicker are noise.
LEAST_LOAD = 0.8


@dataclass(frozen=True)
class Calibration:
    """The machine at hand under the load that is on it."""

    machine: Machine  # as fits find it
    quick: Machine  # the fastest and the slowest that it may turn out to be
    slow: Machine
    off: float  # how many times as fast, or as slow, these are
    load: float  # how many times as long as on this machine at rest all takes
    start_s: float  # seconds until the workers of a fit have started
    first_s: float  # seconds that new workers take longer than others, once

    @classmethod
    def of(cls, at_rest: Machine, planned_s: Array, taken_s: Array, start_s: float) -> Calibration:
        """From the times of reference fits of two sizes, (fits, 2), and those that a plan for the machine at rest expects."""
        (planned_small_s, planned_large_s), (small_s, large_s) = planned_s.T, taken_s.T
        load = max(LEAST_LOAD, float(np.median((large_s - small_s) / (planned_large_s - planned_small_s))))
        first_s = max(0.0, float(np.median(small_s - load * planned_small_s)))
        ratios = taken_s / (first_s + load * planned_s)
        spread = math.exp(DEVIATIONS * 1.4826 * float(np.median(np.abs(np.log(ratios)))))
        off = min(MOST_OFF, max(LEAST_OFF * math.sqrt(max(1.0, load)), spread))
        machine, quick, slow = (_slowed(at_rest, factor) for factor in (load, load / off, load * off))
        return cls(machine, quick, slow, off, load, start_s, first_s)

    def interval_s(self, scheme: Scheme, workload: Workload) -> tuple[float, float]:
        """Seconds between which a fit by this scheme should end, the start of its workers apart."""
        ends = []
        for machine, first_s, own in (
            (self.quick, self.first_s / self.off, "low"),
            (self.slow, self.first_s * self.off, "high"),
        ):
            found = _planned(scheme, replace(workload, machine=machine))
            ends.append(first_s + (getattr(found.estimate, own) or found.mean_s))
        return ends[0], ends[1]


def under_load(columns: int = COLUMNS, workers: int = CALIBRATED_WORKERS) -> Calibration:
    """Measure this machine as `calibrated` does, and by whole fits how much the load of the moment slows it."""
    machine, started = calibrated(columns), min(workers, MOST_STARTED)
    codes = ("uncoded", f"systematic:p={math.ceil(started / 2)}")
    kinds = [Scheme(code, started, solver=default_solver()) for code in codes]
    planned_s = [[_planned(kind, Workload(size, "none", machine)).mean_s for size in REFERENCES] for kind in kinds]
    fits = np.array([[_reference_fit(kind, size) for size in REFERENCES] for kind in kinds * REFERENCE_TURNS])
    return Calibration.of(
        machine,
        np.tile(planned_s, (REFERENCE_TURNS, 1)),
        fits[:, :, 1],
        float(np.median(fits[:, :, 0])) * workers / started,
    )


def _planned(scheme: Scheme, workload: Workload) -> Candidate:
    """The scheme with the seconds that a plan expects."""
    found = Race(workload, [scheme]).timed(scheme)
    if found is None:
        raise UsageError(f"{scheme.label} must be able to run on {scheme.workers} workers. Choose another code.")
    return found


def _reference_fit(scheme: Scheme, size: Size) -> tuple[float, float]:
    """Seconds to start workers, and of one fit on them: the first, as those of users are."""
    from coded_als.master import LocalCluster

    iterations = typical_iterations()[scheme.solver]
    model = CodedALS(size.rank, code=scheme.code, solver=scheme.solver, iterations=iterations, tolerance=0.0)
    matrix = np.random.default_rng(0).standard_normal((size.rows, size.columns))
    begun_s = time.perf_counter()
    with LocalCluster(scheme.workers) as cluster:
        started_s = time.perf_counter()
        model.fit(matrix, cluster)
        return started_s - begun_s, time.perf_counter() - started_s


def _slowed(machine: Machine, factor: float) -> Machine:
    """The machine where all takes so many times as long."""
    given = machine.given_bytes_per_second
    return replace(
        machine,
        multiplications_per_second=machine.multiplications_per_second / factor,
        bytes_per_second=machine.bytes_per_second / factor,
        latency_s=machine.latency_s * factor,
        message_s=machine.message_s * factor,
        given_bytes_per_second=None if given is None else given / factor,
    )


def calibrated(columns: int = COLUMNS) -> Machine:
    """The speeds of local workers and their master at rest, measured in about two seconds.

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
