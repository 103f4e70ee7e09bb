"""A grid of schemes, cell by cell, on the virtual clock or on real workers."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.als import CodedALS
from coded_als.als.draws import Draws, repetition_seed
from coded_als.als.schemes import Size
from coded_als.als.timing import Infeasible, Iterations, Workload, iteration_seconds, round_times
from coded_als.cluster import Cluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.errors import CodedALSError, DecodingError, NotEnoughWorkers, UsageError
from coded_als.experiments.plan.timing import summary
from coded_als.experiments.problems import paper_ratings
from coded_als.experiments.sweep.grids import Cell, cell_of
from coded_als.experiments.sweep.store import ResultFolder
from coded_als.experiments.sweep.tables import Row, canonical
from coded_als.experiments.sweep.times import append_times, rounded

Clock = Literal["virtual", "local"]
# Points of a stored curve: enough for a figure of a thousand pixels.
HISTORY_POINTS = 100


@dataclass(frozen=True)
class SweepSpec:
    """Everything that the results of a sweep depend on, besides its cells, which carry the delays.

    Parameters
    ----------
    cluster
        ``"virtual"`` or ``"local"`` (real processes and wall seconds).
    numerics
        Whether the algorithm runs to convergence on a synthetic problem; otherwise only times are drawn.
    size
        The problem.
    machine
        One worker and its link.
    tolerance
        Relative error that a decoded product may have; None: what the scheme's code can keep to.
    iterations
        Iterations of each solver.
    repeats
        Repetitions of each cell, each with random numbers of its own that all cells share.
    seed
        Seed of the delays and of the synthetic problem.
    """

    cluster: Clock
    numerics: bool
    size: Size
    machine: Machine
    tolerance: float | None
    iterations: Iterations
    repeats: int
    seed: int

    def __post_init__(self) -> None:
        self.workload("none")  # refuses what no cell could use

    def workload(self, delays: str) -> Workload:
        """What a cell runs under these delays."""
        return Workload(self.size, delays, self.machine, self.tolerance, self.iterations)

    @property
    def clock(self) -> str:
        """The word in front of every column of seconds."""
        return "virtual" if self.cluster == "virtual" else "wall"

    @property
    def columns(self) -> tuple[str, ...]:
        """Numbers that every finished cell has."""
        return (f"{self.clock}_seconds_mean", f"{self.clock}_iteration_seconds_p50", "iterations")


def run_sweep(
    folder: ResultFolder,
    spec: SweepSpec,
    cells: Sequence[Cell],
    processes: int = 1,
    progress: Callable[[int, int, Row | None], None] = lambda done, total, row: None,
) -> None:
    """Run what is not finished yet; every cell is on disk as soon as it is.

    Parameters
    ----------
    progress
        Called with finished and all cells, and with the row that has just been finished; first without one.
    """
    missing = [cell for cell in cells if canonical(cell.key()) not in folder.finished]
    progress(len(cells) - len(missing), len(cells), None)
    for count, row in enumerate(_rows(spec, missing, processes), start=1):
        if (round_seconds := row.pop("round_seconds", None)) is not None:
            append_times(folder.path, row["cell"], round_seconds)
        folder.append(row)
        progress(len(cells) - len(missing) + count, len(cells), row)


def refusal(spec: SweepSpec, cell: Cell) -> str | None:
    """Why a cell cannot run, as far as its first iteration tells; None where it can.

    Parameters
    ----------
    spec
        What the sweep depends on.
    cell
        One of its cells.
    """
    try:
        workload = spec.workload(cell.injected_delays)
        iteration_seconds(cell.scheme, workload, Draws(workload.model, cell.scheme.workers, spec.seed, 1), most=1)
    except Infeasible as reason:
        return str(reason)
    return None


def require_feasible(spec: SweepSpec, cells: Sequence[Cell]) -> None:
    """Refuse a grid of which no cell can run; a grid where some can is run.

    Parameters
    ----------
    spec
        The sweep.
    cells
        Of its grid.

    Raises
    ------
    UsageError
    """
    reason: str | None = ""
    for cell in cells:
        if (reason := refusal(spec, cell)) is None:
            return
    raise UsageError(f"a sweep must have a cell that can run; none of {len(cells)} can. The last of them: {reason}")


def _rows(spec: SweepSpec, cells: Sequence[Cell], processes: int) -> Iterator[Row]:
    """Rows in the order of finishing."""
    if processes <= 1 or len(cells) <= 1:
        yield from (run_cell(spec, cell.key()) for cell in cells)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(partial(run_cell, spec), cell.key()) for cell in cells]):
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


def run_cell(spec: SweepSpec, key: Row) -> Row:
    """One row: the cell, a status word (done, infeasible or failed), the reason, the figures and the round seconds.

    Parameters
    ----------
    spec
        The sweep.
    key
        The cell.
    """
    cell = cell_of(key)
    try:
        # one BLAS thread: the same bits however many cells run at once
        with threadpool_limits(1):
            figures = _numerics(spec, cell) if spec.numerics or spec.cluster == "local" else _times(spec, cell)
        return {"cell": key, "status": "done", "reason": None, **figures}
    except (Infeasible, NotEnoughWorkers, DecodingError) as reason:
        return {"cell": key, "status": "infeasible", "reason": str(reason)}
    except (CodedALSError, MemoryError) as error:
        return {"cell": key, "status": "failed", "reason": str(error)}


def _times(spec: SweepSpec, cell: Cell) -> dict[str, Any]:
    workload = spec.workload(cell.injected_delays)
    draws = Draws(workload.model, cell.scheme.workers, spec.seed, spec.repeats)
    rounds = round_times(cell.scheme, workload, draws)
    seconds = rounds.sum(axis=2)
    [(cost, _), *_] = workload.schedule(cell.scheme)
    return {
        **summary(seconds, spec.clock),
        "round_seconds": rounded(rounds),
        "iterations": seconds.shape[1],
        "worker_storage_bytes": cell.scheme.storage_bytes(spec.size),
        "worker_operations": cost.operations,
    }


def _numerics(spec: SweepSpec, cell: Cell) -> dict[str, Any]:
    """Run the algorithm; the seconds are those of its iterations."""
    runs = [_fit(spec, cell, repetition) for repetition in range(spec.repeats)]
    shortest = min(len(model.history_) for model in runs)
    # the virtual clock leaves out the master's own work, which the cost function has
    master_s = spec.workload(cell.delays).master_s(cell.scheme) if spec.cluster == "virtual" else 0.0
    seconds = np.array([[entry.seconds for entry in model.history_[:shortest]] for model in runs]) + master_s
    history = runs[0].history_
    step = max(1, len(history) // HISTORY_POINTS)
    elapsed = np.cumsum([entry.seconds + master_s for entry in history])
    return {
        **summary(seconds, spec.clock),
        # an iteration of the algorithm is timed as one
        "round_seconds": rounded(seconds[:, :, np.newaxis]),
        "worker_storage_bytes": cell.scheme.storage_bytes(spec.size),
        "iterations": shortest,
        "objective": runs[0].objective_,
        "converged": all(model.converged_ for model in runs),
        "largest_decoding_error_estimate": max(e.error_estimate for model in runs for e in model.history_),
        "history": [[float(t), e.objective] for t, e in zip(elapsed[::step], history[::step], strict=True)],
    }


def _fit(spec: SweepSpec, cell: Cell, repetition: int) -> CodedALS:
    scheme = cell.scheme
    try:
        scheme.product(spec.size)  # refuses too few workers
    except CodedALSError as error:
        raise Infeasible(str(error)) from None
    model = CodedALS(
        spec.size.rank,
        code=scheme.code,
        partitions=scheme.partitions,
        protocol=scheme.protocol,  # type: ignore[arg-type]
        solver=scheme.solver,  # type: ignore[arg-type]
        iterations=10 * spec.iterations.of(scheme.solver),
        tolerance=1e-8,
        decoding_tolerance=spec.tolerance,
        precomputation="local",
        seed=spec.seed,
    )
    seed = repetition_seed(spec.seed, repetition)
    with _cluster(spec, scheme.workers, cell.injected_delays, seed) as cluster:
        return model.fit(paper_ratings(spec.size, spec.seed), cluster=cluster)


def _cluster(spec: SweepSpec, workers: int, delays: str, seed: int) -> Cluster:
    if spec.cluster == "virtual":
        return SimulatedCluster(workers, delays, seed, spec.machine)
    from coded_als.master import LocalCluster

    return LocalCluster(workers, delays, seed)
