"""The figures of the example runs of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coded_als.cluster import TaskEvent
from coded_als.experiments.report.curves import objective_against_seconds, objective_table
from coded_als.experiments.report.entries import Entry, Shown
from coded_als.experiments.report.series import series_styles
from coded_als.experiments.report.timeline import timeline, timeline_table
from coded_als.experiments.sweep.example_runs import Examples
from coded_als.experiments.sweep.rows import SweepRow


def example_figures_of(rows: Sequence[SweepRow], examples: Examples) -> Iterator[Shown]:
    alone = len({row["cell"]["delays"] for row in rows}) > 1
    said = " Shown for the first of the sweep's delay models alone." if alone else ""
    about, drawn = f"delays {examples['delays']}", series_styles(row["cell"] for row in rows if row["status"] == "done")
    if examples["curves"]:
        size = examples["size"]
        objective = Entry[Examples](
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
