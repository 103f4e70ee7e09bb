"""The round that is running: how far each worker has come with its part, and whether the round may end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType

from coded_als.arrays import Array
from coded_als.cluster import Round, Status, StoppingRule, best_there_is, refusal_of
from coded_als.master.payloads import Payloads
from coded_als.master.workers import Assignment, WorkerState
from coded_als.wire import Stamp, Task


class Stage(Enum):
    """How far a worker has come with its part of a round."""

    READY = auto()  # it holds the operands, and is asked once it has credit
    COMING = auto()  # it is being given operands that it lacks
    UNABLE = auto()  # it lacks operands that cannot be given again
    ASKED = auto()  # its task is under way
    CANCELLED = auto()  # it was told that its response is no longer needed
    LOST = auto()  # its connection broke, or its task did not arrive: it may be asked again
    DROPPED = auto()  # it dropped its task
    COUNTED = auto()  # its response counts
    REFUSED = auto()  # its response held NaN or infinity
    CORRUPT = auto()  # its response was found wrong, in this round or before it


_PLACED = {Stage.READY, Stage.COMING, Stage.UNABLE}
_LEFT_OUT: Mapping[Stage, Status] = MappingProxyType({Stage.REFUSED: "refused", Stage.CORRUPT: "corrupt"})
_OVER = {Stage.DROPPED, Stage.COUNTED, *_LEFT_OUT}
_MAY_RESPOND = {Stage.READY, Stage.COMING, Stage.ASKED, Stage.CANCELLED}
# What may follow; nothing follows where a worker's part is over.
_NEXT = {
    Stage.READY: {*_PLACED, Stage.ASKED, Stage.LOST},
    Stage.COMING: {*_PLACED, Stage.LOST},
    Stage.UNABLE: {*_PLACED, Stage.LOST},
    Stage.ASKED: {*_OVER, Stage.CANCELLED, Stage.LOST},
    Stage.CANCELLED: {*_OVER, Stage.LOST},
    Stage.LOST: {*_PLACED, Stage.LOST},
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A worker's part of a round: its stage, and its task as it was last sent (or as it would be)."""

    stage: Stage
    task: Assignment


@dataclass
class RunningRound:
    """A round, and how far it has come.

    Parameters
    ----------
    round, until
        The request, and the rule that ends it.
    index
        Its number.
    operands, keep
        The arrays that it uses and makes, with their versions.
    delays_s
        Seconds that each worker waits; infinite for one that does not respond.
    payloads
        The arrays that each worker is sent.
    settled_for
        The workers whose responses end the round although they do not satisfy its rule, because no other worker can
        respond.
    first_attempt
        Attempt of a task that is sent for the first time.
    done
        Whether the round may end.
    hopes
        Whether the round can end only if workers come back that were lost.
    ended_s
        When it was done, on the cluster's clock.
    """

    round: Round
    until: StoppingRule
    index: int
    operands: tuple[Stamp, ...]
    keep: tuple[Stamp, ...]
    delays_s: Sequence[float]
    payloads: Payloads
    first_attempt: int = 0
    settled_for: frozenset[int] | None = field(default=None, init=False)
    done: bool = field(default=False, init=False)
    hopes: bool = field(default=False, init=False)
    ended_s: float = field(default=0.0, init=False)
    _standings: dict[int, Standing] = field(default_factory=dict, init=False, repr=False)
    _results: dict[int, tuple[Array, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.needed = tuple(stamp for stamp in self.operands if stamp not in self.keep)
        for worker in self.round.excluded:
            self._standings[worker] = Standing(Stage.CORRUPT, self._first_task(worker))

    # -- questions

    @property
    def results(self) -> Mapping[int, tuple[Array, ...]]:
        """The responses that count, by worker, in order of arrival."""
        return self._results

    @property
    def left_out(self) -> dict[int, Status]:
        """The workers whose responses do not count, and why."""
        stages = ((worker, standing.stage) for worker, standing in self._standings.items())
        return {worker: _LEFT_OUT[stage] for worker, stage in stages if stage in _LEFT_OUT}

    def stage(self, worker: int) -> Stage | None:
        """The stage that a worker's part has reached; None while the worker has not joined."""
        standing = self._standings.get(worker)
        return None if standing is None else standing.stage

    def is_over(self, worker: int) -> bool:
        """Whether nothing more can come of a worker's part."""
        return self.stage(worker) in _OVER

    def can_serve(self, worker: WorkerState) -> bool:
        """Whether a worker holds the operands that the round does not bring along."""
        return worker.holds(self.needed)

    def next_attempt(self, worker: int) -> int:
        """The attempt of the task that a worker is sent next: another one where it was sent already."""
        task = self._standings[worker].task
        return task.attempt if task.sent_s is None else task.attempt + 1

    def message(self, job: bytes, worker: int) -> Task:
        """The task that a worker is sent next.

        Parameters
        ----------
        job
            Secret of the cluster.
        worker
            Number of the worker.
        """
        return Task(
            job,
            worker,
            self.index,
            self.next_attempt(worker),
            self.round.kernel,
            self.operands,
            self.keep,
            self.delays_s[worker],
            self.payloads.of(worker),
        )

    def unsettled(self) -> list[tuple[Assignment, Status]]:
        """The tasks that no worker has, once the round is over, and what became of them."""
        tasks = [standing.task for standing in self._standings.values() if standing.stage in {*_PLACED, Stage.LOST}]
        return [(task, "unsent" if task.sent_s is None else "lost") for task in tasks]

    def require_satisfiable(self, returning: Iterable[int] = ()) -> None:
        """Raise as soon as not even all that can still respond would do, or settle for these where the rule allows it.

        Parameters
        ----------
        returning
            The workers that are gone and expected back.
        """
        pending = (worker for worker in sorted(self._standings) if self._may_respond(worker))
        reachable = (*self._results, *pending)
        self.hopes, self.settled_for = False, None
        if self.until.satisfied(reachable):
            return
        back = (worker for worker in returning if not self.is_over(worker))
        self.hopes = self.until.satisfied((*reachable, *back))
        if self.hopes:
            return
        if not best_there_is(self.until, reachable):
            raise refusal_of(self.until, reachable, self.left_out)
        self.settled_for = frozenset(reachable)
        self._look()

    def _look(self) -> None:
        """See whether the round may end with what has arrived."""
        settled = self.settled_for is not None and self.settled_for.issubset(self._results)
        self.done = settled or self.until.satisfied(tuple(self._results))

    def _may_respond(self, worker: int) -> bool:
        return self._standings[worker].stage in _MAY_RESPOND and self.delays_s[worker] < float("inf")

    # -- transitions

    def place(self, worker: WorkerState, is_given: bool) -> None:
        """See whether a worker can serve now, or once it has been given what it lacks, or not at all.

        Parameters
        ----------
        worker
            A worker that has joined, and whose part is not over.
        is_given
            Whether operands that it lacks are given to it.
        """
        if not worker.alive:
            stage = Stage.LOST
        elif self.can_serve(worker):
            stage = Stage.READY
        else:
            stage = Stage.COMING if is_given else Stage.UNABLE
        if worker.id not in self._standings:
            self._standings[worker.id] = Standing(Stage.LOST, self._first_task(worker.id))
        self._move(worker.id, stage)

    def ask(self, worker: int, sent_s: float) -> Assignment:
        """Note that a worker's task is sent; the task.

        Parameters
        ----------
        worker
            Number of a worker that is ready.
        sent_s
            Now, on the cluster's clock.
        """
        task = replace(self._standings[worker].task, attempt=self.next_attempt(worker), sent_s=sent_s)
        self._move(worker, Stage.ASKED, task)
        return task

    def cancel(self, worker: int) -> None:
        """Note that a worker is told that its response is no longer needed."""
        self._move(worker, Stage.CANCELLED)

    def lose(self, worker: int) -> None:
        """Note that a worker is gone, or that it has not got its task, unless its part is over."""
        if worker in self._standings and not self.is_over(worker):
            self._move(worker, Stage.LOST)

    def drop(self, worker: int) -> None:
        """Note that a worker has dropped its task."""
        self._move(worker, Stage.DROPPED)

    def take(self, worker: int, arrays: tuple[Array, ...]) -> None:
        """Count a response.

        Parameters
        ----------
        worker
            Number of the worker that responded.
        arrays
            The response.
        """
        self._move(worker, Stage.COUNTED)
        self._results[worker] = arrays
        self._look()

    def leave_out(self, worker: int, why: Status) -> None:
        """Leave a worker out of the rest of the round.

        Parameters
        ----------
        worker
            Number of the worker.
        why
            ``"refused"`` or ``"corrupt"``.
        """
        self._move(worker, Stage.REFUSED if why == "refused" else Stage.CORRUPT)

    def _move(self, worker: int, stage: Stage, task: Assignment | None = None) -> None:
        standing = self._standings[worker]
        if stage not in _NEXT.get(standing.stage, ()):
            raise RuntimeError(f"the part of worker {worker} must not go from {standing.stage} to {stage}.")
        self._standings[worker] = Standing(stage, task or standing.task)

    def _first_task(self, worker: int) -> Assignment:
        return Assignment(self.index, self.round.label, worker, None, self.first_attempt)
