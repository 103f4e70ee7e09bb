"""Slices of a sweep: the rows that one figure may compare, and the names and styles of their series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coded_als.codes import Replicated, Uncoded
from coded_als.experiments.report.styles import SeriesStyle, styles

Row = dict[str, Any]
# headings and rows of the data that a figure shows
Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


def series_name(row: Row) -> str:
    """The code without the h of the sweep: what one line stands for."""
    cell = row["cell"]
    return str(cell["code"]) + (", paper protocol" if cell["protocol"] == "paper" else "")


def scheme_name(row: Row) -> str:
    """The scheme with its h, within a slice."""
    partitions = row["cell"]["partitions"]
    return series_name(row) + (f", h = {partitions}" if partitions else "")


def is_coded(row: Row) -> bool:
    """Whether a row is of a code, and not of plain blocks or copies of them."""
    return not str(row["cell"]["code"]).startswith((Uncoded.name, Replicated.name))


def series_styles(rows: Iterable[Row]) -> dict[str, SeriesStyle]:
    """One style for each series of a whole sweep, so that it looks the same in every figure: plain schemes first."""
    names = {series_name(row): (is_coded(row), "replicated" in series_name(row), series_name(row)) for row in rows}
    return styles(sorted(names, key=names.__getitem__))


@dataclass(frozen=True)
class Slice:
    """Finished rows of a sweep that differ in scheme and number of workers alone.

    Parameters
    ----------
    clock
        ``"virtual"`` or ``"wall"``: whose seconds these are.
    delays, stragglers, solver
        What the rows have in common.
    rows
        Rows as stored.
    styles
        Style of each series.
    """

    clock: str
    delays: str
    stragglers: int
    solver: str
    rows: tuple[Row, ...]
    styles: Mapping[str, SeriesStyle]

    @property
    def name(self) -> str:
        """For people: what the rows have in common."""
        dead = f", {self.stragglers} dead workers" if self.stragglers else ""
        return f"solver {self.solver}{dead}, delays {self.delays}"

    @property
    def workers(self) -> list[int]:
        """All numbers of workers, ascending."""
        return sorted({row["cell"]["workers"] for row in self.rows})

    @property
    def largest(self) -> list[Row]:
        """Rows at the largest number of workers."""
        return [row for row in self.rows if row["cell"]["workers"] == self.workers[-1]]

    def mean(self, row: Row) -> float:
        """Mean seconds to convergence."""
        return float(row[f"{self.clock}_seconds_mean"])

    def interval(self, row: Row) -> tuple[float, float]:
        """The 95 % interval of the mean, or the mean twice where there is none."""
        low, high = row[f"{self.clock}_seconds_low95"], row[f"{self.clock}_seconds_high95"]
        return (self.mean(row), self.mean(row)) if low is None else (max(low, 0.0), high)

    def grouped(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        """Rows by series, in the order of the styles."""
        groups: dict[str, list[Row]] = {name: [] for name in self.styles}
        for row in rows:
            groups[series_name(row)].append(row)
        return {name: members for name, members in groups.items() if members}

    def best(self, rows: Sequence[Row]) -> list[Row]:
        """For every series and number of workers, the row of the fastest h."""
        fastest: dict[tuple[str, int], Row] = {}
        for row in sorted(rows, key=self.mean):
            fastest.setdefault((series_name(row), row["cell"]["workers"]), row)
        place = list(self.styles)
        return sorted(fastest.values(), key=lambda row: (place.index(series_name(row)), row["cell"]["workers"]))


def slices(rows: Sequence[Row], clock: str) -> list[Slice]:
    """Finished rows by what a figure must not mix; delays in the order of the rows.

    Parameters
    ----------
    rows
        Rows of a sweep.
    clock
        ``"virtual"`` or ``"wall"``.
    """
    groups: dict[tuple[str, int, str], list[Row]] = {}
    done = [row for row in rows if row["status"] == "done"]
    for row in done:
        cell = row["cell"]
        groups.setdefault((cell["delays"], cell["stragglers"], cell["solver"]), []).append(row)
    order = list(dict.fromkeys(delays for delays, _, _ in groups))
    keys = sorted(groups, key=lambda key: (order.index(key[0]), *key[1:]))
    drawn = series_styles(done)
    return [Slice(clock, *key, tuple(groups[key]), drawn) for key in keys]
