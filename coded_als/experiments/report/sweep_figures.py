"""Figures of a sweep: seconds against h, W and delay model, and the distribution of iteration times."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from coded_als.experiments.report.canvas import Axes, ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.slices import Row, Slice, Table, series_name
from coded_als.experiments.report.styles import BAND, SOFT


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
    return headings, [(series_name(r), r["cell"]["partitions"] or "", part.mean(r), *part.interval(r)) for r in rows]


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
        (series_name(r), r["cell"]["workers"], r["cell"]["partitions"] or "", part.mean(r), *part.interval(r))
        for r in part.best(part.rows)
    ]


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
    scale_x(axes, [value for row in best for value in _quantiles(part, row)["seconds"]])
    axes.set_ylim(-0.02, 1.04)
    for row in best:
        name, stored = series_name(row), _quantiles(part, row)
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
    headings = ("scheme", "h", *(f"{level:.0%}" for level in _quantiles(part, best[0])["levels"]))
    return headings, [(series_name(r), r["cell"]["partitions"] or "", *_quantiles(part, r)["seconds"]) for r in best]


def time_against_delays(parts: Sequence[Slice]) -> ReportFigure:
    """Seconds under each delay model at the largest W, each code at its best h.

    Parameters
    ----------
    parts
        Slices of a sweep that differ in their delays alone.

    Returns
    -------
    ReportFigure
        One row for each delay model; bars are 95 % intervals of the means.
    """
    shown = [(part, part.best(part.largest)) for part in parts]
    names = list(dict.fromkeys(series_name(row) for _, best in shown for row in best))
    lines = [textwrap.wrap(_breakable(part.delays), 24) for part in parts]
    figure, axes = new_axes(
        f"{parts[0].clock} seconds to convergence",
        "delays of the workers",
        height=1.3 + sum(0.25 + 0.14 * max(len(names), len(text)) for text in lines),
    )
    scale_x(axes, [end for part, best in shown for row in best for end in _ends(part, row)])
    for name in names:
        style = parts[0].styles[name]
        # beside each other in a row, in the order of the legend
        shift = 0.7 * ((names.index(name) + 0.5) / len(names) - 0.5)
        here = [
            (place, part, row) for place, (part, best) in enumerate(shown) for row in best if series_name(row) == name
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
    return headings, [
        (part.delays, series_name(row), row["cell"]["partitions"] or "", part.mean(row), *part.interval(row))
        for part in parts
        for row in part.best(part.largest)
    ]


def _breakable(spec: str) -> str:
    return spec.replace(",", ", ").replace("+", " + ").replace(":", ": ")


def _quantiles(part: Slice, row: Row) -> dict[str, list[float]]:
    """Stored quantiles of the iteration times: levels, seconds, low95, high95."""
    stored: dict[str, list[float]] = row[f"{part.clock}_iteration_seconds_quantiles"]
    return stored


def _ends(part: Slice, row: Row) -> tuple[float, float]:
    """What an axis must show of an interval: one that reaches zero would have a logarithmic axis without end."""
    low, high = part.interval(row)
    return max(low, part.mean(row) / 2), high


def _scale_seconds(axes: Axes, part: Slice, rows: Sequence[Row]) -> None:
    scale_y(axes, [end for row in rows for end in _ends(part, row)])


def _line_with_band(axes: Axes, part: Slice, rows: Sequence[Row], along: str, name: str) -> None:
    rows = sorted(rows, key=lambda row: row["cell"][along])
    xs = [row["cell"][along] for row in rows]
    lows, highs = zip(*(part.interval(row) for row in rows), strict=True)
    style = part.styles[name]
    axes.fill_between(xs, lows, highs, color=style.colour, alpha=BAND, linewidth=0)
    axes.plot(xs, [part.mean(row) for row in rows], label=name, **style.line)
