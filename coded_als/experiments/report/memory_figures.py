"""Figure of what memory buys: the time of a round against what a worker stores, one line for each kind of code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coded_als.codes import parse_code, with_partitions
from coded_als.experiments.codes.members import kind_of
from coded_als.experiments.report.canvas import ReportFigure, add_legend, new_axes, scale_x, scale_y
from coded_als.experiments.report.series import is_coded
from coded_als.experiments.report.slices import Slice, Table
from coded_als.experiments.report.styles import INK, SeriesStyle, styles
from coded_als.experiments.sweep.rows import SweepRow


@dataclass(frozen=True)
class MemoryPoint:
    """One code on some workers.

    Parameters
    ----------
    code, kind
        Its SPEC, and what its line stands for.
    coded
        Whether it is a code, and not plain blocks or copies of them.
    memory_bytes
        What one worker stores.
    seconds
        Mean of a round, or of an iteration.
    """

    code: str
    kind: str
    coded: bool
    memory_bytes: float
    seconds: float


def time_against_memory(
    points: Sequence[MemoryPoint], y_label: str, drawn: Mapping[str, SeriesStyle] | None = None
) -> ReportFigure:
    """Seconds against memory per worker; what nothing beats in both is ringed.

    Parameters
    ----------
    points
        One for each code.
    y_label
        What the seconds are of.
    drawn
        Style of each kind of code; by default those of a figure that stands alone.

    Returns
    -------
    ReportFigure
        A line for each kind of code, in order of memory.
    """
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
    code = with_partitions(cell["code"], cell["partitions"]) if cell["partitions"] else parse_code(cell["code"])
    kind = kind_of(code) + (", paper protocol" if cell["protocol"] == "paper" else "")
    seconds = part.mean(row) / row["iterations"]
    return MemoryPoint(code.spec, kind, is_coded(row["cell"]), float(row["worker_storage_bytes"]), seconds)
