"""The figure that compares delay models."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x
from coded_als.experiments.report.series import series_name
from coded_als.experiments.report.slices import Slice, Table
from coded_als.experiments.report.styles import SOFT


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
    return headings, [
        (part.delays, series_name(row["cell"]), row["cell"]["partitions"] or "", part.mean(row), *part.interval(row))
        for part in parts
        for row in part.best(part.largest)
    ]


def _breakable(spec: str) -> str:
    return spec.replace(",", ", ").replace("+", " + ").replace(":", ": ")
