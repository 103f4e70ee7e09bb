"""A folder of results that survives a killed run, the seconds of all rounds beside them, and example runs.

``spec.json``         the settings; a folder takes no others, but more cells of the same
``journal.jsonl``     finished cells, one line each in the order of finishing, while the run lasts
``results.jsonl``     all cells in the order of the grid, written at the end
``results.csv``       the same, flat
``times.jsonl``       the seconds of every round of every repetition: one line for each finished cell, with its
                      ``cell`` and its ``round_seconds``, indexed by repetition, iteration and round of the iteration
``examples.json``       curves and a timeline of a few example runs
``environments.jsonl``  where and when each run took place

Everything but the environment is a function of the spec, so an interrupted and resumed run ends in the
same bytes as an unbroken one.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, cast

import numpy as np

from coded_als.arrays import Array
from coded_als.errors import UsageError
from coded_als.experiments.sweep.rows import (
    STATUSES,
    SchemeCell,
    StoredRow,
    canonical,
    flat,
    flat_table,
    write_table,
)
from coded_als.experiments.text_tables import as_csv
from coded_als.models.files import write_whole

TIMES_FILE = "times.jsonl"
EXAMPLES_FILE = "examples.json"


RowType = TypeVar("RowType", bound=StoredRow)


class ResultFolder(Generic[RowType]):
    """Results of one spec in one folder; a context manager that keeps other writers out.

    ``path``: the folder; made if absent; ``spec``: settings of the results, JSON-able; ``resume``: whether to go on
    with the finished cells of an earlier run of the same spec; ``columns``: numbers that a finished cell must have; a
    stored one without them is damaged and not counted as finished. Raises UsageError if the folder cannot be written,
    holds another spec, holds this one and ``resume`` is off, or is in use.
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
        """Rows by their cell; an unfinished line of a killed run is cut off, and damaged cells run again."""
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
        """Keep a finished cell, ``row["cell"]`` being its key: it survives any later failure of the run.

        Raises UsageError if the disk is full; the cells before stay.
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
        """Write the rows of all cells in the order given, and drop the journal."""
        rows = [self.finished[canonical(cell)] for cell in cells]
        with saying_what_failed(self.path):
            write_text(self.path / "results.jsonl", "".join(canonical(row) + "\n" for row in rows))
            columns, flattened = flat_table(rows)
            write_text(self.path / "results.csv", as_csv(columns, flattened))
            if parquet:
                values = {column: [row.get(column) for row in flattened] for column in columns}
                write_table(self.path / "results.parquet", values)
            (self.path / "journal.jsonl").unlink()
        return rows

    def note_environment(self, environment: Mapping[str, Any]) -> None:
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


def read_results(path: Path) -> tuple[dict[str, Any], list[StoredRow]]:
    """Spec and rows of a folder, also of one with a run that has not ended."""
    try:
        spec = read_json(path / "spec.json")
        files = [path / name for name in ("results.jsonl", "journal.jsonl") if (path / name).exists()]
        whole = b"".join(file.read_bytes()[: file.read_bytes().rfind(b"\n") + 1] for file in files)
        rows = {canonical(row["cell"]): row for row in map(parse_row, whole.splitlines())}
    except (OSError, ValueError) as error:
        reason = f"{Path(error.filename or path).name}: {error.strerror}" if isinstance(error, OSError) else error
        raise UsageError(
            f"a report needs a folder that sweep or reproduce wrote; got {path}: {reason}. Check the path."
        ) from None
    return spec, list(rows.values())


def parse_row(line: bytes, columns: Sequence[str] = ()) -> StoredRow:
    """One stored cell; `ValueError` when it is damaged."""
    row = _parse_json(line)
    if not isinstance(row, dict) or not isinstance(row.get("cell"), dict):
        raise ValueError("a line of results is no cell")
    if row.get("status") not in STATUSES:
        raise ValueError("a cell of the results has no status")
    if row["status"] == "done" and not all(type(row.get(name)) in (int, float) for name in columns):
        raise ValueError("a cell of the results lacks a number")
    means = [name.removesuffix("mean") for name in row if name.endswith("_seconds_mean")]
    if not all(f"{name}{end}" in row for name in means for end in ("low95", "high95")):
        raise ValueError("a cell of the results lacks an interval")
    canonical(row)  # refuses numbers that are not finite
    return cast(StoredRow, row)


def _parse_json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document that is an object."""
    document = _parse_json(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no object")
    return document


def write_text(path: Path, text: str) -> None:
    """Write a text file that is either all there or as it was before."""
    write_whole(path, lambda file: file.write(text.encode()))


RESUMED = "Finished cells are kept: make room or access and add --resume, or choose another --out."


@contextmanager
def saying_what_failed(path: Path, remedy: str = RESUMED) -> Iterator[None]:
    """Report an error of the operating system as one `UsageError`."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"results must go to a folder with write access and room; got {path}: {error.strerror}. {remedy}"
        ) from None


class TimesLine(TypedDict):
    """One line: a cell, and its seconds by repetition, iteration and round."""

    cell: dict[str, Any]
    round_seconds: list[list[list[float]]]


def rounded(seconds: Array) -> list[Any]:
    """Nested lists of the seconds to six digits: the precision of a clock, in half the bytes."""
    flattened = [float(f"{second:.6g}") for second in np.ravel(seconds)]
    nested: list[Any] = np.reshape(flattened, np.shape(seconds)).tolist()
    return nested


def append_times(folder: Path, cell: Mapping[str, Any], round_seconds: Sequence[Any]) -> None:
    """Keep the seconds of a cell; a cell that comes again replaces itself.

    ``round_seconds``: (repetitions, iterations, rounds).
    """
    line = canonical({"cell": cell, "round_seconds": round_seconds}) + "\n"
    with saying_what_failed(folder), (folder / TIMES_FILE).open("a+b") as file:
        # a partial line of a killed run ends here, and does not count as a line
        if file.seek(0, 2) and file.seek(-1, 2) and file.read(1) != b"\n":
            line = "\n" + line
        file.write(line.encode())


def read_times(folder: Path) -> Iterator[TimesLine]:
    """The lines that are whole, the last one of each cell, in the order of their first appearance."""
    path = folder / TIMES_FILE
    if not path.exists():
        return
    lines: dict[str, TimesLine] = {}
    with path.open("rb") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                lines[canonical(row["cell"])] = {"cell": row["cell"], "round_seconds": row["round_seconds"]}
    yield from lines.values()


def times_table(folder: Path) -> dict[str, list[Any]]:
    """All rounds as columns: the cell, ``repetition``, ``iteration``, ``round`` and ``seconds``.

    Returns dict: columns of equal length; ``pandas.DataFrame(times_table(folder))`` makes a table.
    """
    columns: dict[str, list[Any]] = {}
    for row in read_times(folder):
        seconds = np.asarray(row["round_seconds"])
        indices = dict(zip(("repetition", "iteration", "round"), np.indices(seconds.shape), strict=True))
        known = {name: [value] * seconds.size for name, value in flat({"cell": row["cell"]}).items()}
        for name, values in {**known, **{k: v.ravel().tolist() for k, v in indices.items()}}.items():
            columns.setdefault(name, []).extend(values)
        columns.setdefault("seconds", []).extend(seconds.ravel().tolist())
    return columns


def finish_times(folder: Path, cells: Sequence[Mapping[str, Any]], *, parquet: bool) -> None:
    """Put the lines into the order of the cells."""
    known = {canonical(row["cell"]): row for row in read_times(folder)}
    lines = [canonical(known[name]) + "\n" for name in map(canonical, cells) if name in known]
    with saying_what_failed(folder):
        write_text(folder / TIMES_FILE, "".join(lines))
        if parquet:
            write_table(folder / "times.parquet", times_table(folder))


class ProblemSize(TypedDict):
    """Rows, columns and rank of a problem."""

    rows: int
    columns: int
    rank: int


class Curve(TypedDict):
    """Seconds until each iteration of a scheme, and the relative excess of the objective over its optimum then."""

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
    """The document of `coded_als.experiments.sweep.runs.write_examples`, if there is one."""
    path = folder / EXAMPLES_FILE
    if not path.exists():
        return None
    document: Examples = json.loads(path.read_text())
    return document
