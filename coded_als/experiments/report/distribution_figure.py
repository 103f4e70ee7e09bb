"""The figure of the distribution of iteration times."""

from __future__ import annotations

from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x
from coded_als.experiments.report.series import series_name
from coded_als.experiments.report.slices import Slice, Table
from coded_als.experiments.report.styles import BAND
from coded_als.experiments.sweep.rows import iteration_quantiles


def distribution(part: Slice) -> ReportFigure:
    """The cumulative distribution of iteration times at the largest W, each code at its best h.

    Parameters
    ----------
    part
        A slice of a sweep.

    Returns
    -------
    ReportFigure
        Steps through the stored quantiles, since nothing is known between them; the band holds the middle 95 % of
        the repetitions, each by itself.
    """
    best = part.best(part.largest)
    figure, axes = new_axes(f"{part.clock} seconds of one iteration", "share of iterations")
    scale_x(axes, [value for row in best for value in iteration_quantiles(row, part.clock)["seconds"]])
    axes.set_ylim(-0.02, 1.04)
    for row in best:
        name, stored = series_name(row["cell"]), iteration_quantiles(row, part.clock)
        style, levels = part.styles[name], stored["levels"]
        axes.fill_betweenx(
            levels, stored["low95"], stored["high95"], step="pre", color=style.colour, alpha=BAND, linewidth=0
        )
        axes.step(stored["seconds"], levels, where="post", label=name, markersize=4, **style.line)
    add_legend(figure)
    return figure


def distribution_table(part: Slice) -> Table:
    """The data of `distribution`."""
    best = part.best(part.largest)
    headings = ("scheme", "h", *(f"{level:.0%}" for level in iteration_quantiles(best[0], part.clock)["levels"]))
    return headings, [
        (series_name(r["cell"]), r["cell"]["partitions"] or "", *iteration_quantiles(r, part.clock)["seconds"])
        for r in best
    ]
