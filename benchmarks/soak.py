"""Consecutive fits for minutes: does anything grow, and is any round slow?

    python benchmarks/soak.py --minutes 10

After the first tenth the resident memory and the open descriptors of master and workers must stay within 5 %, and no
round, that of a first product apart, may take more than 3 times the median of its kind.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter, defaultdict

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from coded_als import CodedALS, LocalCluster

RATINGS = np.random.default_rng(0).standard_normal((400, 300))
WORKERS, DRIFT, SLOWEST, LOOK_EVERY_S = 8, 0.05, 3.0, 1.0
# below it a round is over before a busy machine has given everybody a turn
LEAST_S = 0.01


def used(process_ids: list[int]) -> tuple[float, float]:
    """Resident megabytes and open descriptors of all processes together."""
    pages, descriptors = 0, 0
    for process_id in process_ids:
        with open(f"/proc/{process_id}/statm") as file:
            pages += int(file.read().split()[1])
        descriptors += len(os.listdir(f"/proc/{process_id}/fd"))
    return pages * os.sysconf("SC_PAGESIZE") / 1e6, float(descriptors)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    options = parser.parse_args()
    verify = ("off", "freivalds")
    fits = 0
    looks: list[tuple[float, float]] = []
    rounds: dict[str, list[float]] = defaultdict(list)
    with LocalCluster(WORKERS) as cluster:
        started = looked = time.monotonic()
        while time.monotonic() - started < 60 * options.minutes:
            model = CodedALS(rank=8, code="systematic:p=6", precomputation="coded", verify=verify[fits % 2])
            model.fit(RATINGS, cluster)
            fits += 1
            for record in model.rounds_:
                rounds[f"{record.label}, verify {model.verify}"].append(record.elapsed_s)
            if time.monotonic() - started > 6 * options.minutes and time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                looks.append(used([os.getpid(), *cluster.process_ids.values()]))
    passed = True
    for name, values in zip(("resident MB", "descriptors"), zip(*looks, strict=True), strict=True):
        tenth = max(1, len(values) // 10)
        first, last = (statistics.mean(part) for part in (values[:tenth], values[-tenth:]))
        drift = last / first - 1
        passed &= abs(drift) < DRIFT
        print(f"{name} of master and {WORKERS} workers: {first:.1f} at first, {last:.1f} at last: {drift:+.1%}")
    slow: Counter[str] = Counter()
    for label, seconds in rounds.items():
        median, worst = statistics.median(seconds), max(seconds)
        slow[label] = sum(taken > max(SLOWEST * median, LEAST_S) for taken in seconds)
        print(f"{label}: {len(seconds)} rounds, median {1e3 * median:.1f} ms, worst {1e3 * worst:.1f} ms")
    passed &= not slow.total()
    print(f"{fits} fits in {options.minutes:g} minutes; {slow.total()} rounds slower than 3 times their median")
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
