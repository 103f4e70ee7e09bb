"""Runs of the sparse models: the history so far, and the state after each iteration in a checkpoint where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from numpy.typing import NDArray

from coded_als.models.checkpoint import Checkpoint, flushed
from coded_als.models.factor_model import FactorModel
from coded_als.models.history import History
from coded_als.models.iterations import Iteration
from coded_als.models.reporting import Callback
from coded_als.models.resuming import resumed
from coded_als.models.snapshot import Snapshot


class Run:
    """One run of a model that notes its state after each iteration.

    Parameters
    ----------
    history
        Of all iterations, those before an interruption included.
    checkpoint
        Where the state goes, or None.
    snapshot
        What an interrupted run has left, or None.
    """

    def __init__(self, history: History, checkpoint: Checkpoint | None, snapshot: Snapshot | None) -> None:
        self.history, self._checkpoint = history, checkpoint
        self.arrays: dict[str, NDArray[Any]] | None = None if snapshot is None else dict(snapshot.arrays)
        self.facts: Mapping[str, Any] = {} if snapshot is None else snapshot.facts

    def left(self, iterations: int) -> range:
        """The iterations that are still to do, of so many."""
        return range(len(self.history.entries), iterations)

    def note(self, objective: float, arrays: Mapping[str, NDArray[Any]], **facts: Any) -> None:
        """Record the end of an iteration.

        Parameters
        ----------
        objective
            Of the model now.
        arrays, facts
            Its state, which `arrays` and `facts` of a run that goes on from here are.
        """
        self.history.note(objective)
        if self._checkpoint is None:
            return
        # copies: the next iteration may work in place, and be interrupted
        held, entries = {name: array.copy() for name, array in arrays.items()}, tuple(self.history.entries)
        self._checkpoint.note(len(entries), lambda: (held, {**facts, **said(entries)}))


@contextmanager
def running(
    model: FactorModel,
    matrix: Any,
    report: Callback,
    checkpoint: Checkpoint | None,
    clock: Callable[[], float] = time.perf_counter,
    **also: Any,
) -> Iterator[Run]:
    """A run that goes on from the checkpoint, if there is one, and keeps what it did however it ends.

    Parameters
    ----------
    model
        What is fitted.
    matrix
        (m, n) the ratings, as `coded_als.models.snapshot.digest_of` takes them.
    report
        Called with each `Iteration`.
    checkpoint
        Where the state goes, or None.
    clock
        Returns seconds.
    **also
        What must be the same beside parameters and ratings.

    Raises
    ------
    UsageError
        As `resumed`.
    """
    with flushed(checkpoint):
        snapshot = resumed(checkpoint, model, matrix, also=also)
        history = History(report, clock, before(snapshot))
        yield Run(history, checkpoint, snapshot)


def before(snapshot: Snapshot | None) -> list[Iteration]:
    """The iterations that led to a snapshot."""
    return [] if snapshot is None else [Iteration(**entry) for entry in snapshot.facts["history"]]


def said(entries: tuple[Iteration, ...]) -> dict[str, Any]:
    """Iterations as the facts of a snapshot."""
    return {"history": [asdict(entry) for entry in entries]}
