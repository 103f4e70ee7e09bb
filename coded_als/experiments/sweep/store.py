"""A folder of results that survives a killed run.

``spec.json``         what was asked for; a folder takes no other spec, but more cells of the same
``journal.jsonl``     finished cells, one line each in the order of finishing, while the run lasts
``results.jsonl``     all cells in the order of the grid, written at the end
``results.csv``       the same, flat
``times.jsonl``       the seconds of every round of every repetition (`coded_als.experiments.sweep.times`)
``environments.jsonl``  where and when each run took place

Everything but the environment is a function of the spec, so an interrupted and resumed run ends in the
same bytes as an unbroken one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from coded_als.errors import UsageError
from coded_als.experiments.environment import Environment
from coded_als.experiments.sweep.reading import parse_row, read_json, saying_what_failed, write_text
from coded_als.experiments.sweep.rows import StoredRow
from coded_als.experiments.sweep.tables import as_csv, canonical, write_parquet

RowType = TypeVar("RowType", bound=StoredRow)


class ResultFolder(Generic[RowType]):
    """Results of one spec in one folder; a context manager that keeps other writers out.

    Parameters
    ----------
    path
        The folder; made if absent.
    spec
        What is computed, JSON-able.
    resume
        Whether to go on with the finished cells of an earlier run of the same spec.
    columns
        Numbers that a finished cell must have; a stored one without them is damaged and not counted as finished.

    Raises
    ------
    UsageError
        If the folder cannot be written, holds another spec, holds this one and ``resume`` is off, or is in use.
    """

    def __init__(self, path: Path, spec: Mapping[str, Any], *, resume: bool, columns: Sequence[str] = ()) -> None:
        self.path, self.spec, self._columns = path, dict(spec), columns
        with saying_what_failed(path):
            path.mkdir(parents=True, exist_ok=True)
            self._check_spec(resume)
            self._journal = os.open(path / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._lock()
            write_text(path / "spec.json", json.dumps(self.spec, indent=2, sort_keys=True) + "\n")
            self.finished = self._read_finished()

    def _check_spec(self, resume: bool) -> None:
        file = self.path / "spec.json"
        if not file.exists():
            return
        try:
            stored = read_json(file)
        except ValueError as error:
            raise UsageError(
                f"a results folder must hold a spec that can be read; {file} is damaged: {error}. Choose another --out."
            ) from None
        if not _grown(stored, self.spec):
            raise UsageError(
                f"a results folder holds one spec; {self.path} holds another. Choose another --out or the same options."
            )
        if not resume:
            raise UsageError(f"a results folder is not overwritten; {self.path} holds this spec. Add --resume.")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._journal)
            raise UsageError(f"one run writes to a results folder at a time; {self.path} is in use. Wait.") from None

    def _read_finished(self) -> dict[str, RowType]:
        """Rows by their cell; what a killed run left of a line is cut off, and damaged cells run again."""
        whole = (self.path / "journal.jsonl").read_bytes()
        whole = whole[: whole.rfind(b"\n") + 1]
        os.ftruncate(self._journal, len(whole))
        results = self.path / "results.jsonl"
        lines = (results.read_bytes() if results.exists() else b"") + whole
        rows: dict[str, RowType] = {}
        for line in lines.split(b"\n"):
            with suppress(ValueError):
                row = cast(RowType, parse_row(line, self._columns))
                rows[canonical(row["cell"])] = row
        return rows

    def append(self, row: RowType) -> None:
        """Keep a finished cell, ``row["cell"]`` being its key: it survives whatever happens next.

        Raises
        ------
        UsageError
            If the disk is full; the cells before stay.
        """
        line = (canonical(row) + "\n").encode()
        with saying_what_failed(self.path):
            before = os.fstat(self._journal).st_size
            try:
                if os.write(self._journal, line) < len(line):
                    raise OSError(28, "No space left on device")
            except OSError:
                os.ftruncate(self._journal, before)
                raise
        self.finished[canonical(row["cell"])] = row

    def finish(self, cells: Sequence[Mapping[str, Any]], *, parquet: bool = False) -> list[RowType]:
        """Write the rows of all cells in the order given, and drop the journal.

        Parameters
        ----------
        cells
            In order.
        parquet
            Whether to write the rows as Parquet too.
        """
        rows = [self.finished[canonical(cell)] for cell in cells]
        with saying_what_failed(self.path):
            write_text(self.path / "results.jsonl", "".join(canonical(row) + "\n" for row in rows))
            write_text(self.path / "results.csv", as_csv(rows))
            if parquet:
                write_parquet(self.path / "results.parquet", rows)
            (self.path / "journal.jsonl").unlink()
        return rows

    def note_environment(self, environment: Environment) -> None:
        """Add a line on where this run takes place."""
        with saying_what_failed(self.path), (self.path / "environments.jsonl").open("a") as file:
            file.write(canonical(environment) + "\n")

    def __enter__(self) -> ResultFolder[RowType]:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._journal)


def _grown(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether the results of one spec are results of the other too, which may have more cells."""
    cells = {"grid", "cells"}
    known, wanted = (canonical({k: v for k, v in spec.items() if k not in cells}) for spec in (stored, asked))
    asked_cells = set(map(canonical, asked.get("cells", ())))
    return known == wanted and asked_cells.issuperset(map(canonical, stored.get("cells", ())))
