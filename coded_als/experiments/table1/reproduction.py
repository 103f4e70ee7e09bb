"""Running Table I into a results folder, and its table as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from coded_als.errors import UsageError
from coded_als.experiments.sweep.reading import saying_what_failed
from coded_als.experiments.sweep.store import ResultFolder
from coded_als.experiments.sweep.tables import Row, canonical
from coded_als.experiments.table1.paper import Effort, paper_cells
from coded_als.experiments.table1.table1 import evaluate, fit_law, sound_cells, wall_seconds

WALL_FILE = "wall.jsonl"
WALL_MEAN = "wall_seconds_per_round_mean"

COLUMNS: tuple[tuple[str, Callable[[Row], Any]], ...] = (
    ("k", lambda row: row["cell"]["live"]),
    ("h", lambda row: row["cell"]["partitions"]),
    ("paper [s]", lambda row: f"{row['paper_seconds']:.4g}"),
    ("formula (46) [s]", lambda row: f"{row['formula_seconds']:.3g}"),
    ("virtual clock [virtual s]", lambda row: f"{row['virtual_seconds_mean']:.3g}"),
    ("products implied", lambda row: f"{row['paper_products_implied']:.3g}"),
    ("real: est./actual error", lambda row: _pair(row, "real")),
    ("equispaced: est./actual", lambda row: _pair(row, "equispaced")),
    ("circle: est./actual", lambda row: _pair(row, "circle")),
    (
        "survived r/e/c",
        lambda row: "/".join(str(row[f"{p}_iterations_survived"]) for p in ("real", "equispaced", "circle")),
    ),
)


def _pair(row: Row, points: str) -> str:
    return f"{row[f'{points}_error_estimated']:.0e} / {row[f'{points}_error_actual']:.0e}"


def run_table1(folder: ResultFolder, effort: Effort, seed: int, progress: Callable[[int, int], None]) -> list[Row]:
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
                _append_line(folder.path / WALL_FILE, wall_seconds(cell, law, seed))
    progress(len(cells), len(cells))
    return rows


def _append_line(path: Path, row: Row) -> None:
    with saying_what_failed(path), path.open("a") as file:
        file.write(canonical(row) + "\n")


def read_wall(folder: Path) -> list[Row]:
    """Wall seconds of the cells that have them.

    Raises
    ------
    UsageError
        When the file is damaged.
    """
    path = folder / WALL_FILE
    if not path.exists():
        return []
    whole = path.read_text(errors="replace")
    try:
        rows = [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]
        for row in rows:  # what the table shows of them
            canonical(row["cell"]), float(row[WALL_MEAN])
        return rows
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"wall times must be whole lines; {path} is damaged. Remove it and run again.") from None


def table_cells(rows: Sequence[Row], wall: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table; wall time has a column of its own where it was measured.

    Parameters
    ----------
    rows
        Results of the cells.
    wall
        Wall seconds of the cells that were timed.
    """
    headings = [name for name, _ in COLUMNS]
    body = [[str(show(row)) for _, show in COLUMNS] for row in rows]
    if wall:
        seconds = {canonical(row["cell"]): row[WALL_MEAN] for row in wall}
        headings.append("real workers [wall ms per round]")
        for row, line in zip(rows, body, strict=True):
            value = seconds.get(canonical(row["cell"]))
            line.append("" if value is None else f"{1e3 * value:.3g}")
    return headings, body
