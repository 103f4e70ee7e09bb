"""A few runs of each leading scheme with numerics: the curves and the timeline that a report shows.

The problem is small enough to take seconds; the delays are the sweep's first, and the machine is slowed down in
proportion, so that work and messages take as long as on the sweep's problem.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.als import CodedALS, CodedIteration
from coded_als.arrays import Array
from coded_als.cluster import TaskEvent
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import EventLog
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.errors import CodedALSError
from coded_als.experiments.sweep.grids import Cell
from coded_als.experiments.sweep.result_folder import (
    EXAMPLES_FILE,
    Curve,
    Examples,
    StoredTimeline,
    saying_what_failed,
    write_text,
)
from coded_als.experiments.sweep.rows import SweepRow, mean_seconds
from coded_als.experiments.table1.paper_table import paper_ratings
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.statistics import mean_and_interval
from coded_als.planner.timing import Workload, repetition_seed

LARGEST = Size(rows=480, columns=360, rank=12)
ITERATIONS = 25
# Enough for the singular values to have no gap: otherwise two iterations would do.
NOISE = 6.0
# Rounds that one timeline can show.
TIMELINE_ROUNDS = 5
# Runs behind a curve; they differ in their delays alone.
REPEATS = 4
# Workers that one timeline can show.
TIMELINE_WORKERS = 40


def write_examples(folder: Path, cells: Sequence[Cell], workload: Workload, seed: int) -> None:
    """Run the schemes of the cells on one small problem under the same delays, and keep curves and a timeline."""
    full = workload.size
    size = Size(min(full.rows, LARGEST.rows), min(full.columns, LARGEST.columns), min(full.rank, LARGEST.rank))
    machine = _slowed(workload.machine, full, size)
    curves: list[Curve] = []
    timeline: StoredTimeline | None = None
    for cell in cells:
        scheme, log = cell.scheme, EventLog()
        with threadpool_limits(1):
            curve = _curve(cell, size, replace(workload, size=size, machine=machine), seed, log)
        if curve:
            curves.append(curve)
            timeline = timeline or {"scheme": scheme.label, "workers": scheme.workers, "events": _events(log.events)}
    document: Examples = {
        "clock": "virtual",
        "size": {"rows": size.rows, "columns": size.columns, "rank": size.rank},
        "delays": str(workload.delays),
        "curves": curves,
        "timeline": timeline,
    }
    with saying_what_failed(folder):
        write_text(folder / EXAMPLES_FILE, json.dumps(document, sort_keys=True) + "\n")


def _slowed(machine: Machine, full: Size, size: Size) -> Machine:
    """The machine on which the small problem takes as long as the full one: a product is l^2 d, a factor l d."""
    work = (size.length / full.length) ** 2 * size.rank / full.rank
    words = size.length / full.length * size.rank / full.rank
    speeds = machine.multiplications_per_second * work, machine.bytes_per_second * words
    return Machine(*speeds, machine.latency_s, worker_speeds=machine.worker_speeds)


def _curve(cell: Cell, size: Size, workload: Workload, seed: int, log: EventLog) -> Curve | None:
    """Seconds until each iteration, their intervals, and the excess of the objective over its optimum.

    The log gets the first run. None where the scheme cannot run.
    """
    ratings = paper_ratings(size, seed, noise=NOISE)
    logs = [log, *(EventLog() for _ in range(REPEATS - 1))]
    try:
        histories = [
            _run(cell.scheme, ratings, workload, seed, repetition_seed(seed, repetition), log)
            for repetition, log in enumerate(logs)
        ]
    except CodedALSError:
        return None
    shortest = min(map(len, histories))
    elapsed = np.cumsum([[entry.seconds for entry in history[:shortest]] for history in histories], axis=1)
    means, lows, highs = zip(*(mean_and_interval(column) for column in elapsed.T), strict=True)
    optimum = float(np.sum(np.linalg.svd(ratings, compute_uv=False)[size.rank :] ** 2))
    return {
        "cell": cell.scheme_key(),
        "seconds_mean": list(means),
        "seconds_low95": list(lows),
        "seconds_high95": list(highs),
        "excess": [max(entry.objective / optimum - 1, 1e-16) for entry in histories[0][:shortest]],
    }


def _run(
    scheme: Scheme, ratings: Array, workload: Workload, seed: int, delay_seed: int, log: EventLog
) -> list[CodedIteration]:
    model = CodedALS(
        workload.size.rank,
        code=scheme.code,
        solver=scheme.solver,
        iterations=ITERATIONS,
        tolerance=1e-10,
        decoding_tolerance=workload.tolerance,
        precomputation="local",
        seed=seed,
    )
    with SimulatedCluster(scheme.workers, workload.delays, delay_seed, workload.machine) as cluster:
        cluster.observers.append(log)
        return model.fit(ratings, cluster=cluster).history_


def _events(events: Sequence[TaskEvent]) -> list[dict[str, Any]]:
    return [asdict(event) for event in events if event.round_index < TIMELINE_ROUNDS]


def leading_cells(rows: Sequence[SweepRow], clock: str = "virtual") -> list[Cell]:
    """Every code at its fastest h, codes before plain copies and the fastest first, at the middle number of workers."""
    done = [row for row in rows if row["status"] == "done" and row["cell"]["protocol"] == "fused"]
    sizes = sorted({row["cell"]["workers"] for row in done if row["cell"]["workers"] <= TIMELINE_WORKERS})
    if not sizes:
        return []
    here = [row for row in done if row["cell"]["workers"] == sizes[len(sizes) // 2]]
    fewest = min(row["cell"]["stragglers"] for row in here)
    fastest: dict[str, SweepRow] = {}
    ranked = sorted(
        (row for row in here if row["cell"]["stragglers"] == fewest), key=lambda row: mean_seconds(row, clock)
    )
    for row in ranked:
        fastest.setdefault(row["cell"]["code"], row)
    leading = [Cell.of(row["cell"]) for row in fastest.values()]
    return sorted(leading, key=lambda cell: not cell.scheme.family.coded)
