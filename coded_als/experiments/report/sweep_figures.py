"""Figures of a sweep: seconds against h, W and delay model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from coded_als.experiments.report.canvas import Axes, ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.series import series_name
from coded_als.experiments.report.slices import Slice, Table
from coded_als.experiments.report.styles import BAND
from coded_als.experiments.sweep.rows import SweepRow


def time_against_partitions(part: Slice) -> ReportFigure:
    """Seconds against h at the largest W; schemes without an h are levels.

    Parameters
    ----------
    part
        A slice of a sweep.

    Returns
    -------
    ReportFigure
        Means as lines and 95 % intervals as bands.
    """
    figure, axes = new_axes("partitions h", f"{part.clock} seconds to convergence")
    scale_x(axes, [row["cell"]["partitions"] for row in part.largest if row["cell"]["partitions"]] or [1], whole=True)
    _scale_seconds(axes, part, part.largest)
    for name, rows in part.grouped(part.largest).items():
        style = part.styles[name]
        if rows[0]["cell"]["partitions"]:
            _line_with_band(axes, part, rows, "partitions", name)
            continue
        low, high = part.interval(rows[0])
        axes.axhspan(low, high, color=style.colour, alpha=BAND, linewidth=0)
        ends = axes.get_xlim()
        axes.plot(ends, [part.mean(rows[0])] * 2, label=name, markevery=[1], clip_on=False, **style.line)
        axes.set_xlim(ends)
    add_legend(figure)
    return figure


def partitions_table(part: Slice) -> Table:
    """The data of `time_against_partitions`."""
    headings = ("scheme", "h", f"{part.clock} s, mean", "low", "high")
    rows = part.largest
    return headings, [
        (series_name(r["cell"]), r["cell"]["partitions"] or "", part.mean(r), *part.interval(r)) for r in rows
    ]


def time_against_workers(part: Slice) -> ReportFigure:
    """Seconds against W, each code at the h that is best for that W.

    Parameters
    ----------
    part
        A slice of a sweep.

    Returns
    -------
    ReportFigure
        Means as lines and 95 % intervals as bands.
    """
    best = part.best(part.rows)
    figure, axes = new_axes("workers W", f"{part.clock} seconds to convergence")
    scale_x(axes, part.workers, whole=True)
    _scale_seconds(axes, part, best)
    for name, rows in part.grouped(best).items():
        _line_with_band(axes, part, rows, "workers", name)
    add_legend(figure)
    return figure


def workers_table(part: Slice) -> Table:
    """The data of `time_against_workers`."""
    headings = ("scheme", "W", "h", f"{part.clock} s, mean", "low", "high")
    return headings, [
        (series_name(r["cell"]), r["cell"]["workers"], r["cell"]["partitions"] or "", part.mean(r), *part.interval(r))
        for r in part.best(part.rows)
    ]


def _scale_seconds(axes: Axes, part: Slice, rows: Sequence[SweepRow]) -> None:
    scale_y(axes, [end for row in rows for end in part.ends(row)])


def _line_with_band(
    axes: Axes, part: Slice, rows: Sequence[SweepRow], along: Literal["partitions", "workers"], name: str
) -> None:
    rows = sorted(rows, key=lambda row: row["cell"][along] or 0)
    xs = [row["cell"][along] or 0 for row in rows]
    lows, highs = zip(*(part.interval(row) for row in rows), strict=True)
    style = part.styles[name]
    axes.fill_between(xs, lows, highs, color=style.colour, alpha=BAND, linewidth=0)
    axes.plot(xs, [part.mean(row) for row in rows], label=name, **style.line)
