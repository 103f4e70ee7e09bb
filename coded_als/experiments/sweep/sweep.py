"""A grid of schemes, cell by cell, on the virtual clock or on real workers."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial

from coded_als.experiments.sweep.cell_runs import run_cell
from coded_als.experiments.sweep.cells import Cell
from coded_als.experiments.sweep.rows import SweepRow
from coded_als.experiments.sweep.spec import SweepSpec
from coded_als.experiments.sweep.store import ResultFolder
from coded_als.experiments.sweep.tables import canonical
from coded_als.experiments.sweep.times import append_times


def run_sweep(
    folder: ResultFolder[SweepRow],
    spec: SweepSpec,
    cells: Sequence[Cell],
    processes: int = 1,
    progress: Callable[[int, int, SweepRow | None], None] = lambda done, total, row: None,
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


def _rows(spec: SweepSpec, cells: Sequence[Cell], processes: int) -> Iterator[SweepRow]:
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
