"""Runs of the cells of a sweep: timed on the virtual clock or with numerics, in this process or in several."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.als import CodedALS, CodedIteration
from coded_als.arrays import Array
from coded_als.cluster import TaskEvent
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import EventLog
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.errors import CodedALSError, DecodingError, NotEnoughWorkers
from coded_als.experiments.cluster_kinds import open_cluster
from coded_als.experiments.sweep.grids import Cell, SweepSpec
from coded_als.experiments.sweep.result_folder import (
    EXAMPLES_FILE,
    Curve,
    Examples,
    ResultFolder,
    StoredTimeline,
    append_times,
    rounded,
    saying_what_failed,
    write_text,
)
from coded_als.experiments.sweep.rows import Figures, SweepRow, canonical, mean_seconds, with_seconds
from coded_als.experiments.table1.paper_table import paper_ratings
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.statistics import mean_and_interval
from coded_als.planner.timing import Draws, Infeasible, Workload, repetition_seed, round_times

# Points of a stored curve: enough for a figure of a thousand pixels.
HISTORY_POINTS = 100


def run_sweep(
    folder: ResultFolder[SweepRow],
    spec: SweepSpec,
    cells: Sequence[Cell],
    processes: int = 1,
    progress: Callable[[int, int, SweepRow | None], None] = lambda done, total, row: None,
) -> None:
    """Run the unfinished cells; each is on disk as soon as it has ended."""
    missing = [cell for cell in cells if canonical(cell.key()) not in folder.finished]
    progress(len(cells) - len(missing), len(cells), None)
    for count, row in enumerate(_rows(spec, missing, processes), start=1):
        if (round_seconds := row.pop("round_seconds", None)) is not None:
            append_times(folder.path, row["cell"], round_seconds)
        folder.append(row)
        progress(len(cells) - len(missing) + count, len(cells), row)


def _rows(spec: SweepSpec, cells: Sequence[Cell], processes: int) -> Iterator[SweepRow]:
    """Rows in the order of finishing."""
    if processes <= 1 or len(cells) <= 1:
        yield from (run_cell(spec, cell) for cell in cells)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(run_cell, spec, cell) for cell in cells]):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """A killed parent cannot stop its pool: each process watches for it."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_cell(spec: SweepSpec, cell: Cell) -> SweepRow:
    """One row: the cell, a status word (done, infeasible or failed), the reason, the figures and the round seconds."""
    key = cell.key()
    try:
        # one BLAS thread: the same bits however many cells run at once
        with threadpool_limits(1):
            figures = numerics_of(spec, cell) if spec.numerics or spec.cluster == "local" else _times(spec, cell)
        return cast(SweepRow, {"cell": key, "status": "done", "reason": None, **figures})
    except (Infeasible, NotEnoughWorkers, DecodingError) as reason:
        return {"cell": key, "status": "infeasible", "reason": str(reason)}
    except (CodedALSError, MemoryError) as error:
        return {"cell": key, "status": "failed", "reason": str(error)}


def _times(spec: SweepSpec, cell: Cell) -> Figures:
    workload = spec.workload(cell.injected_delays)
    draws = Draws(workload.model, cell.scheme.workers, spec.seed, spec.repeats)
    rounds = round_times(cell.scheme, workload, draws)
    seconds = rounds.sum(axis=2)
    [(cost, _), *_] = workload.schedule(cell.scheme)
    figures: Figures = {
        "round_seconds": rounded(rounds),
        "iterations": seconds.shape[1],
        "virtual_master_seconds": seconds.shape[1] * workload.master_s(cell.scheme),
        "worker_storage_bytes": cell.scheme.storage_bytes(spec.size),
        "worker_operations": cost.operations,
    }
    return with_seconds(figures, seconds, spec.clock)


def numerics_of(spec: SweepSpec, cell: Cell) -> Figures:
    """Run the algorithm; the seconds are those of its iterations.

    Raises CodedALSError when the scheme cannot run, or its fit fails.
    """
    runs = [_fit(spec, cell, repetition) for repetition in range(spec.repeats)]
    shortest = min(len(model.history_) for model in runs)
    # the virtual clock leaves out the master's own work, which the cost function has
    master_s = spec.workload(cell.delays).master_s(cell.scheme) if spec.cluster == "virtual" else 0.0
    seconds = np.array([[entry.seconds for entry in model.history_[:shortest]] for model in runs]) + master_s
    history = runs[0].history_
    step = max(1, len(history) // HISTORY_POINTS)
    elapsed = np.cumsum([entry.seconds + master_s for entry in history])
    figures: Figures = {
        # an iteration of the algorithm is timed as one
        "round_seconds": rounded(seconds[:, :, np.newaxis]),
        "worker_storage_bytes": cell.scheme.storage_bytes(spec.size),
        "iterations": shortest,
        "objective": runs[0].objective_,
        "converged": all(model.converged_ for model in runs),
        "largest_decoding_error_estimate": max(e.error_estimate for model in runs for e in model.history_),
        "history": [[float(t), e.objective] for t, e in zip(elapsed[::step], history[::step], strict=True)],
    }
    if spec.cluster == "virtual":
        figures["virtual_master_seconds"] = shortest * master_s
    return with_seconds(figures, seconds, spec.clock)


def _fit(spec: SweepSpec, cell: Cell, repetition: int) -> CodedALS:
    scheme = cell.scheme
    try:
        scheme.product(spec.size)  # refuses too few workers
    except CodedALSError as error:
        raise Infeasible(str(error)) from None
    model = _model(scheme, spec.size.rank, 10 * spec.iterations[scheme.solver], 1e-8, spec.tolerance, spec.seed)
    seed = repetition_seed(spec.seed, repetition)
    delays = cell.injected_delays
    with open_cluster(spec.cluster, scheme.workers, delays, seed, machine=spec.machine) as cluster:
        return model.fit(paper_ratings(spec.size, spec.seed), cluster=cluster)


def _model(
    scheme: Scheme, rank: int, iterations: int, tolerance: float, decoding_tolerance: float | None, seed: int
) -> CodedALS:
    """A model that runs a scheme, with D formed at the master."""
    return CodedALS(
        rank, code=scheme.code, protocol=scheme.protocol, solver=scheme.solver, iterations=iterations,  # type: ignore[arg-type]
        tolerance=tolerance, decoding_tolerance=decoding_tolerance, precomputation="local", seed=seed,
    )  # fmt: skip


# The example runs: a problem small enough to take seconds, on a machine on which it takes as long as the full one.
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
    model = _model(scheme, workload.size.rank, ITERATIONS, 1e-10, workload.tolerance, seed)
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
