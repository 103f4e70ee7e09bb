"""The figure of the objective against seconds, from the example runs of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.slices import Row, Table, scheme_name, series_name, series_styles
from coded_als.experiments.report.styles import BAND, SeriesStyle


def objective_against_seconds(examples: Row, drawn: Mapping[str, SeriesStyle] | None = None) -> ReportFigure:
    """Excess of the objective over its optimum against seconds.

    Parameters
    ----------
    examples
        The example runs that a sweep stored.
    drawn
        Style of each series; by default one for each curve.

    Returns
    -------
    ReportFigure
        Means over repetitions that differ in their delays alone; bands are 95 % intervals of the seconds.
    """
    curves = examples["curves"]
    drawn = drawn or series_styles(curves)
    figure, axes = new_axes(f"{examples['clock']} seconds", "objective / optimum − 1")
    scale_y(axes, [excess for curve in curves for excess in curve["excess"]])
    scale_x(axes, [0.0, *(second for curve in curves for second in curve["seconds_high95"])])
    for curve in curves:
        style, excess = drawn[series_name(curve)], curve["excess"]
        axes.fill_betweenx(
            excess, curve["seconds_low95"], curve["seconds_high95"], color=style.colour, alpha=BAND, linewidth=0
        )
        axes.plot(curve["seconds_mean"], excess, label=scheme_name(curve), **style.line)
    add_legend(figure)
    return figure


def objective_table(examples: Row) -> Table:
    """The data of `objective_against_seconds`."""
    headings = ("scheme", "iteration", f"{examples['clock']} s, mean", "low", "high", "objective / optimum − 1")
    columns = ("seconds_mean", "seconds_low95", "seconds_high95", "excess")
    return headings, [
        (scheme_name(curve), index, *values)
        for curve in examples["curves"]
        for index, values in enumerate(zip(*(curve[column] for column in columns), strict=True))
    ]
