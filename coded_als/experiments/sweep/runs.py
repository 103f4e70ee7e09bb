"""Runs of the cells of a sweep: timed on the virtual clock or with numerics, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import cast

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.als import CodedALS
from coded_als.errors import CodedALSError, DecodingError, NotEnoughWorkers
from coded_als.experiments.cluster_kinds import open_cluster
from coded_als.experiments.sweep.grids import Cell, SweepSpec
from coded_als.experiments.sweep.result_folder import ResultFolder, append_times, rounded
from coded_als.experiments.sweep.rows import Figures, SweepRow, canonical, with_seconds
from coded_als.experiments.table1.paper_table import paper_ratings
from coded_als.planner.timing import Draws, Infeasible, repetition_seed, round_times

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
    model = CodedALS(
        spec.size.rank,
        code=scheme.code,
        protocol=scheme.protocol,  # type: ignore[arg-type]
        solver=scheme.solver,
        iterations=10 * spec.iterations[scheme.solver],
        tolerance=1e-8,
        decoding_tolerance=spec.tolerance,
        precomputation="local",
        seed=spec.seed,
    )
    seed = repetition_seed(spec.seed, repetition)
    delays = cell.injected_delays
    with open_cluster(spec.cluster, scheme.workers, delays, seed, machine=spec.machine) as cluster:
        return model.fit(paper_ratings(spec.size, spec.seed), cluster=cluster)
