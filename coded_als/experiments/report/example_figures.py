"""Figures of the example runs of a sweep: the objective against seconds, and a timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from coded_als.cluster import TaskEvent
from coded_als.experiments.report.canvas import (
    BAND,
    CaptionedFigure,
    Entry,
    ReportFigure,
    SeriesStyle,
    Table,
    add_legend,
    new_axes,
    scale_x,
    scale_y,
)
from coded_als.experiments.report.slices import scheme_name, series_name, series_styles
from coded_als.experiments.report.timeline import timeline, timeline_table
from coded_als.experiments.sweep.result_folder import Curve, Examples
from coded_als.experiments.sweep.rows import SweepRow, known_interval


def example_figures_of(rows: Sequence[SweepRow], examples: Examples) -> Iterator[CaptionedFigure]:
    alone = len({row["cell"]["delays"] for row in rows}) > 1
    note = " CaptionedFigure for the first of the sweep's delay models alone." if alone else ""
    about, drawn = f"delays {examples['delays']}", series_styles(row["cell"] for row in rows if row["status"] == "done")
    if examples["curves"]:
        size = examples["size"]
        objective = Entry[Examples](
            "objective",
            "Objective against seconds",
            f"The algorithm itself on a {size['rows']} x {size['columns']} matrix of random factors and strong noise, "
            f"rank {size['rank']}, all schemes under the same delays; the machine is slowed in proportion to the "
            f"sweep's problem. The optimum is exact; bands are 95 % intervals of the seconds.{note}",
            lambda source: objective_against_seconds(source, drawn),
            objective_table,
        )
        yield objective.of(examples, about)
    run = examples["timeline"]
    if run and run["events"]:
        events = [TaskEvent(**event) for event in run["events"]]
        spans = Entry[Sequence[TaskEvent]](
            "timeline",
            f"Timeline of {run['scheme']}, {run['workers']} workers",
            "Rows are workers. A round ends (dashed line) at the last response it needs; a worker that still computes "
            f"then drops the task and starts on the next round at once.{note}",
            lambda source: timeline(source, clock=examples["clock"]),
            timeline_table,
        )
        yield spans.of(events, about)


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
