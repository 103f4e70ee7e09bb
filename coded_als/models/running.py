"""Runs of the sparse models: the history so far, and the state after each iteration in a checkpoint where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.models.checkpoint import Checkpoint, flushed
from coded_als.models.factor_model import FactorModel
from coded_als.models.history import History
from coded_als.models.iterations import Iteration
from coded_als.models.reporting import Callback
from coded_als.models.resuming import iterations_of, resumed
from coded_als.models.snapshot import Snapshot, arrays_like


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
        self.history, self._checkpoint, self._snapshot = history, checkpoint, snapshot

    def arrays(self, **fresh: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The arrays to go on with, by name, each of the shape of the fresh one, (rows, d) or what the model has.

        Parameters
        ----------
        **fresh
            Those of a fit from the start; those of a snapshot are like them.

        Raises
        ------
        UsageError
            Where the snapshot holds others.
        """
        if self._snapshot is None:
            return fresh
        with self._snapshot.being_read():
            return arrays_like(self._snapshot.arrays, **fresh)

    def go_on(self, take: Callable[[Mapping[str, Any]], object]) -> None:
        """Hand the facts of the snapshot, where there is one, to what takes them over.

        Parameters
        ----------
        take
            Called with them; what it raises refuses the snapshot.
        """
        if self._snapshot is not None:
            with self._snapshot.being_read():
                take(self._snapshot.facts)

    def left(self, iterations: int) -> range:
        """The iterations that are still to do, of so many."""
        return range(len(self.history.entries), iterations)

    def note(self, objective: float, arrays: Mapping[str, NDArray[Any]], **facts: Any) -> None:
        """HistoryEntry the end of an iteration.

        Parameters
        ----------
        objective
            Of the model now.
        arrays, facts
            Its state, which `arrays` and `go_on` give a run that goes on from here.
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
    clock: Callable[[], float],
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
    return [] if snapshot is None else iterations_of(snapshot, Iteration)


def set_generator(generator: np.random.Generator, facts: Mapping[str, Any]) -> None:
    """Put a random generator where that of the snapshot was.

    Parameters
    ----------
    generator
        Of the same kind.
    facts
        Of the snapshot.
    """
    generator.bit_generator.state = facts["generator"]


def shards_skipped(facts: Mapping[str, Any], *shards: int) -> list[list[int]]:
    """The rounds in a row that each shard has missed, of several sides with so many shards each.

    Raises
    ------
    ValueError
        Where they are of another form.
    """
    skipped: list[list[int]] = facts["skipped"]
    counts = [len(side) for side in skipped]
    if counts != list(shards) or not all(type(rounds) is int and rounds >= 0 for side in skipped for rounds in side):
        raise ValueError(f"it has skipped {str(skipped)[:80]} of {shards} shards")
    return skipped


def said(entries: tuple[Iteration, ...]) -> dict[str, Any]:
    """Iterations as the facts of a snapshot."""
    return {"history": [asdict(entry) for entry in entries]}
