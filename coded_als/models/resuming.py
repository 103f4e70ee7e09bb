"""Fits that can go on where an interrupted one was: their identity, their history, and what they keep of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, flushed
from coded_als.models.factor_model import FactorModel
from coded_als.models.history import History, Iteration
from coded_als.models.reporting import Callback
from coded_als.models.snapshot import Snapshot, digest_of

# what may differ when a fit goes on: how long it may take, and how it is computed
FREE = ("iterations", "threads")


def resumed(
    checkpoint: Checkpoint | None,
    model: FactorModel,
    matrix: Any,
    free: tuple[str, ...] = FREE,
    also: Mapping[str, Any] | None = None,
) -> Snapshot | None:
    """The snapshot to go on from, if any.

    Parameters
    ----------
    checkpoint
        Where snapshots go, or None.
    model
        What is fitted.
    matrix
        (m, n) the ratings, an array or a csr array in canonical form.
    free
        Parameters that may differ.
    also
        What must be the same beside parameters and ratings.

    Raises
    ------
    UsageError
        As `Checkpoint.begin`, and for a snapshot that has more iterations than are asked for.
    """
    if checkpoint is None:
        return None
    parameters = model.get_params()
    kept = {name: _plain(value) for name, value in parameters.items() if name not in free}
    snapshot = checkpoint.begin({"method": model.kind, **kept, **(also or {}), "data": digest_of(matrix)})
    if snapshot is not None and snapshot.iteration > parameters["iterations"]:
        raise UsageError(
            f"iterations must be at least the {snapshot.iteration} that the checkpoint has; "
            f"got {parameters['iterations']}. Raise them, or choose another folder."
        )
    return snapshot


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
        (m, n) the ratings, an array or a csr array in canonical form.
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
    snapshot = resumed(checkpoint, model, matrix, also=also)
    history = History(report, clock, before(snapshot))
    with flushed(checkpoint):
        yield Run(history, checkpoint, snapshot)


def before(snapshot: Snapshot | None) -> list[Iteration]:
    """The iterations that led to a snapshot."""
    return [] if snapshot is None else [Iteration(**entry) for entry in snapshot.facts["history"]]


def said(entries: tuple[Iteration, ...]) -> dict[str, Any]:
    """Iterations as the facts of a snapshot."""
    return {"history": [asdict(entry) for entry in entries]}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
