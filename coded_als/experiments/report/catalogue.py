"""The figures of a sweep: which there are, what each says, and what it is drawn from.

A new figure is a function that returns a `ReportFigure`, one that returns its data, and an entry here (or in
`coded_als.experiments.report.table1_catalogue`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coded_als.experiments.report.delays_figure import delays_table, time_against_delays
from coded_als.experiments.report.distribution_figure import distribution, distribution_table
from coded_als.experiments.report.entries import Entry, Shown
from coded_als.experiments.report.example_figures import example_figures_of
from coded_als.experiments.report.memory_figures import iteration_against_memory, memory_table
from coded_als.experiments.report.slices import Slice, slices
from coded_als.experiments.report.sweep_figures import (
    partitions_table,
    time_against_partitions,
    time_against_workers,
    workers_table,
)
from coded_als.experiments.sweep.example_runs import Examples
from coded_als.experiments.sweep.rows import SweepRow

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


def sweep_figures_of(rows: Sequence[SweepRow], clock: str, examples: Examples | None) -> Iterator[Shown]:
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
        yield from example_figures_of(rows, examples)


def _alike(parts: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that differ in their delays alone, where there are several."""
    groups: dict[tuple[int, str], list[Slice]] = {}
    for part in parts:
        groups.setdefault((part.stragglers, part.solver), []).append(part)
    return [group for group in groups.values() if len(group) > 1]


def _dead_and_solver(part: Slice) -> str:
    return f"solver {part.solver}" + (f", {part.stragglers} dead workers" if part.stragglers else "")
