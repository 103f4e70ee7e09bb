"""Recorded delays: the CSV that `coded_als.cluster.recording.TraceRecorder` writes, read back."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.delays.models import Trace
from coded_als.errors import UsageError

# Of each (round, worker): seconds beyond the work of everybody, whether these are a bound, those before the work began, and
# how many times as long as usual the work took.
Cells = dict[tuple[int, int], tuple[float, bool, float, float]]
# From so many tasks on, a worker's own tell how long another of it would have taken; before, those of all workers do.
ENOUGH = 5
# A worker that is never heard of is dead, unless another was silent for half as long and heard again.
SILENCES = 2
# A task that was broken off took longer than those that ended its round. Others of these, in rounds that went on a little
# longer, say nothing of it: how much longer depends on them and not on it. So the delay is looked for above this many times the
# bound.
CLEAR = 1.25


def read_trace(path: Path) -> Array:
    r"""Return seconds ``(rounds, workers)`` from a CSV with the columns worker, round, seconds and perhaps others.

    A row with ``censored`` 1 was dropped before it finished, so its seconds are a lower bound; 0 where it was never sent.
    Its delay is one of the finished times above that bound, drawn from the Kaplan-Meier estimate of the worker's own
    delays, or of all workers' where its own are few: without this, a replay would take every straggler to be as fast as
    the round that overtook it. It is kept as it is where none is above. A task that was never sent gets the
    delay of another task of the same worker, drawn at random. Draws are the same for the same file.

    With the columns ``start`` and ``slowness`` a task began its work after so many seconds and was so many times as slow
    as usual; the seconds given back are then those of the start, and a censored task that was drawn has both from the task
    that it was drawn from. Without them all of its seconds are a delay.

    A task without a row is one that was never sent, where its worker has a later row. A worker without any further row has
    died. So has one that finished nothing, unless others were silent for about as long and then heard again.

    Parameters
    ----------
    path
        Path of the CSV.

    Raises
    ------
    UsageError
        With the line number, for a missing file, column or value, a negative time or a task given twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> from coded_als.delays import read_trace
    >>> _ = Path("trace.csv").write_text("worker,round,seconds\n0,0,0.01\n1,0,0.5\n0,1,0.02\n1,1,0.6\n")
    >>> read_trace(Path("trace.csv"))
    array([[0.01, 0.5 ],
           [0.02, 0.6 ]])
    """
    return read_recording(path).seconds


def read_recording(path: Path) -> Trace:
    """The delays of `read_trace`, and the share of tasks that took longer than any that was finished."""
    cells = _read_cells(path)
    shape = 1 + max(r for r, _ in cells), 1 + max(w for _, w in cells)
    seconds, finished = np.zeros(shape), np.zeros(shape, bool)
    started, slowness = np.zeros(shape), np.ones(shape)
    last = np.full(shape[1], -1)
    for (round_index, worker), (taken_s, censored, start_s, slower) in cells.items():
        seconds[round_index, worker], finished[round_index, worker] = taken_s, not censored
        started[round_index, worker], slowness[round_index, worker] = start_s, slower
        last[worker] = max(last[worker], round_index)
    dead = np.arange(shape[0])[:, None] > last
    dead |= ~finished.any(axis=0) & (shape[0] > SILENCES * (1 + _longest_silence(finished)))
    everyone = Survival.of(seconds[~dead], finished[~dead])
    numbers, completed = _numbers(shape), seconds.copy()
    for worker in range(shape[1]):
        own, watched = finished[:, worker], seconds[:, worker]
        sent = own | (watched > 0)
        knows = sent.sum() >= ENOUGH
        laws = [Survival.of(watched, own), everyone] if own.any() and knows else [everyone]
        for index in np.flatnonzero(~own & (sent | (not knows))):
            longer = (law.beyond(watched[index], numbers[index, worker]) for law in laws)
            completed[index, worker] = next((found for found in longer if found is not None), watched[index])
        if knows:  # an unsent task would have taken as long as one that was sent
            donors = np.flatnonzero(sent)[(numbers[~sent, worker] * sent.sum()).astype(int)]
            completed[~sent, worker] = completed[donors, worker]
    started[~finished], slowness[~finished] = completed[~finished], 1.0
    if (slowness == 1.0).all():
        return Trace(np.where(dead, np.inf, completed), everyone.unseen)
    _split_as_others(completed, finished, started, slowness)
    return Trace(np.where(dead, np.inf, started), everyone.unseen, slowness)


def _split_as_others(completed: Array, finished: NDArray[np.bool_], started: Array, slowness: Array) -> None:
    """Take start and slowness of each task that did not finish from the one that its seconds were drawn from, if any."""
    order = np.argsort(completed[finished], kind="stable")
    ends, donors = completed[finished][order], np.flatnonzero(finished)[order]
    for cell in np.flatnonzero(~finished):
        place = int(np.searchsorted(ends, completed.flat[cell]))
        if place < len(ends) and ends[place] == completed.flat[cell]:
            started.flat[cell], slowness.flat[cell] = started.flat[donors[place]], slowness.flat[donors[place]]


@dataclass(frozen=True)
class Survival:
    """The Kaplan-Meier estimate of how long tasks take, of which some were only watched for a while."""

    times: Array  # finite seconds of the finished tasks, each once, ascending
    shares: Array  # the share of all tasks that takes longer than each of them

    @classmethod
    def of(cls, seconds: Array, finished: NDArray[np.bool_]) -> Survival:
        """The estimate from tasks of any shape."""
        times, ended = np.unique(seconds[finished & np.isfinite(seconds)], return_counts=True)
        cleared = np.where(finished, seconds, CLEAR * seconds)
        at_risk = np.array([(cleared >= time).sum() for time in times])
        return cls(times, np.cumprod(1 - ended / at_risk) if times.size else np.ones(0))

    @property
    def unseen(self) -> float:
        """The share of tasks that takes longer than any finished one."""
        return float(self.shares[-1]) if self.shares.size else 1.0

    def beyond(self, watched_s: float, number: float) -> float | None:
        """The delay of a task that had not finished: one of the finished ones above it; None where there is none.

        ``number``: uniform in (0, 1): which of those above.
        """
        first = int(np.searchsorted(self.times, CLEAR * watched_s, side="right"))
        if first == self.times.size:
            return None
        left = self.shares[first - 1] if first else 1.0
        place = first + int(np.searchsorted(-self.shares[first:], -number * left))
        # beyond all finished ones nothing is known: the longest of them is a bound
        return float(self.times[min(place, self.times.size - 1)])


def _longest_silence(finished: NDArray[np.bool_]) -> int:
    """Most rounds in a row in which a worker finished nothing, and something after them."""
    longest = 0
    for of_worker in finished.T:
        rounds = np.flatnonzero(of_worker)
        longest = max([longest, *(np.diff(rounds, prepend=-1) - 1).tolist()])
    return longest


def _numbers(shape: tuple[int, int]) -> Array:
    """The same uniform numbers for each round and worker whenever a file is read."""
    return np.random.default_rng(0).random(shape)


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
        raise UsageError(
            f"a trace must be a readable CSV file; got {path}: {getattr(error, 'strerror', None) or error}. Check the path."
        ) from None
    if not cells:
        raise UsageError(f"a trace must have at least one row; {path} has none. Record one with --record-delays.")
    return cells


def _read_row(row: dict[str, str], path: Path, line: int) -> tuple[tuple[int, int], tuple[float, bool, float, float]]:
    try:
        cell, seconds = (int(row["round"]), int(row["worker"])), float(row["seconds"])
        censored = {"0": False, "1": True}[row.get("censored") or "0"]
        start_s, slowness = float(row.get("start") or seconds), float(row.get("slowness") or 1.0)
        if min(cell) < 0 or not min(seconds, start_s) >= 0 or not 0 < slowness < math.inf:
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            f"a trace must hold whole numbers for worker and round, seconds >= 0, censored 0 or 1, start >= 0 and slowness > 0; got {row} in {path} line {line}. Correct the line."
        ) from None
    return cell, (seconds, censored, start_s, slowness)
