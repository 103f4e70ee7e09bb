"""The iterations of a fit: one record of each, and the one recorder of all fits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, Snapshot, StateOf, arrays_like, digest_of, flushed, record_of
from coded_als.models.factor_model import FactorModel
from coded_als.models.ids import Ids


@dataclass(frozen=True)
class Iteration:
    """One iteration of a fit."""

    index: int  # 1, 2, 3, ..
    # value that the model minimises, regularisation included, where that is cheap; a running estimate for the
    # stochastic models (each names the estimated quantity)
    objective: float
    seconds: float  # seconds that it took, on the wall or, on a cluster, on the cluster's clock


# Called after each iteration with the entry that it adds to history_ (index, objective, seconds and the model's own fields)
# and, where it takes two arguments, with the model as it stands. The fit ends where it returns True. A callback with a
# method ``conclude`` is given the model once more when the fit has ended.
Callback = Callable[..., Any]
Callbacks = Callback | Sequence[Callback]
# Takes an entry and a function that makes the model as it stands; tells whether the fit is to end.
Report = Callable[[Any, Callable[[], FactorModel]], bool]


@contextmanager
def reporting(callback: Callbacks | None, progress: bool, model: Any) -> Iterator[Report]:
    """One function to tell of every iteration, for the length of a fit."""
    told = _each(callback)
    wants = [(one, _takes_model(one)) for one in told]

    def report(entry: Any, standing: Callable[[], FactorModel]) -> bool:
        answers = [one(entry, standing()) if whole else one(entry) for one, whole in wants]
        return any(answer is True for answer in answers)

    if not progress:
        yield report
    else:
        with _bar(type(model).__name__, model.iterations) as draw:
            yield lambda entry, standing: draw(entry) or report(entry, standing)
    for one in told:
        if hasattr(one, "conclude"):
            one.conclude(model)


def _each(callback: Callbacks | None) -> Sequence[Callback]:
    return () if callback is None else (callback,) if callable(callback) else callback


def takes_model(callback: Callbacks | None) -> bool:
    """Whether a callback wants the model as it stands."""
    return any(_takes_model(one) for one in _each(callback))


def _takes_model(callback: Callback) -> bool:
    """Whether a callback has two arguments that must be given: the entry, and the model."""
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):  # some functions of other languages have no signature
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is inspect.Parameter.empty for one in parameters) > 1


@contextmanager
def _bar(name: str, iterations: int) -> Iterator[Callable[[Any], None]]:
    """A progress bar on stderr, or in the notebook, that an entry moves on."""
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
        yield lambda entry: bar.update(task, completed=entry.index, objective=f"objective {entry.objective:.6g}")


# parameters that may differ in a resumed fit: its length, and the means of computation
FREE = ("iterations", "threads")


def resumed(
    checkpoint: Checkpoint | None,
    model: FactorModel,
    matrix: Any,
    free: tuple[str, ...] = FREE,
    also: Mapping[str, Any] | None = None,
) -> Snapshot | None:
    """The snapshot to go on from, if any. ``matrix``: (m, n) the ratings, as `digest_of` takes them."""
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


Taken = TypeVar("Taken")


class FitRecorder:
    """Records the iterations of a fit: tells of each, and hands the state of the fit to its checkpoint.

    ``report``: called with each entry; ``clock``: returns seconds; ``checkpoint``: where the state goes, or None;
    ``snapshot``: the last state of an interrupted run of the same fit, or None; ``kind``: dataclass of the entries;
    ``standing``: returns the model whose factors have just been published, under its ids.
    """

    def __init__(
        self,
        report: Report,
        clock: Callable[[], float],
        checkpoint: Checkpoint | None = None,
        snapshot: Snapshot | None = None,
        kind: type[Iteration] = Iteration,
        standing: Callable[[], FactorModel] | None = None,
    ) -> None:
        self._report, self._clock, self._checkpoint, self._snapshot = report, clock, checkpoint, snapshot
        self._kind, self._standing = kind, standing
        self.ended = False  # by a callback
        self.entries: list[Any] = [] if snapshot is None else iterations_of(snapshot, kind)
        self.start()

    def start(self, seconds: float = 0.0) -> None:
        """The next iteration starts now, or started some seconds ago."""
        self._started = self._clock() - seconds

    @property
    def seconds(self) -> float:
        """Seconds of the running iteration."""
        return self._clock() - self._started

    @property
    def is_kept(self) -> bool:
        """Whether the fit has a checkpoint."""
        return self._checkpoint is not None

    def arrays(self, **fresh: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The arrays to go on with, by name, each of the shape of the fresh one, (rows, d) or the model's own.

        Raises UsageError where the snapshot holds others.
        """
        found = self.go_on(lambda snapshot: arrays_like(snapshot.arrays, **fresh))
        return fresh if found is None else found

    def go_on(self, take: Callable[[Snapshot], Taken]) -> Taken | None:
        """The result of reading the snapshot, if there is one; a failure is reported as damage of the file."""
        if self._snapshot is None:
            return None
        with self._snapshot.being_read():
            return take(self._snapshot)

    def left(self, iterations: int) -> Iterator[int]:
        """The iterations that are still to do, of so many, until a callback ends the fit."""
        for iteration in range(len(self.entries), iterations):
            yield iteration
            if self.ended:
                return

    def note(
        self,
        objective: float,
        arrays: Mapping[str, NDArray[Any]],
        publish: Callable[[], None] | None = None,
        **facts: Any,
    ) -> None:
        """Record the end of an iteration, and the state after it; the arrays are copied where they are kept."""
        self.close(objective, publish)
        if self.is_kept:
            # copies: the next iteration may work in place, and be interrupted
            held = {name: array.copy() for name, array in arrays.items()}
            self.keep(lambda: (held, facts))

    def close(self, objective: float, publish: Callable[[], None] | None = None, **found: Any) -> None:
        """Record the end of an iteration.

        ``publish``: gives the model the factors of this iteration; called where a callback asks for the model.
        ``found``: the further fields of the entry.
        """
        seconds = self.seconds
        self.start()
        self.entries.append(self._kind(len(self.entries) + 1, float(objective), seconds, **found))

        def standing() -> FactorModel:
            assert publish is not None  # without it no callback is told of the fit
            assert self._standing is not None
            publish()
            return self._standing()

        before = self._clock()
        self.ended = self._report(self.entries[-1], standing) or self.ended
        # an evaluation by a callback is no part of the next iteration
        self._started += self._clock() - before

    def keep(self, state: StateOf, *, lasting: bool = True) -> None:
        """Offer the state between two iterations to the checkpoint; ``lasting`` as in `Checkpoint.note`."""
        if self._checkpoint is None:
            return
        entries = tuple(self.entries)

        def whole() -> tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]:
            arrays, facts = state()
            return arrays, {**facts, "history": [asdict(entry) for entry in entries]}

        self._checkpoint.note(len(entries), whole, lasting=lasting)


@contextmanager
def recording(
    model: FactorModel,
    matrix: Any,
    report: Report,
    checkpoint: Checkpoint | None,
    clock: Callable[[], float],
    free: tuple[str, ...] = FREE,
    kind: type[Iteration] = Iteration,
    also: Mapping[str, Any] | None = None,
    ids: tuple[Ids, Ids] | None = None,
) -> Iterator[FitRecorder]:
    """The recorder of a fit that goes on from the checkpoint, if there is one, and keeps its state however it ends.

    ``matrix``: (m, n) the ratings, as `coded_als.models.checkpoint.digest_of` takes them; ``free``: parameters that may
    have changed since the snapshot; ``also``: facts that must be equal besides the parameters; ``ids``: of users and
    items, for callbacks that take the model.

    Raises UsageError as `resumed`.
    """

    def standing() -> FactorModel:
        return model if ids is None else model.set_ids(*ids)

    with flushed(checkpoint):
        snapshot = resumed(checkpoint, model, matrix, free, also)
        yield FitRecorder(report, clock, checkpoint, snapshot, kind, standing)


def set_generator(generator: np.random.Generator, snapshot: Snapshot) -> None:
    """Put a random generator where that of the snapshot was."""
    generator.bit_generator.state = snapshot.facts["generator"]
