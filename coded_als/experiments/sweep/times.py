"""The seconds of every round of every repetition of a sweep: ``times.jsonl``, one line for each finished cell.

A line holds ``cell`` and ``round_seconds``, indexed by repetition, iteration and round of the iteration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from coded_als.arrays import Array
from coded_als.experiments.sweep.reading import saying_what_failed, write_text
from coded_als.experiments.sweep.tables import canonical, flat, write_table

FILE = "times.jsonl"


class TimesLine(TypedDict):
    """One line: a cell, and its seconds by repetition, iteration and round."""

    cell: dict[str, Any]
    round_seconds: list[list[list[float]]]


def rounded(seconds: Array) -> list[Any]:
    """Nested lists of the seconds to six digits: what a clock is worth, in half the bytes.

    Parameters
    ----------
    seconds
        Of any shape.
    """
    flattened = [float(f"{second:.6g}") for second in np.ravel(seconds)]
    nested: list[Any] = np.reshape(flattened, np.shape(seconds)).tolist()
    return nested


def append_times(folder: Path, cell: Mapping[str, Any], round_seconds: Sequence[Any]) -> None:
    """Keep the seconds of a cell; a cell that comes again replaces itself.

    Parameters
    ----------
    folder
        A results folder.
    cell
        The cell.
    round_seconds
        (repetitions, iterations, rounds).
    """
    line = canonical({"cell": cell, "round_seconds": round_seconds}) + "\n"
    with saying_what_failed(folder), (folder / FILE).open("a+b") as file:
        # what a killed run left of a line ends here, and is no line
        if file.seek(0, 2) and file.seek(-1, 2) and file.read(1) != b"\n":
            line = "\n" + line
        file.write(line.encode())


def read_times(folder: Path) -> Iterator[TimesLine]:
    """The lines that are whole, the last one of each cell, in the order of their first appearance."""
    path = folder / FILE
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

    Parameters
    ----------
    folder
        A results folder.

    Returns
    -------
    dict
        Columns of equal length; ``pandas.DataFrame(times_table(folder))`` makes a table.
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
    """Put the lines into the order of the cells.

    Parameters
    ----------
    folder
        A results folder.
    cells
        All cells in their order.
    parquet
        Whether to write `times_table` as ``times.parquet`` too.
    """
    known = {canonical(row["cell"]): row for row in read_times(folder)}
    lines = [canonical(known[name]) + "\n" for name in map(canonical, cells) if name in known]
    with saying_what_failed(folder):
        write_text(folder / FILE, "".join(lines))
        if parquet:
            write_table(folder / "times.parquet", times_table(folder))
