"""Example runs as they are stored: curves and a timeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

from coded_als.experiments.sweep.rows import SchemeCell

FILE = "examples.json"


class ProblemSize(TypedDict):
    """Rows, columns and rank of a problem."""

    rows: int
    columns: int
    rank: int


class Curve(TypedDict):
    """Seconds until each iteration of a scheme, and what the objective then exceeds its optimum by, relative to it."""

    cell: SchemeCell
    seconds_mean: list[float]
    seconds_low95: list[float | None]
    seconds_high95: list[float | None]
    excess: list[float]


class StoredTimeline(TypedDict):
    """The first rounds of one run; an event has the fields of `coded_als.cluster.TaskEvent`."""

    scheme: str
    workers: int
    events: list[dict[str, Any]]


class Examples(TypedDict):
    """Example runs of one sweep, all under the same delays."""

    clock: str
    size: ProblemSize
    delays: str
    curves: list[Curve]
    timeline: StoredTimeline | None


def read_examples(folder: Path) -> Examples | None:
    """What `coded_als.experiments.sweep.example_runs.write_examples` wrote, if it did."""
    path = folder / FILE
    if not path.exists():
        return None
    document: Examples = json.loads(path.read_text())
    return document
