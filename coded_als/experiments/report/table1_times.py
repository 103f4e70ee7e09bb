"""The figure of the seconds of Table I: published, and under the fitted law."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.slices import Table
from coded_als.experiments.report.styles import BAND, SOFT, style_of
from coded_als.experiments.sweep.rows import known_interval
from coded_als.experiments.table1.rows import Table1Row, live_and_partitions

# what a mark and a line are, whatever their colour
PUBLISHED, FITTED = "published", "fitted law, virtual clock"


def table1_times(rows: Sequence[Table1Row]) -> ReportFigure:
    """The published seconds against h, and the fitted law on the virtual clock.

    Parameters
    ----------
    rows
        Rows of a reproduction of Table I.

    Returns
    -------
    ReportFigure
        Marks are the paper's figures; lines and bands are means and 95 % intervals of the virtual clock.
    """
    figure, axes = new_axes("partitions h", "time of a run (seconds)")
    scale_x(axes, [row["cell"]["partitions"] for row in rows], whole=True)
    scale_y(axes, [value for row in rows for value in (row["paper_seconds"], row["virtual_seconds_mean"])])
    for series, live in enumerate(sorted({row["cell"]["live"] for row in rows}), start=1):
        here = sorted((r for r in rows if r["cell"]["live"] == live), key=lambda r: int(r["cell"]["partitions"]))
        hs, style = [row["cell"]["partitions"] for row in here], style_of(series)
        low, high = zip(*(known_interval(*_virtual_seconds(row)) for row in here), strict=True)
        axes.fill_between(hs, low, high, color=style.colour, alpha=BAND, linewidth=0)
        axes.plot(hs, [r["virtual_seconds_mean"] for r in here], color=style.colour, linestyle=style.dash)
        axes.plot(hs, [row["paper_seconds"] for row in here], label=f"k = {live}", **style.mark)
    axes.plot([], [], color=SOFT, marker="o", linestyle="none", label=PUBLISHED)
    axes.plot([], [], color=SOFT, label=FITTED)
    add_legend(figure, columns=4)
    return figure


def table1_times_table(rows: Sequence[Table1Row]) -> Table:
    """The data of `table1_times`."""
    headings = ("k", "h", "paper, s", "formula (46), s", "virtual clock, virtual s", "low", "high")
    return headings, [
        (*live_and_partitions(row), row["paper_seconds"], row["formula_seconds"], *_virtual_seconds(row))
        for row in rows
    ]


def _virtual_seconds(row: Table1Row) -> tuple[float, float | None, float | None]:
    return row["virtual_seconds_mean"], row["virtual_seconds_low95"], row["virtual_seconds_high95"]
