"""Consecutive fits for minutes: does anything grow, and is any round slow?

    python benchmarks/soak.py --minutes 10

After the first tenth the resident memory and the open descriptors of master and workers must stay within 5 %, and no
round may take more than 3 times the median of its kind, nor more than 10 ms where that is longer: below it a round is
over before a machine with fewer cores than processes has given everybody a turn. Fits are small, with rounds that are
messages and little else, and larger, in turns, with verification and without.

Of every slow round it says where the time went: whether a process of ours computed, collected garbage or waited for a
core, and whether other processes, or the machine's host, had the cores meanwhile. Alone on a machine the last two are
nothing; beside other work they are the machine's doing, and the round still counts as slow.
"""

from __future__ import annotations

import argparse
import heapq
import os
import statistics
import sys
import time
from array import array
from collections import Counter, defaultdict

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from waits import Meter, Watched, WatchedCluster

from coded_als import CodedALS, LocalCluster

RATINGS = {
    f"{rows} x {columns}": np.random.default_rng(0).standard_normal((rows, columns))
    for rows, columns in ((400, 300), (1500, 1200))
}
WORKERS, DRIFT, SLOWEST, LOOK_EVERY_S = 8, 0.05, 3.0, 1.0
LEAST_S = 0.01
SHOWN, KEPT = 10, 300


class Kind:
    """The rounds of one kind: how long each took, and of the longest where the time went."""

    def __init__(self) -> None:
        self.seconds = array("d")
        self.longest: list[tuple[float, int, Watched]] = []

    def add(self, watched: Watched) -> None:
        self.seconds.append(watched.elapsed_s)
        # what is kept of all rounds must not look like memory that grows
        entry = (watched.elapsed_s, len(self.seconds), watched)
        (heapq.heappush if len(self.longest) < KEPT else heapq.heappushpop)(self.longest, entry)


def used(process_ids: list[int]) -> tuple[float, float]:
    """Resident megabytes and open descriptors of all processes together."""
    pages, descriptors = 0, 0
    for process_id in process_ids:
        with open(f"/proc/{process_id}/statm") as file:
            pages += int(file.read().split()[1])
        descriptors += len(os.listdir(f"/proc/{process_id}/fd"))
    return pages * os.sysconf("SC_PAGESIZE") / 1e6, float(descriptors)


def soak(minutes: float) -> tuple[int, list[tuple[float, float]], dict[str, Kind]]:
    """Fits for so long: how many, what was used once a second, and the rounds by kind."""
    kinds = [(size, verify) for verify in ("off", "freivalds") for size in RATINGS]
    fits, looks, rounds = 0, list[tuple[float, float]](), defaultdict(Kind)
    with LocalCluster(WORKERS) as cluster:
        fit(cluster, *kinds[0])
        started = looked = time.monotonic()
        with WatchedCluster(cluster, Meter(cluster.process_ids.values())) as watched:
            while time.monotonic() - started < 60 * minutes:
                size, verify = kinds[fits % len(kinds)]
                fit(watched, size, verify)
                fits += 1
                for watch in watched.rounds:
                    rounds[f"{watch.label} of {size}, verify {verify}"].add(watch)
                watched.rounds.clear()
                if time.monotonic() - started > 6 * minutes and time.monotonic() - looked >= LOOK_EVERY_S:
                    looked = time.monotonic()
                    looks.append(used([os.getpid(), *cluster.process_ids.values()]))
    return fits, looks, rounds


def fit(cluster: LocalCluster | WatchedCluster, size: str, verify: str) -> None:
    CodedALS(rank=8, code="systematic:p=6", precomputation="coded", verify=verify).fit(RATINGS[size], cluster)


def flat(looks: list[tuple[float, float]]) -> bool:
    """Whether nothing has grown between the first looks and the last ones."""
    passed = True
    for name, values in zip(("resident MB", "descriptors"), zip(*looks, strict=True), strict=True):
        tenth = max(1, len(values) // 10)
        first, last = (statistics.mean(part) for part in (values[:tenth], values[-tenth:]))
        drift = last / first - 1
        passed &= abs(drift) < DRIFT
        print(f"{name} of master and {WORKERS} workers: {first:.1f} at first, {last:.1f} at last: {drift:+.1%}")
    return passed


def slow(rounds: dict[str, Kind]) -> int:
    """How many rounds were slow; what they waited for."""
    above, count, causes = 0, 0, Counter[str]()
    shown: list[tuple[float, str]] = []
    for label, kind in rounds.items():
        median, worst = statistics.median(kind.seconds), max(kind.seconds)
        above += sum(taken > SLOWEST * median for taken in kind.seconds)
        count += sum(taken > max(SLOWEST * median, LEAST_S) for taken in kind.seconds)
        print(f"{label}: {len(kind.seconds)} rounds, median {1e3 * median:.1f} ms, worst {1e3 * worst:.1f} ms")
        for taken, _, watch in kind.longest:
            if taken > max(SLOWEST * median, LEAST_S):
                causes[watch.cause(median)] += 1
                shown.append((taken / median, f"{taken / median:.1f} medians, {label}, {watch}"))
    for _, line in sorted(shown, reverse=True)[:SHOWN]:
        print(f"    {line}")
    print(
        f"{count} rounds of {sum(len(kind.seconds) for kind in rounds.values())} slower than {SLOWEST:g} times their median and "
        f"{1e3 * LEAST_S:g} ms ({above} with no regard to the latter)"
    )
    for cause, times in causes.most_common():
        print(f"    {times} for {cause}")
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    options = parser.parse_args()
    fits, looks, rounds = soak(options.minutes)
    print(f"{fits} fits in {options.minutes:g} minutes; load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    passed = flat(looks)
    passed &= slow(rounds) == 0
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
