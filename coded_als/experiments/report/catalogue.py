"""The table of all figures: which there are, what each says, and what it is drawn from.

A new figure is a function that returns a `ReportFigure`, one that returns its data, and an entry here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from coded_als.cluster import TaskEvent
from coded_als.experiments.report.canvas import ReportFigure
from coded_als.experiments.report.curves import objective_against_seconds, objective_table
from coded_als.experiments.report.memory_figures import iteration_against_memory, memory_table
from coded_als.experiments.report.slices import Row, Slice, Table, series_styles, slices
from coded_als.experiments.report.sweep_figures import (
    delays_table,
    distribution,
    distribution_table,
    partitions_table,
    time_against_delays,
    time_against_partitions,
    time_against_workers,
    workers_table,
)
from coded_als.experiments.report.table1_figures import (
    decoding_error_against_partitions,
    errors_table,
    survival_against_products,
    survival_table,
    table1_times,
    table1_times_table,
)
from coded_als.experiments.report.timeline import timeline, timeline_table

Source = TypeVar("Source")
LONGEST_NAME = 120


@dataclass(frozen=True)
class Shown:
    """A figure with all that stands beside it.

    Parameters
    ----------
    name
        A file name without suffix.
    title, note
        Plain text.
    figure
        What is drawn.
    headings, body
        The data that is drawn.
    """

    name: str
    title: str
    note: str
    figure: ReportFigure
    headings: tuple[str, ...]
    body: Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Entry(Generic[Source]):
    """A kind of figure.

    Parameters
    ----------
    name
        Where its file names begin.
    title, note
        Plain text; the title is followed by what this one is about.
    draw, table
        Figure and data of a source.
    """

    name: str
    title: str
    note: str
    draw: Callable[[Source], ReportFigure]
    table: Callable[[Source], Table]

    def of(self, source: Source, about: str = "") -> Shown:
        """The figure of one source.

        Parameters
        ----------
        source
            What the figure shows.
        about
            What distinguishes it from others of its kind.
        """
        name = re.sub(r"[^a-z0-9.]+", "-", f"{self.name} {about}".lower()).strip("-.")[:LONGEST_NAME]
        title = f"{self.title}{about and ', '}{about}"
        return Shown(name, title, self.note, self.draw(source), *self.table(source))


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
)
MEMORY_FIGURES: tuple[Entry[Slice], ...] = (
    Entry(
        "time-against-memory",
        "Time against memory",
        "Mean time of an iteration and what a worker stores for it, at the largest number of workers: one line for each "
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
TABLE1_FIGURES: tuple[Entry[Sequence[Row]], ...] = (
    Entry(
        "table1-times",
        "Table I: time against h",
        "Marks: the paper's seconds. Lines: virtual seconds of the law (46), fitted to the columns that decode "
        "soundly at real points, with the 95 % interval of the mean as a band (thinner than the line).",
        table1_times,
        table1_times_table,
    ),
    Entry(
        "table1-decoding-error",
        "Decoding error against h",
        "Median over random sets of first responses, at the largest k of each h. Lines are measured errors; the band "
        "reaches up to the error that the code estimated before it decoded.",
        decoding_error_against_partitions,
        errors_table,
    ),
    Entry(
        "table1-survival",
        "Do the cells collapse where real points break down?",
        "Each cell once per family of points. A run survives while its exact objective stays within 1 % of exact "
        "arithmetic's.",
        survival_against_products,
        survival_table,
    ),
)


def sweep_figures_of(rows: Sequence[Row], clock: str, examples: Row | None) -> Iterator[Shown]:
    """All figures of a sweep, drawn one at a time.

    Parameters
    ----------
    rows
        Rows as stored.
    clock
        ``"virtual"`` or ``"wall"``.
    examples
        The stored example runs, if there are any.
    """
    parts = slices(rows, clock)
    for alike in _alike(parts):
        for comparison in DELAY_FIGURES:
            yield comparison.of(alike, _dead_and_solver(alike[0]))
    for part in parts:
        stored = all("worker_storage_bytes" in row for row in part.largest)
        for entry in (*SLICE_FIGURES, *(MEMORY_FIGURES if stored else ())):
            yield entry.of(part, part.name)
    if examples:
        yield from _example_figures(rows, examples)


def named_apart(figures: Iterable[Shown]) -> Iterator[Shown]:
    """The same figures; a name that came before gets a number."""
    seen: Counter[str] = Counter()
    for shown in figures:
        seen[shown.name] += 1
        yield shown if seen[shown.name] == 1 else replace(shown, name=f"{shown.name}-{seen[shown.name]}")


def table1_figures_of(rows: Sequence[Row]) -> Iterator[Shown]:
    """All figures of a reproduction of Table I, drawn one at a time."""
    for entry in TABLE1_FIGURES:
        yield entry.of(rows)


def _alike(parts: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that differ in their delays alone, where there are several."""
    groups: dict[tuple[int, str], list[Slice]] = {}
    for part in parts:
        groups.setdefault((part.stragglers, part.solver), []).append(part)
    return [group for group in groups.values() if len(group) > 1]


def _dead_and_solver(part: Slice) -> str:
    return f"solver {part.solver}" + (f", {part.stragglers} dead workers" if part.stragglers else "")


def _example_figures(rows: Sequence[Row], examples: Row) -> Iterator[Shown]:
    alone = len({row["cell"]["delays"] for row in rows}) > 1
    said = " Shown for the first of the sweep's delay models alone." if alone else ""
    about, drawn = f"delays {examples['delays']}", series_styles(row for row in rows if row["status"] == "done")
    if examples["curves"]:
        size = examples["size"]
        objective = Entry[Row](
            "objective",
            "Objective against seconds",
            f"The algorithm itself on a {size['rows']} x {size['columns']} matrix of random factors and strong noise, "
            f"rank {size['rank']}, all schemes under the same delays; the machine is slowed in proportion to the "
            f"sweep's problem. The optimum is exact; bands are 95 % intervals of the seconds.{said}",
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
            "Rows are workers. A round ends (dashed line) at the last response it needs; whoever still works on it "
            f"then drops it and starts on the next round at once.{said}",
            lambda source: timeline(source, clock=examples["clock"]),
            timeline_table,
        )
        yield spans.of(events, about)
