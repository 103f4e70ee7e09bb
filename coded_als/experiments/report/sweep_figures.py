"""Figures of a sweep and of its example runs: time against h, W, memory and delays, objectives, and timelines.

A new figure is a function that returns a `ReportFigure`, one that returns its data, and an entry at the end.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from coded_als.cluster import TaskEvent
from coded_als.codes import parse_code
from coded_als.experiments.code_survey import kind_of
from coded_als.experiments.report.canvas import (
    BAND,
    INK,
    SOFT,
    Axes,
    CaptionedFigure,
    Entry,
    ReportFigure,
    SeriesStyle,
    Table,
    add_legend,
    new_axes,
    scale_x,
    scale_y,
    styles,
)
from coded_als.experiments.report.slices import Slice, is_coded, scheme_name, series_name, series_styles, slices
from coded_als.experiments.report.timeline import timeline, timeline_table
from coded_als.experiments.sweep.result_folder import Curve, Examples
from coded_als.experiments.sweep.rows import SweepRow, iteration_quantiles, known_interval


def example_figures_of(rows: Sequence[SweepRow], examples: Examples) -> Iterator[CaptionedFigure]:
    alone = len({row["cell"]["delays"] for row in rows}) > 1
    note = " Drawn for the first of the sweep's delay models alone." if alone else ""
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
    """Draw the excess of the objective over its optimum against seconds.

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

    Examples
    --------
    >>> from coded_als.experiments.report import objective_against_seconds, open_results
    >>> figure = objective_against_seconds(open_results("out/sweep").examples)
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


def time_against_partitions(part: Slice) -> ReportFigure:
    """Draw seconds against h at the largest W: means with 95 % bands; schemes without an h are levels.

    Examples
    --------
    >>> from coded_als.experiments.report import time_against_partitions, open_results
    >>> figure = time_against_partitions(open_results("out/sweep").slices[0])
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
    return headings, [part.cells(row) for row in part.largest]


def time_against_workers(part: Slice) -> ReportFigure:
    """Draw seconds against W, each code at its best h for that W: means with 95 % bands.

    Examples
    --------
    >>> from coded_als.experiments.report import time_against_workers, open_results
    >>> figure = time_against_workers(open_results("out/sweep").slices[0])
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
    headings = ("W", "scheme", "h", f"{part.clock} s, mean", "low", "high")
    return headings, [(row["cell"]["workers"], *part.cells(row)) for row in part.best(part.rows)]


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


def distribution(part: Slice) -> ReportFigure:
    """Draw the cumulative distribution of iteration times at the largest W, each code at its best h.

    The lines step through the stored quantiles, since nothing is known between them; the bands hold the middle 95 % of
    the repetitions, each by itself.

    Examples
    --------
    >>> from coded_als.experiments.report import distribution, open_results
    >>> figure = distribution(open_results("out/sweep").slices[0])
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


def time_against_delays(parts: Sequence[Slice]) -> ReportFigure:
    """Draw seconds under each delay model at the largest W, each code at its best h.

    The slices of the sweep differ in their delays alone; each is a row. Bars are 95 % intervals of the means.

    Examples
    --------
    >>> from coded_als.experiments.report import time_against_delays, open_results
    >>> figure = time_against_delays(open_results("out/sweep").slices)
    """
    shown = [(part, part.best(part.largest)) for part in parts]
    names = list(dict.fromkeys(series_name(row["cell"]) for _, best in shown for row in best))
    lines = [textwrap.wrap(_breakable(part.delays), 24) for part in parts]
    figure, axes = new_axes(
        f"{parts[0].clock} seconds to convergence",
        "delays of the workers",
        height=1.3 + sum(0.25 + 0.14 * max(len(names), len(text)) for text in lines),
    )
    scale_x(axes, [end for part, best in shown for row in best for end in part.ends(row)])
    for name in names:
        style = parts[0].styles[name]
        # beside each other in a row, in the order of the legend
        shift = 0.7 * ((names.index(name) + 0.5) / len(names) - 0.5)
        here = [
            (place, part, row)
            for place, (part, best) in enumerate(shown)
            for row in best
            if series_name(row["cell"]) == name
        ]
        means = [part.mean(row) for _, part, row in here]
        below = [part.mean(row) - part.interval(row)[0] for _, part, row in here]
        above = [part.interval(row)[1] - part.mean(row) for _, part, row in here]
        axes.errorbar(means, [place + shift for place, _, _ in here], xerr=[below, above], label=name, **style.mark)
    for place in range(1, len(parts)):
        axes.axhline(place - 0.5, color=SOFT, linewidth=0.5)
    axes.set_yticks(range(len(parts)), ["\n".join(text) for text in lines])
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    add_legend(figure)
    return figure


def delays_table(parts: Sequence[Slice]) -> Table:
    """The data of `time_against_delays`."""
    headings = ("delays", "scheme", "h", f"{parts[0].clock} s, mean", "low", "high")
    return headings, [(part.delays, *part.cells(row)) for part in parts for row in part.best(part.largest)]


def _breakable(spec: str) -> str:
    return spec.replace(",", ", ").replace("+", " + ").replace(":", ": ")


@dataclass(frozen=True)
class MemoryPoint:
    """One code on some workers."""

    # its SPEC, and the name of its line
    code: str
    kind: str
    coded: bool  # whether it is a code, and not plain blocks or copies of them
    memory_bytes: float  # stored by one worker
    seconds: float  # mean of a round, or of an iteration


def time_against_memory(
    points: Sequence[MemoryPoint], y_label: str, drawn: Mapping[str, SeriesStyle] | None = None
) -> ReportFigure:
    """Seconds against memory per worker: a line for each kind of code, in order of memory; a point that no other beats in both has a ring."""
    figure, axes = new_axes("memory of a worker [MB]", y_label)
    scale_x(axes, [point.memory_bytes / 1e6 for point in points])
    scale_y(axes, [point.seconds for point in points])
    drawn = drawn or styles(point.kind for point in sorted(points, key=lambda point: point.coded))
    for kind, style in drawn.items():
        here = sorted((p for p in points if p.kind == kind), key=lambda point: point.memory_bytes)
        axes.plot([p.memory_bytes / 1e6 for p in here], [p.seconds for p in here], label=kind, **style.line)
    front = pareto_front(points)
    ring: dict[str, Any] = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 12,
        "markerfacecolor": "none",
        "markeredgecolor": INK,
    }
    axes.plot([p.memory_bytes / 1e6 for p in front], [p.seconds for p in front], label="Pareto front", **ring)
    add_legend(figure, columns=2)
    return figure


def pareto_front(points: Sequence[MemoryPoint]) -> list[MemoryPoint]:
    """The points that no other beats in memory and seconds both, the least memory first."""
    front: list[MemoryPoint] = []
    for point in sorted(points, key=lambda point: (point.memory_bytes, point.seconds)):
        if not front or point.seconds < front[-1].seconds:
            front.append(point)
    return front


def memory_points(part: Slice) -> list[MemoryPoint]:
    """The points of a slice of a sweep, at its largest number of workers."""
    return [_point(part, row) for row in part.largest]


def iteration_against_memory(part: Slice) -> ReportFigure:
    """`time_against_memory` of a slice of a sweep; a kind of code has the style that its first series has elsewhere."""
    drawn: dict[str, SeriesStyle] = {}
    for name, rows in part.grouped(part.largest).items():
        for row in rows:
            drawn.setdefault(_point(part, row).kind, part.styles[name])
    return time_against_memory(memory_points(part), f"{part.clock} seconds of an iteration", drawn)


def memory_table(part: Slice) -> Table:
    """The data of `iteration_against_memory`."""
    points = memory_points(part)
    front = pareto_front(points)
    headings = ("kind", "code", "bytes per worker", f"{part.clock} s of an iteration, mean", "on the front")
    return headings, [(p.kind, p.code, p.memory_bytes, p.seconds, "yes" if p in front else "no") for p in points]


def _point(part: Slice, row: SweepRow) -> MemoryPoint:
    cell = row["cell"]
    code = parse_code(cell["code"])
    if cell["partitions"]:
        code = code.partitioned(cell["partitions"])
    kind = kind_of(code) + (", paper protocol" if cell["protocol"] == "paper" else "")
    seconds = part.mean(row) / row["iterations"]
    return MemoryPoint(code.spec, kind, is_coded(row["cell"]), float(row["worker_storage_bytes"]), seconds)


SLICE_FIGURES: tuple[Entry[Slice], ...] = (
    Entry(
        "time-against-h",
        "Time against h",
        "Mean of the repetitions with its 95 % interval, at the largest number of workers. Missing points are "
        "infeasible; the table of cells says why.",
        time_against_partitions,
        partitions_table,
    ),
    Entry(
        "time-against-workers",
        "Time against W",
        "Mean of the repetitions with its 95 % interval; each code at the h that is fastest for that W.",
        time_against_workers,
        workers_table,
    ),
    Entry(
        "iteration-times",
        "Distribution of iteration times",
        "Stragglers show as the long upper end. Each code at its fastest h and the largest number of workers. The "
        "curves step from one stored quantile (a mark) to the next; the bands hold the middle 95 % of the "
        "repetitions, each by itself.",
        distribution,
        distribution_table,
    ),
    Entry(
        "time-against-memory",
        "Time against memory",
        "Mean time of an iteration and memory of a worker for it, at the largest number of workers: one line for each "
        "kind of code. Rings: no other code is as fast with as little memory.",
        iteration_against_memory,
        memory_table,
    ),
)
DELAY_FIGURES: tuple[Entry[Sequence[Slice]], ...] = (
    Entry(
        "delay-models",
        "Delay models beside each other",
        "Each code at its fastest h and the largest number of workers; bars are 95 % intervals of the means.",
        time_against_delays,
        delays_table,
    ),
)


def sweep_figures_of(rows: Sequence[SweepRow], clock: str, examples: Examples | None) -> Iterator[CaptionedFigure]:
    """All figures of a sweep, drawn one at a time."""
    parts = slices(rows, clock)
    for alike in _alike(parts):
        for comparison in DELAY_FIGURES:
            yield comparison.of(alike, _dead_and_solver(alike[0]))
    for part in parts:
        for entry in SLICE_FIGURES:
            yield entry.of(part, part.name)
    if examples:
        yield from example_figures_of(rows, examples)


def _alike(parts: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that differ in their delays alone, where there are several."""
    groups: dict[tuple[int, str], list[Slice]] = {}
    for part in parts:
        groups.setdefault((part.stragglers, part.solver), []).append(part)
    return [group for group in groups.values() if len(group) > 1]


def _dead_and_solver(part: Slice) -> str:
    return f"solver {part.solver}" + (f", {part.stragglers} dead workers" if part.stragglers else "")
