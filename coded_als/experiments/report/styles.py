"""Colours and markers of series: safe for colour-blind readers, and each series has its own of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Okabe and Ito, Color Universal Design (2008), without the yellow that white paper swallows; near-black comes first
COLOURS = ("#0f1113", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", "*", ">", "p")
DASHES = ("-", "--", "-.", ":")
INK, SOFT, GRID, WAY = "#1c1e21", "#5d636b", "#e4e1db", "#b9b5ad"
# opacity of a band
BAND = 0.18
# what a page replaces, so that its figures follow its light and dark themes
THEME = {
    INK: "ink",
    SOFT: "soft",
    GRID: "grid",
    WAY: "way",
    **{colour: f"c{index}" for index, colour in enumerate(COLOURS)},
}


@dataclass(frozen=True)
class SeriesStyle:
    """How one series is drawn, the same in every figure of a report."""

    colour: str
    marker: str
    dash: str

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of matplotlib's ``plot``."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dash}

    @property
    def mark(self) -> dict[str, Any]:
        """The same without a line."""
        return {"color": self.colour, "marker": self.marker, "linestyle": "none"}


def style_of(index: int) -> SeriesStyle:
    """Style of the series at this place; no two of the first 77 share both colour and marker."""
    return SeriesStyle(
        COLOURS[index % len(COLOURS)],
        MARKERS[index % len(MARKERS)],
        DASHES[(index // len(COLOURS)) % len(DASHES)],
    )


def styles(names: Iterable[str]) -> dict[str, SeriesStyle]:
    """One style for each name, in order of first appearance."""
    return {name: style_of(index) for index, name in enumerate(dict.fromkeys(names))}
