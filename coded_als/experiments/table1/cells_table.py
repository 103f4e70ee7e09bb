"""The table of the reproduction, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coded_als.codes import PointFamily
from coded_als.experiments.sweep.rows import canonical
from coded_als.experiments.table1.rows import Table1Row, WallRow, at_points
from coded_als.experiments.table1.table1 import FAMILIES

COLUMNS: tuple[tuple[str, Callable[[Table1Row], Any]], ...] = (
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
        lambda row: "/".join(str(at_points(row, points).iterations_survived) for points in FAMILIES),
    ),
)


def _pair(row: Table1Row, points: PointFamily) -> str:
    found = at_points(row, points)
    return f"{found.error_estimated:.0e} / {found.error_actual:.0e}"


def table_cells(rows: Sequence[Table1Row], wall: Sequence[WallRow]) -> tuple[list[str], list[list[str]]]:
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
        seconds = {canonical(row["cell"]): row["wall_seconds_per_round_mean"] for row in wall}
        headings.append("real workers [wall ms per round]")
        for row, line in zip(rows, body, strict=True):
            value = seconds.get(canonical(row["cell"]))
            line.append("" if value is None else f"{1e3 * value:.3g}")
    return headings, body
