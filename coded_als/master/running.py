"""The state of the round that is running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from coded_als.arrays import Array
from coded_als.cluster import Round, Status, StoppingRule, best_there_is, refusal_of
from coded_als.master.payloads import Payloads
from coded_als.master.workers import Task, WorkerState
from coded_als.wire import Kind, Message, Stamp


@dataclass
class RunningRound:
    """A round, and how far it has come.

    Parameters
    ----------
    round, until
        What was asked for.
    index
        Its number.
    operands, keep
        The arrays that it uses and makes, with their versions.
    delays_s
        Seconds that each worker waits; infinite for one that does not respond.
    payloads
        What each is sent.
    able
        The workers that hold the newest versions of the operands.
    coming
        Workers that are being given operands that they lack.
    waiting
        Tasks that were not sent, by worker.
    lost
        Tasks whose worker is gone; it may come back.
    cancelled
        Workers that were told that their response is no longer needed.
    left_out
        Workers whose responses do not count, and why.
    results
        What has arrived, in that order.
    settled_for
        The workers whose responses end the round although they do not satisfy its rule, because nobody else can come.
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
    able: set[int] = field(default_factory=set)
    coming: set[int] = field(default_factory=set)
    waiting: dict[int, Task] = field(default_factory=dict)
    lost: dict[int, Task] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    left_out: dict[int, Status] = field(default_factory=dict)
    results: dict[int, tuple[Array, ...]] = field(default_factory=dict)
    settled_for: frozenset[int] | None = None
    done: bool = False
    hopes: bool = False
    ended_s: float = 0.0

    def can_serve(self, worker: WorkerState) -> bool:
        """Whether a worker holds the operands that the round does not bring along."""
        return worker.holds(stamp for stamp in self.operands if stamp not in self.keep)

    def message(self, job: bytes, task: Task) -> Message:
        """What asks a worker for its part.

        Parameters
        ----------
        job
            Secret of the cluster.
        task
            The part of one worker.
        """
        return Message(
            Kind.TASK,
            job,
            task.worker,
            self.index,
            task.attempt,
            self.round.kernel,
            self.operands,
            self.keep,
            self.delays_s[task.worker],
            arrays=self.payloads.of(task.worker),
        )

    def take(self, worker: int, arrays: tuple[Array, ...]) -> None:
        """Count a response.

        Parameters
        ----------
        worker
            Who responded.
        arrays
            The response.
        """
        self.results[worker] = arrays
        self._look()

    def leave_out(self, worker: int, why: Status) -> None:
        """Leave a worker out of the rest of the round.

        Parameters
        ----------
        worker
            Which.
        why
            What its response was found to be.
        """
        self.left_out[worker] = why
        self.able.discard(worker)
        self.coming.discard(worker)

    def pending(self, alive: Iterable[WorkerState]) -> list[int]:
        """The workers that have not responded but still can."""
        return [
            worker
            for worker in sorted(worker.id for worker in alive)
            if worker in self.able | self.coming and worker not in self.results and self.delays_s[worker] < float("inf")
        ]

    def require_satisfiable(self, alive: Iterable[WorkerState], returning: Iterable[int] = ()) -> None:
        """Raise as soon as not even all that can still respond would do, or settle for these where the rule allows it.

        Parameters
        ----------
        alive
            The workers that can be sent to.
        returning
            Those that are gone and expected back.
        """
        reachable = (*self.results, *self.pending(alive))
        self.hopes, self.settled_for = False, None
        if self.until.satisfied(reachable):
            return
        back = [worker for worker in returning if worker not in self.results and worker not in self.left_out]
        self.hopes = self.until.satisfied((*reachable, *back))
        if self.hopes:
            return
        if not best_there_is(self.until, reachable):
            raise refusal_of(self.until, reachable, self.left_out)
        self.settled_for = frozenset(reachable)
        self._look()

    def _look(self) -> None:
        """See whether the round may end with what has arrived."""
        settled = self.settled_for is not None and self.settled_for.issubset(self.results)
        self.done = settled or self.until.satisfied(tuple(self.results))
