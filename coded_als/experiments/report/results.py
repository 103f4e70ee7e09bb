"""The results folder that a report is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from coded_als.experiments.environment import Environment
from coded_als.experiments.report.catalogue import sweep_figures_of
from coded_als.experiments.report.entries import Shown, named_apart
from coded_als.experiments.report.slices import Slice, slices
from coded_als.experiments.report.table1_catalogue import table1_figures_of
from coded_als.experiments.sweep.example_runs import Examples, read_examples
from coded_als.experiments.sweep.rows import StoredRow, SweepRow
from coded_als.experiments.table1.rows import Table1Row


@dataclass(frozen=True)
class Results:
    """What ``sweep`` or ``reproduce`` stored.

    Parameters
    ----------
    folder
        Where it is.
    spec
        What was asked for.
    rows
        One for each finished cell, in the order of the cells.
    """

    folder: Path
    spec: dict[str, Any]
    rows: list[StoredRow]

    @property
    def is_table1(self) -> bool:
        """Whether these are of Table I, not of a sweep."""
        return bool(self.spec.get("kind") == "table1")

    @property
    def clock(self) -> str:
        """Whose seconds these are: ``"virtual"`` or ``"wall"``."""
        return "virtual" if self.is_table1 or self.spec["cluster"] == "virtual" else "wall"

    @property
    def of_sweep(self) -> list[SweepRow]:
        """The rows, where they are of a sweep."""
        return cast(list[SweepRow], self.rows)

    @property
    def of_table1(self) -> list[Table1Row]:
        """The rows, where they are of Table I."""
        return cast(list[Table1Row], self.rows)

    @cached_property
    def slices(self) -> list[Slice]:
        """The parts of a sweep that one figure may show."""
        return slices(self.of_sweep, self.clock)

    @cached_property
    def examples(self) -> Examples | None:
        """Example runs of a sweep, if it has any."""
        return None if self.is_table1 else read_examples(self.folder)

    @cached_property
    def environments(self) -> list[Environment]:
        """Where and when each run took place."""
        path = self.folder / "environments.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def command(self) -> str:
        """The command line of the last run."""
        return str(self.environments[-1]["command"]) if self.environments else "coded-als"

    def figures(self) -> Iterator[Shown]:
        """All figures of the report, drawn one at a time."""
        if self.is_table1:
            return named_apart(table1_figures_of(self.of_table1))
        return named_apart(sweep_figures_of(self.of_sweep, self.clock, self.examples))
