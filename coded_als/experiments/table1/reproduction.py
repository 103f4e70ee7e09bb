"""Running Table I into a results folder, and its table as text."""

from __future__ import annotations

from collections.abc import Callable

from coded_als.experiments.sweep.result_folder import ResultFolder
from coded_als.experiments.sweep.rows import canonical
from coded_als.experiments.table1.law import fit_law, sound_cells
from coded_als.experiments.table1.paper import Effort, paper_cells
from coded_als.experiments.table1.rows import Table1Row
from coded_als.experiments.table1.table1 import evaluate
from coded_als.experiments.table1.times import wall_seconds
from coded_als.experiments.table1.wall import WALL_FILE, append_wall, read_wall


def run_table1(
    folder: ResultFolder[Table1Row], effort: Effort, seed: int, progress: Callable[[int, int], None]
) -> list[Table1Row]:
    """Evaluate what is not finished yet, and return the rows of all cells.

    Wall seconds depend on the machine, so they are kept in a file of their own.

    Parameters
    ----------
    folder
        Holds the cells that are finished, and gets the others.
    effort
        How often each figure is measured.
    seed
        Of all random numbers.
    progress
        Told how many of how many cells are done.
    """
    law = fit_law(sound_cells())
    cells = paper_cells()
    for done, cell in enumerate(cells):
        progress(done, len(cells))
        if canonical(cell.key()) not in folder.finished:
            folder.append(evaluate(cell, law, effort, seed))
    rows = folder.finish([cell.key() for cell in cells])
    if effort.wall:
        known = {canonical(row["cell"]) for row in read_wall(folder.path)}
        for done, cell in enumerate(cells):
            progress(done, len(cells))
            if canonical(cell.key()) not in known:
                append_wall(folder.path / WALL_FILE, wall_seconds(cell, law, seed))
    progress(len(cells), len(cells))
    return rows
