"""Cells that cannot run, found before any is."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.als.draws import Draws
from coded_als.als.timing import Infeasible, iteration_seconds
from coded_als.errors import UsageError
from coded_als.experiments.sweep.cells import Cell
from coded_als.experiments.sweep.spec import SweepSpec


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
