"""Rows of the reproduction of Table I."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict, cast

if TYPE_CHECKING:
    from coded_als.codes import PointFamily
    from coded_als.experiments.sweep.rows import CellStatus


class Table1Cell(TypedDict):
    """A cell of the table: h, and the workers k that live."""

    partitions: int
    live: int


class Table1Row(TypedDict):
    """One cell: the paper's seconds, what they are worth, and those of formula and virtual clock.

    Besides them it holds what `at_points` reads.
    """

    cell: Table1Cell
    status: CellStatus
    paper_seconds: float
    formula_seconds: float
    virtual_seconds_mean: float
    virtual_seconds_low95: float | None
    virtual_seconds_high95: float | None
    paper_products_implied: float


class WallRow(TypedDict):
    """Wall seconds of a cell, of one round on real workers."""

    cell: Table1Cell
    wall_seconds_per_round_mean: float
    wall_seconds_per_round_low95: float | None
    wall_seconds_per_round_high95: float | None


@dataclass(frozen=True)
class AtPoints:
    """What decoding at one family of points comes to in a cell.

    Parameters
    ----------
    error_estimated, error_actual
        Medians over random first responses, relative.
    iterations_survived
        Iterations that a run stays with exact arithmetic.
    worst_deviation
        Of its objective, relative; None where it broke down.
    """

    error_estimated: float
    error_actual: float
    iterations_survived: int
    worst_deviation: float | None


def live_and_partitions(row: Table1Row) -> tuple[int, int]:
    """k and h of a row: its place in the paper's table."""
    return row["cell"]["live"], row["cell"]["partitions"]


def at_points(row: Table1Row, points: PointFamily) -> AtPoints:
    """What a row holds of one family of points, each column named after it.

    Parameters
    ----------
    row
        Of a cell.
    points
        Where the code is evaluated.
    """
    columns = cast(dict[str, Any], row)
    return AtPoints(**{field.name: columns[f"{points}_{field.name}"] for field in fields(AtPoints)})


def with_points(row: Table1Row, points: PointFamily, found: AtPoints) -> Table1Row:
    """The row with the columns that `at_points` reads.

    Parameters
    ----------
    row
        Of a cell.
    points
        Where the code is evaluated.
    found
        What that comes to.
    """
    names = (f"{points}_{field.name}" for field in fields(AtPoints))
    return cast(Table1Row, {**row, **dict(zip(names, astuple(found), strict=True))})
