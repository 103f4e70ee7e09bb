"""Iterations of a fit, one record each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, Snapshot, arrays_like, digest_of, flushed, record_of
from coded_als.models.factor_model import FactorModel


@dataclass(frozen=True)
class Iteration:
    """One iteration of a fit.

    Parameters
    ----------
    index
        1, 2, 3, ...
    objective
        What the model minimises, regularisation included, where that is cheap; a running estimate for the
        stochastic models (each says of what).
    seconds
        Seconds that it took, on the wall or, on a cluster, on the cluster's clock.
    """

    index: int
    objective: float
    seconds: float


# called after each iteration with the entry that it adds to history_: index, objective, seconds and what a model adds
Callback = Callable[[Any], None]


@contextmanager
def reporting(callback: Callback | None, progress: bool, name: str, iterations: int) -> Iterator[Callback]:
    """One function to tell of every iteration, for the length of a fit."""
    if not progress:
        yield _silent if callback is None else callback
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    objective = TextColumn("{task.fields[objective]}")
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        # a notebook without widgets shows the bar once, at the end
        console = Console(stderr=True, force_jupyter=False)
    with Progress(*columns, objective, console=console) as bar:
        task = bar.add_task(name, total=iterations, objective="")

        def report(entry: Any) -> None:
            bar.update(task, completed=entry.index, objective=f"objective {entry.objective:.6g}")
            if callback is not None:
                callback(entry)

        yield report


def _silent(_entry: Any) -> None:
    """Nobody asked."""


class History:
    """Collects the iterations of one fit and tells of each.

    Parameters
    ----------
    report
        Called with each `Iteration`.
    clock
        Returns seconds.
    before
        Iterations of the same fit before it was interrupted.
    """

    def __init__(
        self,
        report: Callback,
        clock: Callable[[], float],
        before: Sequence[Iteration] = (),
    ) -> None:
        self.entries: list[Iteration] = list(before)
        self._report, self._clock = report, clock
        self._started = clock()

    def note(self, objective: float) -> None:
        """Record the end of an iteration."""
        now = self._clock()
        self.entries.append(Iteration(len(self.entries) + 1, float(objective), now - self._started))
        self._started = now
        self._report(self.entries[-1])


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

    ``matrix``: (m, n) the ratings, as `digest_of` takes them.

    Raises UsageError as `Checkpoint.begin`, and for a snapshot that has more iterations than are asked for.
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


Told = TypeVar("Told", bound=Iteration)


def iterations_of(snapshot: Snapshot, kind: type[Told]) -> list[Told]:
    """The iterations that led to a snapshot, as records of a kind.

    Raises UsageError where they are of another form, or not as many as the snapshot says.
    """
    with snapshot.being_read():
        entries = [record_of(kind, entry) for entry in snapshot.facts["history"]]
        if [entry.index for entry in entries] != list(range(1, snapshot.iteration + 1)):
            raise ValueError(f"its history is not that of {snapshot.iteration} iterations")
        return entries


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


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

        Raises UsageError where the snapshot holds others.
        """
        if self._snapshot is None:
            return fresh
        with self._snapshot.being_read():
            return arrays_like(self._snapshot.arrays, **fresh)

    def go_on(self, take: Callable[[Mapping[str, Any]], object]) -> None:
        """Hand the facts of the snapshot, where there is one, to what takes them over."""
        if self._snapshot is not None:
            with self._snapshot.being_read():
                take(self._snapshot.facts)

    def left(self, iterations: int) -> range:
        """The iterations that are still to do, of so many."""
        return range(len(self.history.entries), iterations)

    def note(self, objective: float, arrays: Mapping[str, NDArray[Any]], **facts: Any) -> None:
        """HistoryEntry the end of an iteration."""
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

    ``matrix``: (m, n) the ratings, as `coded_als.models.checkpoint.digest_of` takes them.

    Raises UsageError as `resumed`.
    """
    with flushed(checkpoint):
        snapshot = resumed(checkpoint, model, matrix, also=also)
        history = History(report, clock, before(snapshot))
        yield Run(history, checkpoint, snapshot)


def before(snapshot: Snapshot | None) -> list[Iteration]:
    """The iterations that led to a snapshot."""
    return [] if snapshot is None else iterations_of(snapshot, Iteration)


def set_generator(generator: np.random.Generator, facts: Mapping[str, Any]) -> None:
    """Put a random generator where that of the snapshot was."""
    generator.bit_generator.state = facts["generator"]


def shards_skipped(facts: Mapping[str, Any], *shards: int) -> list[list[int]]:
    """The rounds in a row that each shard has missed, of several sides with so many shards each.

    Raises ValueError where they are of another form.
    """
    skipped: list[list[int]] = facts["skipped"]
    counts = [len(side) for side in skipped]
    if counts != list(shards) or not all(type(rounds) is int and rounds >= 0 for side in skipped for rounds in side):
        raise ValueError(f"it has skipped {str(skipped)[:80]} of {shards} shards")
    return skipped


def said(entries: tuple[Iteration, ...]) -> dict[str, Any]:
    """Iterations as the facts of a snapshot."""
    return {"history": [asdict(entry) for entry in entries]}
