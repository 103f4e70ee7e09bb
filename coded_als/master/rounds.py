"""The course of rounds: who is asked, whose responses count, and what becomes of every task."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence

from coded_als.cluster import Round, Status, StoppingRule, spared, verdict
from coded_als.errors import UsageError, WorkerFailed
from coded_als.kernels import PANEL_OPERATIONS
from coded_als.master.collector import CollectorPutOff
from coded_als.master.events import Events
from coded_als.master.membership import ASK_AFTER_S, Listener, MasterClock, Membership
from coded_als.master.payloads import Payloads
from coded_als.master.running import RunningRound, Stage
from coded_als.master.stores import Stores
from coded_als.master.timeouts import timed_out
from coded_als.master.workers import Assignment, WorkerState
from coded_als.wire import (
    Absent,
    Acknowledged,
    Cancel,
    Failure,
    FromWorker,
    Refused,
    Reply,
    Response,
    Superseded,
    encode,
)

log = logging.getLogger(__name__)

# Times that a worker is given anew, within a round, what it says it does not hold.
MOST_REFUSALS = 2
# Half a panel: for less work than that no worker is told that its response is no longer needed.
WORTH_CANCELLING = PANEL_OPERATIONS / 2


class Rounds(Listener):
    """Carries out one round at a time, and listens to the workers at all times.

    Parameters
    ----------
    membership
        The workers.
    stores
        What they should hold.
    events
        Where the fate of every task is noted.
    job
        Secret of the cluster.
    return_within_s
        How long a worker that was lost may be waited for where a round cannot end without it.
    clock
        As the membership's.
    """

    def __init__(
        self,
        membership: Membership,
        stores: Stores,
        events: Events,
        job: bytes,
        return_within_s: float,
        clock: MasterClock,
    ) -> None:
        self._membership, self._stores, self._events = membership, stores, events
        self._job, self._return_within_s, self._clock = job, return_within_s, clock
        # a worker that comes from an earlier master of the same keys may still respond to that one's tasks
        self._first_attempt = secrets.randbelow(2**31)
        self._round_index = 0
        self._current: RunningRound | None = None
        membership.listener = self

    def carry_out(self, round: Round, until: StoppingRule, timeout_s: float, delays_s: Sequence[float]) -> RunningRound:
        """Run one round to the response that satisfies ``until``.

        Parameters
        ----------
        round
            What the workers are asked.
        until
            Says from the workers that have responded whether the round may end.
        timeout_s
            How long it may take.
        delays_s
            Seconds that each worker waits before it works.
        """
        current = self._current = self._begin(round, until, delays_s)
        ends_s = self._clock() + timeout_s
        try:
            with CollectorPutOff() as collector:
                self._require_satisfiable(current)
                for worker in self._membership.alive:
                    self._ask(worker, current)
                while not current.done:
                    remaining_s = ends_s - self._clock()
                    if remaining_s <= 0:
                        raise timed_out(current, self._membership.alive, timeout_s, self._clock())
                    self._membership.step(min(remaining_s, ASK_AFTER_S / 2))
                    self._membership.look_after()
                    if current.hopes:
                        self._require_satisfiable(current)
                    self._events.deliver()
                    collector.look()
                current.ended_s = self._events.seconds()
        finally:
            self._current = None
            self._settle(current)
        return current

    def give_up(self) -> None:
        """Note that what is open will stay so."""
        for worker in self._membership.workers.values():
            for task in worker.open_tasks.values():
                self._events.record(task, "unfinished")

    def _begin(self, round: Round, until: StoppingRule, delays_s: Sequence[float]) -> RunningRound:
        keep = tuple(map(self._stores.new_version, round.keep))
        operands = tuple((name, self._stores.newest[name]) for name in round.operands)
        payloads = Payloads(round, self._membership.memory)
        current = RunningRound(round, until, self._round_index, operands, keep, delays_s, payloads, self._first_attempt)
        for worker in self._membership.alive:
            self._place(worker, current)
        self._round_index += 1
        return current

    def _ask(self, worker: WorkerState, current: RunningRound) -> None:
        """Send a worker its part, if it is ready for it and has credit."""
        if current.is_over(worker.id):
            return
        if worker.untidy and worker.has_credit:
            self._stores.retain(worker)  # by which it may be found to be lost
        if current.stage(worker.id) is not Stage.READY or not worker.has_credit:
            # its operands are stale or it is behind: no task for now, but what the round makes workers keep
            # still reaches it, so that it can serve in the rounds that follow
            for stamp, array in zip(current.keep, current.payloads.of(worker.id), strict=False):
                self._stores.send(worker, stamp, array)
            return
        frames = encode(current.message(self._job, worker.id), current.payloads.packed(worker))
        worker.open_tasks[current.index] = current.ask(worker.id, self._events.seconds())
        if self._membership.send(worker, frames):
            worker.held.update(current.keep)

    def _require_satisfiable(self, current: RunningRound) -> None:
        """Raise as soon as not even all that can still respond, or may soon be back to do so, would do."""
        can_return = self._stores.can_restore(current.needed)
        lost = self._membership.lost_within(self._return_within_s) if can_return else ()
        current.require_satisfiable(worker.id for worker in lost if current.delays_s[worker.id] < float("inf"))

    def _settle(self, current: RunningRound) -> None:
        """Note the tasks that ended with their round."""
        self._cancel((worker.id for worker in self._membership.alive), current)
        for task, status in current.unsettled():
            self._events.record(task, status)

    def _cancel(self, workers: Iterable[int], current: RunningRound) -> None:
        """Let workers drop their part, where that spares them enough: they may share cores with those who are needed."""
        if current.round.operations < WORTH_CANCELLING:
            return
        for number in workers:
            worker = self._membership.workers.get(number)
            task = worker.open_tasks.get(current.index) if worker is not None else None
            if worker is not None and task is not None and current.stage(number) is Stage.ASKED:
                current.cancel(number)
                self._membership.send(worker, encode(Cancel(self._job, number, current.index, task.attempt)))

    def heard(self, worker: WorkerState, message: FromWorker) -> None:
        """A worker says what became of a store or of a task.

        Parameters
        ----------
        worker
            The worker.
        message
            Its message.
        """
        match message:
            case Acknowledged():
                self._stores.acknowledged(worker, message.version)
                self._take_in(worker)
            case Absent():
                self._absent(worker, message)
            case Reply():
                self._heard_of_task(worker, message)

    def _absent(self, worker: WorkerState, message: Absent) -> None:
        """A worker finds no part where it was to load one."""
        self._stores.acknowledged(worker, message.version)
        # a part that is no longer needed may be deleted before a straggler has looked for it
        if self._stores.is_newest(message.version):
            raise WorkerFailed(
                f"what was put on a worker's machine must stay there; worker {worker.id} says: {message.reason}. Fit again."
            )
        self._take_in(worker)

    def _heard_of_task(self, worker: WorkerState, reply: Reply) -> None:
        """A worker says what became of a task of the round that is running, or of an earlier one."""
        task = worker.open_tasks.get(reply.round_index)
        if task is None or task.attempt != reply.attempt:
            return  # of a task that was given up for lost
        del worker.open_tasks[reply.round_index]
        current = self._current
        if current is not None and reply.round_index == current.index:
            self._heard_now(worker, task, reply, current)
            return
        superseded = isinstance(reply, Superseded | Refused)
        self._events.record(task, "superseded" if superseded else "late", reply)
        if current is not None and current.stage(worker.id) is Stage.READY:
            self._ask(worker, current)

    def lost(self, workers: Sequence[WorkerState]) -> None:
        """Workers, or what was under way to them, are gone."""
        current = self._current
        for worker in workers:
            self._events.note(worker, "lost")
            for task in worker.open_tasks.values():
                if current is None or task.round_index != current.index:
                    self._events.record(task, "lost")
            worker.open_tasks.clear()
            if current is not None:
                current.lose(worker.id)  # it may come back within the round
        # a worker that has introduced itself again joins at once
        if current is not None and not all(worker.alive for worker in workers):
            self._require_satisfiable(current)

    def joined(self, worker: WorkerState) -> None:
        """A worker is there, for the first time or again: ask it once more for what it has not responded to."""
        self._events.note(worker, "joined")
        self._stores.retain(worker)
        self._stores.restore(worker)
        current = self._current
        if current is not None and not current.is_over(worker.id):
            self._place(worker, current)
            self._ask(worker, current)
            self._require_satisfiable(current)

    def silent(self, worker: WorkerState) -> None:
        """Nothing is heard of a worker, or it is heard again: for whoever looks after the workers."""
        self._events.note(worker, "silent" if worker.silent else "heard")

    def _place(self, worker: WorkerState, current: RunningRound) -> None:
        """See whether a worker can serve now, or once it has been given what it lacks, or not at all."""
        if current.is_over(worker.id):
            return
        if not current.can_serve(worker):
            self._stores.restore(worker)
        current.place(worker, self._stores.can_restore(stamp for stamp in current.needed if not worker.holds([stamp])))

    def _take_in(self, worker: WorkerState) -> None:
        """Ask a worker that has now been given what it needs."""
        current = self._current
        if current is not None and current.stage(worker.id) is Stage.COMING and current.can_serve(worker):
            current.place(worker, is_given=True)
            self._ask(worker, current)

    def _heard_now(self, worker: WorkerState, task: Assignment, reply: Reply, current: RunningRound) -> None:
        """A worker says what became of its part of the round that is running."""
        match reply:
            case Response():
                self._take(worker, task, reply, current)
            case Superseded():
                self._events.record(task, "superseded", reply)
                current.drop(worker.id)
                self._require_satisfiable(current)
            case Failure():
                self._failed(worker, task, reply, current)
            case Refused():
                self._refused(worker, task, current)

    def _failed(self, worker: WorkerState, task: Assignment, reply: Failure, current: RunningRound) -> None:
        """A worker says that the kernel raised."""
        if current.round.check is None:
            self._events.record(task, "lost", reply)
            raise WorkerFailed(_why_failed(worker.id, current.round.kernel, reply.reason))
        # it may well be lying: if it is not, the others will say the same
        log.warning("worker %d failed in %r: %s", worker.id, current.round.kernel, reply.reason)
        self._events.record(task, "corrupt", reply)
        self._leave_out(worker, "corrupt", current)

    def _refused(self, worker: WorkerState, task: Assignment, current: RunningRound) -> None:
        """A worker lacks operands that it was thought to hold: they were lost under way."""
        worker.held.clear()
        current.lose(worker.id)  # until it has been given what it lacks
        if task.attempt - self._first_attempt < MOST_REFUSALS:
            self._place(worker, current)
        if current.stage(worker.id) is Stage.READY:
            self._ask(worker, current)
        self._require_satisfiable(current)

    def _take(self, worker: WorkerState, task: Assignment, reply: Response, current: RunningRound) -> None:
        """A response counts if it has the right shapes and passes the gate."""
        shapes, wanted = tuple(array.shape for array in reply.arrays), current.round.response_shapes
        if shapes == wanted and all(array.dtype == current.round.dtype for array in reply.arrays):
            status = verdict(current.round, worker.id, reply.arrays)
        elif current.round.check is not None:
            status = "corrupt"
        else:
            self._events.record(task, "refused", reply)
            raise WorkerFailed(
                f"a response to {current.round.kernel!r} must be {current.round.dtype} of the shapes {wanted}; "
                f"worker {worker.id} sent {shapes}. Correct the round."
            )
        self._events.record(task, status, reply)
        if status == "counted":
            current.take(worker.id, reply.arrays)
            self._cancel(spared(current.until, current.results), current)
        else:
            self._leave_out(worker, status, current)

    def _leave_out(self, worker: WorkerState, why: Status, current: RunningRound) -> None:
        current.leave_out(worker.id, why)
        self._require_satisfiable(current)


def _why_failed(worker: int, kernel: str, text: str) -> str:
    """The message of a worker's exception; one that a user can mend says itself how."""
    kind, _, reason = text.partition(": ")
    if kind == UsageError.__name__:
        return f"worker {worker} cannot compute {kernel!r}: {reason}"
    return f"kernels must not raise; worker {worker} failed in {kernel!r}: {text}. Correct the round."
