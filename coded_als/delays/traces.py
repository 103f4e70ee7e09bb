"""Recorded delays: the CSV that `coded_als.cluster.recording.TraceRecorder` writes, read back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from coded_als.arrays import Array
from coded_als.errors import UsageError

Cells = dict[tuple[int, int], tuple[float, bool]]


def read_trace(path: Path) -> Array:
    """Seconds ``(rounds, workers)`` from a CSV with the columns worker, round, seconds and perhaps censored.

    A row with ``censored`` 1 was dropped before it finished, so its seconds are a lower bound. It is
    replaced by the mean of the finished times above that bound, and kept as it is where none is above:
    without this, a replay would take every straggler to be as fast as the round that overtook it.
    A task without a row never responds.

    Raises
    ------
    UsageError
        With the line number, for a missing file, column or value, a negative time or a task given twice.
    """
    cells = _read_cells(path)
    finished = np.sort([seconds for seconds, censored in cells.values() if not censored])
    table = np.full((1 + max(r for r, _ in cells), 1 + max(w for _, w in cells)), np.inf)
    for cell, (seconds, censored) in cells.items():
        above = finished[np.searchsorted(finished, seconds, side="right") :] if censored else ()
        table[cell] = np.mean(above) if len(above) else seconds
    return table


def _read_cells(path: Path) -> Cells:
    cells: Cells = {}
    if path.exists() and not path.is_file():  # a pipe would be empty when the next worker reads it
        raise UsageError(f"a trace must be a regular file; got {path}. Write it to a file first.")
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            absent = {"worker", "round", "seconds"} - set(reader.fieldnames or ())
            if absent:
                raise UsageError(
                    f"a trace must have the columns worker, round, seconds; {path} lacks {', '.join(sorted(absent))}. Add them."
                )
            for row in reader:
                cell, value = _read_row(row, path, reader.line_num)
                if cell in cells:
                    raise UsageError(
                        f"a trace must have one time per worker and round; {path} line {reader.line_num} repeats one. Remove it."
                    )
                cells[cell] = value
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"a trace must be a readable CSV file; got {path}: {error}. Check the path.") from None
    if not cells:
        raise UsageError(f"a trace must have at least one row; {path} has none. Record one with --record-trace.")
    return cells


def _read_row(row: dict[str, str], path: Path, line: int) -> tuple[tuple[int, int], tuple[float, bool]]:
    try:
        cell, seconds = (int(row["round"]), int(row["worker"])), float(row["seconds"])
        censored = {"0": False, "1": True}[row.get("censored") or "0"]
        if min(cell) < 0 or not seconds >= 0:
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            f"a trace must hold whole numbers for worker and round, seconds >= 0 and censored 0 or 1; got {row} in {path} line {line}. Correct the line."
        ) from None
    return cell, (seconds, censored)
