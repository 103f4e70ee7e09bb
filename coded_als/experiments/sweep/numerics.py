"""Cells in which the algorithm runs."""

from __future__ import annotations

import numpy as np

from coded_als.als import CodedALS
from coded_als.als.draws import repetition_seed
from coded_als.als.timing import Infeasible
from coded_als.errors import CodedALSError
from coded_als.experiments.clusters import open_cluster
from coded_als.experiments.problems import paper_ratings
from coded_als.experiments.sweep.cells import Cell
from coded_als.experiments.sweep.rows import Figures
from coded_als.experiments.sweep.seconds import with_seconds
from coded_als.experiments.sweep.spec import SweepSpec
from coded_als.experiments.sweep.times import rounded

# Points of a stored curve: enough for a figure of a thousand pixels.
HISTORY_POINTS = 100


def numerics_of(spec: SweepSpec, cell: Cell) -> Figures:
    """Run the algorithm; the seconds are those of its iterations.

    Parameters
    ----------
    spec
        The sweep.
    cell
        One of its cells.

    Raises
    ------
    CodedALSError
        When the scheme cannot run, or its fit fails.
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
    delays = cell.injected_delays
    with open_cluster(spec.cluster, scheme.workers, delays, seed, machine=spec.machine) as cluster:
        return model.fit(paper_ratings(spec.size, spec.seed), cluster=cluster)
