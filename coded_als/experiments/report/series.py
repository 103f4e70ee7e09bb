"""Names and styles of the series in figures of a sweep."""

from __future__ import annotations

from collections.abc import Iterable

from coded_als.codes import Replicated, Uncoded
from coded_als.experiments.report.styles import SeriesStyle, styles
from coded_als.experiments.sweep.rows import SchemeCell


def series_name(cell: SchemeCell) -> str:
    """The code without the h of the sweep: what one line stands for; copies are told also where they are two."""
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
    return not cell["code"].startswith((Uncoded.name, Replicated.name))


def series_styles(cells: Iterable[SchemeCell]) -> dict[str, SeriesStyle]:
    """One style for each series of a whole sweep, so that it looks the same in every figure: plain schemes first."""
    names = {
        series_name(cell): (is_coded(cell), "replicated" in series_name(cell), series_name(cell)) for cell in cells
    }
    return styles(sorted(names, key=names.__getitem__))
