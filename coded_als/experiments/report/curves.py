"""The figure of the objective against seconds, from the example runs of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.series import scheme_name, series_name, series_styles
from coded_als.experiments.report.slices import Table
from coded_als.experiments.report.styles import BAND, SeriesStyle
from coded_als.experiments.sweep.example_runs import Curve, Examples
from coded_als.experiments.sweep.rows import known_interval


def objective_against_seconds(examples: Examples, drawn: Mapping[str, SeriesStyle] | None = None) -> ReportFigure:
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
    drawn = drawn or series_styles(curve["cell"] for curve in curves)
    figure, axes = new_axes(f"{examples['clock']} seconds", "objective / optimum − 1")
    scale_y(axes, [excess for curve in curves for excess in curve["excess"]])
    scale_x(axes, [0.0, *(high for curve in curves for _, high in _intervals(curve))])
    for curve in curves:
        style, excess = drawn[series_name(curve["cell"])], curve["excess"]
        lows, highs = zip(*_intervals(curve), strict=True)
        axes.fill_betweenx(excess, lows, highs, color=style.colour, alpha=BAND, linewidth=0)
        axes.plot(curve["seconds_mean"], excess, label=scheme_name(curve["cell"]), **style.line)
    add_legend(figure)
    return figure


def objective_table(examples: Examples) -> Table:
    """The data of `objective_against_seconds`."""
    headings = ("scheme", "iteration", f"{examples['clock']} s, mean", "low", "high", "objective / optimum − 1")
    return headings, [
        (scheme_name(curve["cell"]), index, *values)
        for curve in examples["curves"]
        for index, values in enumerate(_points(curve))
    ]


def _intervals(curve: Curve) -> list[tuple[float, float]]:
    return [known_interval(mean, low, high) for mean, low, high, _ in _points(curve)]


def _points(curve: Curve) -> Iterator[tuple[float, float | None, float | None, float]]:
    return zip(curve["seconds_mean"], curve["seconds_low95"], curve["seconds_high95"], curve["excess"], strict=True)
