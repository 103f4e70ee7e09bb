"""Slices of a sweep: the rows that one figure may compare, and the names and styles of their series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coded_als.codes import Replicated, Uncoded
from coded_als.codes.replication import HedgedCopies, SpeculativeCopies
from coded_als.experiments.report.canvas import SeriesStyle, styles
from coded_als.experiments.sweep.rows import SchemeCell, SweepRow, interval_seconds, mean_seconds

PLAIN = (Uncoded.name, Replicated.name, HedgedCopies.name, SpeculativeCopies.name)


def series_name(cell: SchemeCell) -> str:
    """Name of a line: the code without the h of the sweep, with the number of copies also where it is the default."""
    code = cell["code"]
    if code == Replicated.name:
        code = f"{code}:copies={Replicated().copies}"
    return code + (", paper protocol" if cell["protocol"] == "paper" else "")


def scheme_name(cell: SchemeCell) -> str:
    """The scheme with its h, within a slice."""
    partitions = cell["partitions"]
    return series_name(cell) + (f", h = {partitions}" if partitions else "")


def is_coded(cell: SchemeCell) -> bool:
    """Whether a scheme has a code, and not plain blocks or copies of them."""
    return not cell["code"].startswith(PLAIN)


def series_styles(cells: Iterable[SchemeCell]) -> dict[str, SeriesStyle]:
    """One style for each series of a whole sweep, so that it looks the same in every figure: plain schemes first."""
    names = {
        series_name(cell): (is_coded(cell), "replicated" in series_name(cell), series_name(cell)) for cell in cells
    }
    return styles(sorted(names, key=names.__getitem__))


@dataclass(frozen=True)
class Slice:
    """Finished rows of a sweep that differ in scheme and number of workers alone."""

    clock: str  # ``"virtual"`` or ``"wall"``: the clock that measured the seconds
    # the same in all rows
    delays: str
    stragglers: int
    solver: str
    rows: tuple[SweepRow, ...]
    styles: Mapping[str, SeriesStyle]  # of each series

    @property
    def name(self) -> str:
        """The settings that all rows share, for people."""
        dead = f", {self.stragglers} dead workers" if self.stragglers else ""
        return f"solver {self.solver}{dead}, delays {self.delays}"

    @property
    def workers(self) -> list[int]:
        """All numbers of workers, ascending."""
        return sorted({row["cell"]["workers"] for row in self.rows})

    @property
    def largest(self) -> list[SweepRow]:
        """Rows at the largest number of workers."""
        return [row for row in self.rows if row["cell"]["workers"] == self.workers[-1]]

    def mean(self, row: SweepRow) -> float:
        """Mean seconds to convergence."""
        return mean_seconds(row, self.clock)

    def interval(self, row: SweepRow) -> tuple[float, float]:
        """The 95 % interval of the mean, or the mean twice where there is none."""
        return interval_seconds(row, self.clock)

    def cells(self, row: SweepRow) -> tuple[str, int | str, float, float, float]:
        """Series, h, mean and interval of a row, as cells of a table."""
        return series_name(row["cell"]), row["cell"]["partitions"] or "", self.mean(row), *self.interval(row)

    def ends(self, row: SweepRow) -> tuple[float, float]:
        """The interval from at least half the mean on: a logarithmic axis cannot show zero."""
        low, high = self.interval(row)
        return max(low, self.mean(row) / 2), high

    def grouped(self, rows: Sequence[SweepRow]) -> dict[str, list[SweepRow]]:
        """Rows by series, in the order of the styles."""
        groups: dict[str, list[SweepRow]] = {name: [] for name in self.styles}
        for row in rows:
            groups[series_name(row["cell"])].append(row)
        return {name: members for name, members in groups.items() if members}

    def best(self, rows: Sequence[SweepRow]) -> list[SweepRow]:
        """For every series and number of workers, the row of the fastest h."""
        fastest: dict[tuple[str, int], SweepRow] = {}
        for row in sorted(rows, key=self.mean):
            fastest.setdefault((series_name(row["cell"]), row["cell"]["workers"]), row)
        place = list(self.styles)
        return sorted(fastest.values(), key=lambda row: (place.index(series_name(row["cell"])), row["cell"]["workers"]))


def slices(rows: Sequence[SweepRow], clock: str) -> list[Slice]:
    """Finished rows by the settings that a figure must not mix; delays in the order of the rows."""
    groups: dict[tuple[str, int, str], list[SweepRow]] = {}
    done = [row for row in rows if row["status"] == "done"]
    for row in done:
        cell = row["cell"]
        groups.setdefault((cell["delays"], cell["stragglers"], cell["solver"]), []).append(row)
    order = list(dict.fromkeys(delays for delays, _, _ in groups))
    keys = sorted(groups, key=lambda key: (order.index(key[0]), *key[1:]))
    drawn = series_styles(row["cell"] for row in done)
    return [Slice(clock, *key, tuple(groups[key]), drawn) for key in keys]
