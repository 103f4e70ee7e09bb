"""The results folder that a report is made of, as it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from coded_als.errors import CodedALSError, UsageError
from coded_als.experiments.report.canvas import CaptionedFigure, named_apart
from coded_als.experiments.report.slices import Slice, slices
from coded_als.experiments.report.sweep_figures import sweep_figures_of
from coded_als.experiments.report.table1_figures import table1_figures_of
from coded_als.experiments.sweep.result_folder import Examples, read_examples, read_results
from coded_als.experiments.sweep.rows import StoredRow, SweepRow, canonical
from coded_als.experiments.table1.paper_table import Table1Row


@dataclass(frozen=True)
class Results:
    """Results that ``sweep`` or ``reproduce`` stored.

    Parameters
    ----------
    folder
        Path of the folder.
    spec
        The settings of the run.
    rows
        One for each finished cell, in the order of the cells.

    Examples
    --------
    >>> from coded_als.experiments.report import open_results
    >>> results = open_results("out/sweep")
    >>> names = [figure.name for figure in results.figures()]
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
        """The clock of the seconds: ``"virtual"`` or ``"wall"``."""
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
    def environments(self) -> list[dict[str, Any]]:
        """Place and time of each run."""
        path = self.folder / "environments.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def command(self) -> str:
        """The command line of the last run."""
        return str(self.environments[-1]["command"]) if self.environments else "coded-als"

    def figures(self) -> Iterator[CaptionedFigure]:
        """Return all figures of the report, drawn one at a time."""
        if self.is_table1:
            return named_apart(table1_figures_of(self.of_table1))
        return named_apart(sweep_figures_of(self.of_sweep, self.clock, self.examples))


def open_results(folder: str | Path) -> Results:
    """Read a results folder.

    Parameters
    ----------
    folder
        The folder of ``sweep --out`` or ``reproduce --out``.

    Raises
    ------
    UsageError
        If it is no results folder, is damaged or holds no finished cell.

    Examples
    --------
    >>> from coded_als.experiments.report import open_results
    >>> results = open_results("out/sweep")
    >>> results.clock, [part.name for part in results.slices]
    ('virtual', [...])
    """
    folder = Path(folder)
    spec, rows = read_results(folder)
    if not any(row["status"] == "done" for row in rows):
        raise UsageError(f"a report needs a finished cell; {folder} has none. Run or resume the sweep.")
    if spec.get("kind") != "table1":
        # a run that has not ended stored its cells in the order of finishing
        with saying_damaged(folder):
            place = {canonical(cell): index for index, cell in enumerate(spec["cells"])}
            rows = sorted(rows, key=lambda row: place[canonical(row["cell"])])
    return Results(folder, spec, rows)


@contextmanager
def saying_damaged(folder: Path) -> Iterator[None]:
    """Report any exception that damaged values cause as one `UsageError`."""
    try:
        yield
    except (CodedALSError, OSError):
        raise
    except Exception as error:
        raise UsageError(
            f"stored results must be whole; {folder} is damaged ({type(error).__name__}: {error}). "
            "Run it again into another folder."
        ) from None
