"""The figure of Table I for other numbers of workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coded_als.experiments.report.canvas import SOFT, ReportFigure, add_legend, new_axes, scale_x, scale_y, style_of
from coded_als.experiments.table1.extended import ExtendedRow


def extended_times(rows: Sequence[ExtendedRow]) -> ReportFigure:
    """Formula (46) as marks, the clock without the master's work as lines, and with it as dashes, against h."""
    figure, axes = new_axes("partitions h", "time of a run (seconds)")
    cut = [row for row in rows if row.cell.partitions is not None]
    scale_x(axes, [row.cell.partitions or 0 for row in cut], whole=True)
    scale_y(axes, [value for row in cut for value in (row.law_seconds_mean, row.with_master_seconds)])
    names = {_series(row): _series_name(row, cut) for row in cut}
    for place, (key, name) in enumerate(names.items(), start=1):
        here = sorted((row for row in cut if _series(row) == key), key=lambda row: row.cell.partitions or 0)
        hs, colour = [row.cell.partitions or 0 for row in here], style_of(place).colour
        axes.plot(hs, [row.clock_seconds_mean for row in here], color=colour)
        axes.plot(hs, [row.with_master_seconds for row in here], color=colour, linestyle="--")
        known = [np.nan if row.formula_seconds is None else row.formula_seconds for row in here]
        axes.plot(hs, known, label=name, **style_of(place).mark)
    axes.plot([], [], color=SOFT, marker="o", linestyle="none", label="formula (46)")
    axes.plot([], [], color=SOFT, label="clock")
    axes.plot([], [], color=SOFT, linestyle="--", label="clock and master")
    add_legend(figure, columns=4)
    return figure


def _series(row: ExtendedRow) -> tuple[int, str, str]:
    """The cells of one line: all but h."""
    code = ",".join(part for part in row.cell.code.replace(":", ",").split(",") if not part.startswith("h="))
    return row.cell.workers, code, row.cell.delays


def _series_name(row: ExtendedRow, rows: Sequence[ExtendedRow]) -> str:
    """W, and the code and the delays where they differ between the lines."""
    varied = [len({_series(other)[place] for other in rows}) > 1 for place in (1, 2)]
    also = [text for text, differs in zip(_series(row)[1:], varied, strict=True) if differs]
    return ", ".join([f"W = {row.cell.workers}", *also])
