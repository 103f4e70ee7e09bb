"""Consecutive fits for minutes: does anything grow, and is any round slow?

    python benchmarks/soak.py --minutes 10

After the first tenth the resident memory and the open descriptors of master and workers must stay within 5 %, and no round
may take more than 3 times the median of its kind. Fits are small, with rounds that are messages and little else, and larger,
in turns, with verification and without.

A machine that is a guest, or has fewer cores than processes, holds everybody up for tens of milliseconds now and then, which
is many small rounds. So between fits the least loop that pyzmq can do (`benchmarks/bare.py`) runs a quarter as long, with as many
processes and the products of a larger fit: rounds may be held up so far above their median as often, per second, as that
loop is, within three standard deviations; where it never is, none may be. Of every slow round it says where the time went:
whether a process of ours computed, collected garbage or waited for a core, and whether others, or the machine's host, had
the cores.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import statistics
import sys
import time
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bare import BareLoop, bare_loop
from waits import Meter, Watched, WatchedCluster

from coded_als import CodedALS, LocalCluster


@dataclass(frozen=True)
class Size:
    """Of a fit."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns}"


SIZES = Size(400, 300), Size(1500, 1200)
VERIFY = ("off", "freivalds")
WORKERS, NEEDED, RANK, DRIFT, SLOWEST, LOOK_EVERY_S = 8, 6, 8, 0.05, 3.0, 1.0
# Columns of what a round multiplies by: the rank and those that guard it.
BLOCK = 13
# Seconds of the bare loop for each of rounds.
BARE_SHARE = 0.25
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


class Soak:
    """What has been seen: fits, memory and descriptors about once a second, rounds by kind, rounds of the bare loop."""

    def __init__(self, cluster: LocalCluster, watched: WatchedCluster, loop: BareLoop) -> None:
        self.fits, self.looks, self.rounds = 0, list[tuple[float, float]](), defaultdict[str, Kind](Kind)
        self.bare, self.fitting_s = array("d"), 0.0
        self._cluster, self._watched, self._loop, self._looked = cluster, watched, loop, 0.0
        generator = np.random.default_rng(0)
        self._matrices = {size: generator.standard_normal((size.rows, size.columns)) for size in SIZES}
        self._payload = np.ones((SIZES[-1].columns, BLOCK)).tobytes()

    def cycle(self) -> None:
        """A fit of each kind, and a quarter as long of the bare loop."""
        bare_s = BARE_SHARE * sum(self._fit(size, verify) for verify in VERIFY for size in SIZES)
        while bare_s > 0:
            self.bare.append(self._loop.round(self._payload, NEEDED))
            bare_s -= self.bare[-1]

    def _fit(self, size: Size, verify: str) -> float:
        """Seconds of its rounds."""
        started = time.monotonic()
        model = CodedALS(RANK, code=f"systematic:p={NEEDED}", precomputation="coded", verify=verify)
        model.fit(self._matrices[size], self._watched)
        self.fitting_s += time.monotonic() - started
        self.fits += 1
        for watch in self._watched.rounds:
            self.rounds[f"{watch.label} of {size}, verify {verify}"].add(watch)
        seconds = sum(watch.elapsed_s for watch in self._watched.rounds)
        self._watched.rounds.clear()
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._looked = time.monotonic()
            self.looks.append(used([os.getpid(), *self._cluster.process_ids.values()]))
        return seconds


def soak(minutes: float) -> Soak:
    """Fits for so long, what else is done not counted."""
    columns = SIZES[-1].columns
    with (
        bare_loop(WORKERS, np.ones((-(-columns // NEEDED), columns))) as loop,
        LocalCluster(WORKERS) as cluster,
        WatchedCluster(cluster, Meter(cluster.process_ids.values())) as watched,
    ):
        seen = Soak(cluster, watched, loop)
        while seen.fitting_s < 60 * minutes:
            seen.cycle()
    return seen


def flat(looks: list[tuple[float, float]]) -> bool:
    """Whether nothing has grown between the first looks, after a tenth of all, and the last ones."""
    passed, looks = True, looks[len(looks) // 10 :]
    for name, values in zip(("resident MB", "descriptors"), zip(*looks, strict=True), strict=True):
        tenth = max(1, len(values) // 10)
        first, last = (statistics.mean(part) for part in (values[:tenth], values[-tenth:]))
        drift = last / first - 1
        passed &= abs(drift) < DRIFT
        print(f"{name} of master and {WORKERS} workers: {first:.1f} at first, {last:.1f} at last: {drift:+.1%}")
    return passed


def slow(rounds: dict[str, Kind], bare: array[float]) -> bool:
    """Whether no more rounds were slow than may be; what they waited for."""
    causes, shown = Counter[str](), list[tuple[float, str]]()
    slow, expected, variance = 0, 0.0, 0.0
    typical_s = statistics.median(bare)
    print(f"bare loop: {len(bare)} rounds, median {1e3 * typical_s:.1f} ms, worst {1e3 * max(bare):.1f} ms")
    for label, kind in rounds.items():
        median, worst = statistics.median(kind.seconds), max(kind.seconds)
        count = sum(taken > SLOWEST * median for taken in kind.seconds)
        held_up = sum(taken - typical_s > (SLOWEST - 1) * median for taken in bare)
        scale = sum(kind.seconds) / sum(bare)
        slow, expected, variance = slow + count, expected + scale * held_up, variance + (scale + scale**2) * held_up
        print(
            f"{label}: {len(kind.seconds)} rounds, median {1e3 * median:.1f} ms, worst {1e3 * worst:.1f} ms, {count} slow; "
            f"as often as the bare loop: {scale * held_up:.1f}"
        )
        for taken, _, watch in kind.longest:
            if taken > SLOWEST * median:
                causes[watch.cause(median)] += 1
                shown.append((taken / median, f"{taken / median:.1f} medians, {label}, {watch}"))
    for _, line in sorted(shown, reverse=True)[:SHOWN]:
        print(f"    {line}")
    for cause, times in causes.most_common():
        print(f"    {times} for {cause}")
    most = expected + 3 * math.sqrt(variance)
    print(
        f"{slow} rounds of {sum(len(kind.seconds) for kind in rounds.values())} slower than {SLOWEST:g} times their median; "
        f"as often as the bare loop: {expected:.1f}, within three standard deviations {most:.1f}"
    )
    return slow <= most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    options = parser.parse_args()
    seen = soak(options.minutes)
    print(
        f"{seen.fits} fits in {options.minutes:g} minutes; load {', '.join(f'{load:.1f}' for load in os.getloadavg())}"
    )
    passed = flat(seen.looks)
    passed &= slow(seen.rounds, seen.bare)
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
