"""One cell of a sweep, timed or run."""

from __future__ import annotations

from typing import cast

from threadpoolctl import threadpool_limits

from coded_als.als.draws import Draws
from coded_als.als.timing import Infeasible, round_times
from coded_als.errors import CodedALSError, DecodingError, NotEnoughWorkers
from coded_als.experiments.sweep.cells import Cell, cell_of
from coded_als.experiments.sweep.numerics import numerics_of
from coded_als.experiments.sweep.rows import Figures, SweepCell, SweepRow
from coded_als.experiments.sweep.seconds import with_seconds
from coded_als.experiments.sweep.spec import SweepSpec
from coded_als.experiments.sweep.times import rounded


def run_cell(spec: SweepSpec, key: SweepCell) -> SweepRow:
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
        "worker_storage_bytes": cell.scheme.storage_bytes(spec.size),
        "worker_operations": cost.operations,
    }
    return with_seconds(figures, seconds, spec.clock)
