"""The choice of `plan` against real workers: eight clusters, two sizes, W = 16.

For each cluster and size, with this machine as `plan --calibrate` measures it, under the load that is there:

1. every row of the plan is timed on the virtual clock or bounded from below there;
2. on worker processes are run: the plan's choice, the best row of every family of codes, rows drawn at random from those
   predicted within 1.5 times the fastest, and some drawn from those predicted within 4 times, to check that none of them is
   fast. A run is a whole fit with as many iterations as the plan counts on, D and its shares included, on workers started
   for it, so that every row meets the same delays in the same order. How many rows there were is printed;
3. the plan's choice and the fastest three of that pass are run again under further seeds, in turns.

Printed is the median of the choice over that of the fastest. Bar: within 15 % in at least 14 of 16, never beyond 1.5. The
median of the choice must also lie in the interval that the plan gives for this machine, in 14 of 16, and no interval may be
wider than a factor of 2. ``--choice`` runs the choice alone, for these intervals. What is finished is kept in ``--keep`` and
not run again.

    python benchmarks/plan_against_real.py [--keep FILE.json] [--minutes 3.5] [--only exp] [--choice]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from coded_als import CodedALS, LocalCluster, SimulatedCluster
from coded_als.cluster import Round, all_of
from coded_als.cluster.recording import TraceRecorder
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.experiments.calibration import Calibration, under_load
from coded_als.planner.choice import Race, schemes
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import GUARD_VECTORS, typical_iterations
from coded_als.planner.timing import Workload

WORKERS = 16
SIZES = (Size(600, 400, 10), Size(3000, 2000, 50))
NEAR, MOST_NEAR, FAR, MOST_FAR, AGAIN = 1.5, 8, 4.0, 3, 3
# Seeds of the second pass: more where a fit is short.
SHORT_S, SEEDS_OF_SHORT, SEEDS_OF_LONG = 0.6, range(6), range(3)
WITHIN, NEVER, ENOUGH = 1.15, 1.5, 14


def clusters(folder: Path) -> dict[str, str]:
    """Delay SPECs by name; the recorded trace is one of a cluster with bursts."""
    trace = folder / "recorded-trace.csv"
    if not trace.exists():
        recorder = TraceRecorder()
        with SimulatedCluster(
            WORKERS, "exp:mean=10ms+markov:fast=1ms,slow=300ms,enter=0.05,leave=0.3", seed=7
        ) as cluster:
            cluster.observers.append(recorder)
            cluster.store("left", [np.ones((1, 1, 1))] * WORKERS)
            round = Round("product", ("left",), [(np.ones((1, 1, 1)),)] * WORKERS, (), ((1, 1, 1),))
            for _ in range(40):
                cluster.run(round, all_of(WORKERS))
        recorder.save(trace)
    return {
        "no delay": "none",
        "exp 5 ms": "exp:mean=5ms",
        "exp 200 ms": "exp:mean=200ms",
        "pareto 1.2": "pareto:scale=5ms,alpha=1.2",
        "exp + 3 dead": "exp:mean=20ms+dead:n=3",
        "bimodal": "bimodal:p=0.1,fast=5ms,slow=1s",
        "markov": "markov:fast=5ms,slow=500ms,enter=0.05,leave=0.3",
        "trace": f"trace:{trace}",
    }


def matrix_of(size: Size) -> np.ndarray:
    """Columns of decaying lengths: the time does not depend on the entries."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((size.rows, size.columns)) * np.arange(1.0, size.columns + 1) ** -0.5


def fit_seconds(scheme: Scheme, size: Size, delays: str, seed: int, matrix: np.ndarray) -> float:
    """Wall seconds of one fit, the start of the workers left out; infinite where it refuses to decode."""
    model = CodedALS(
        size.rank, code=scheme.code, protocol=scheme.protocol, solver=scheme.solver,
        iterations=typical_iterations()[scheme.solver], tolerance=0.0,
    )  # fmt: skip
    with LocalCluster(WORKERS, delays, seed) as cluster:
        started = time.perf_counter()
        try:
            model.fit(matrix, cluster)
        except (DecodingError, NotEnoughWorkers):
            return float("inf")
        return time.perf_counter() - started


def rows_to_run(race: Race, chosen: Scheme) -> tuple[list[Scheme], int, int]:
    """The rows that are run; how many are predicted near the fastest, and how many there are."""
    known = [candidate for candidate in race.known() if candidate.scheme.solver == "lobpcg"]
    fastest = known[0].mean_s
    best = {
        candidate.scheme.family.name: candidate.scheme
        for candidate in reversed(known)
        if candidate.mean_s <= FAR * fastest
    }
    near = [candidate.scheme for candidate in known if candidate.mean_s <= NEAR * fastest]
    far = [candidate.scheme for candidate in known if NEAR * fastest < candidate.mean_s <= FAR * fastest]
    drawn = random.Random(0)
    sampled = drawn.sample(near, min(MOST_NEAR, len(near))) + drawn.sample(far, min(MOST_FAR, len(far)))
    return list(dict.fromkeys([chosen, *best.values(), *sampled])), len(near), len(known)


def compare(size: Size, delays: str, calibration: Calibration, choice: bool) -> dict[str, object]:
    """One cluster and size: the choice, the fastest, and every measurement."""
    workload = Workload(size, delays, calibration.machine)
    race = Race(workload, schemes(WORKERS))
    chosen = race.chosen()
    assert chosen is not None
    low, high = calibration.interval_s(chosen.scheme, workload)
    rows, near, known = ([chosen.scheme], 1, 1) if choice else rows_to_run(race, chosen.scheme)
    matrix = matrix_of(size)
    first = {scheme: fit_seconds(scheme, size, delays, 0, matrix) for scheme in rows}
    finalists = list(dict.fromkeys([chosen.scheme, *sorted(rows, key=first.__getitem__)[:AGAIN]]))
    seconds: dict[Scheme, list[float]] = {scheme: [] for scheme in finalists}
    for seed in SEEDS_OF_SHORT if min(first.values()) < SHORT_S else SEEDS_OF_LONG:
        for scheme in finalists:
            seconds[scheme].append(fit_seconds(scheme, size, delays, seed, matrix))
    medians = {scheme: median(values) for scheme, values in seconds.items()}
    fastest = min(medians, key=medians.__getitem__)
    planned = {candidate.scheme: candidate.mean_s for candidate in race.known()}
    return {
        "chosen": chosen.scheme.label,
        "fastest": fastest.label,
        "ratio": medians[chosen.scheme] / medians[fastest],
        "chosen_s": medians[chosen.scheme],
        "fastest_s": medians[fastest],
        "planned_s": chosen.mean_s,
        "interval_s": [low, high],
        "within": low <= medians[chosen.scheme] <= high,
        "run": len(rows),
        "near": near,
        "rows": known,
        "seconds": {scheme.label: values for scheme, values in seconds.items()},
        "first": {scheme.label: value for scheme, value in first.items()},
        "planned": {scheme.label: planned[scheme] for scheme in rows},
        "load": os.getloadavg()[0],
    }


def run_all(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The results for every cluster, those that are kept first. ``folder``: of the recorded trace."""
    started, kept = time.monotonic(), options.keep
    results = json.loads(kept.read_text()) if kept is not None and kept.exists() else {}
    for size in SIZES:
        for name, delays in clusters(folder).items():
            key = f"{name}, {size.rows} x {size.columns}, d={size.rank}"
            if key in results or not re.search(options.only, key) or time.monotonic() - started > 60 * options.minutes:
                continue
            calibration = under_load(size.rank + GUARD_VECTORS, WORKERS)
            results[key] = compare(size, delays, calibration, options.choice)
            if kept is not None:
                kept.write_text(json.dumps(results, indent=1))
            row = results[key]
            print(
                f"{key}: {row['chosen']} {row['chosen_s']:.3f} s (planned {row['planned_s']:.3f}, "
                f"{row['interval_s'][0]:.3f} to {row['interval_s'][1]:.3f}, load {row['load']:.1f}); fastest {row['fastest']} "
                f"{row['fastest_s']:.3f} s; ratio {row['ratio']:.2f}; {row['run']} of {row['rows']} rows run, "
                f"{row['near']} of all predicted near the fastest",
                flush=True,
            )
    return dict(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="JSON file of the results, gone on from where it is there"
    )
    parser.add_argument("--minutes", type=float, default=3.5, help="begin no further cluster after so long")
    parser.add_argument("--only", default="", help="clusters whose name this regular expression finds")
    parser.add_argument("--choice", action="store_true", help="run the plan's choice alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        results = run_all(options, Path(passing) if options.keep is None else options.keep.resolve().parent)
    if results:
        widest = max(row["interval_s"][1] / row["interval_s"][0] for row in results.values())
        within = sum(row["within"] for row in results.values())
        print(
            f"{within} of {len(results)} within their interval (wanted {ENOUGH} of 16); widest {widest:.2f} (wanted <= 2)"
        )
    ratios = [row["ratio"] for row in results.values()]
    if ratios:
        good = sum(ratio <= WITHIN for ratio in ratios)
        print(
            f"{good} of {len(ratios)} within {WITHIN} (wanted {ENOUGH} of 16); worst {max(ratios):.2f} (wanted <= {NEVER})"
        )


if __name__ == "__main__":
    main()
