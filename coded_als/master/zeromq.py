"""A `Cluster` of processes that talk over ZeroMQ, wherever they run.

The master never waits for one worker in particular: it sends without blocking, gives each worker credit for
two open tasks, and a worker without credit is a straggler like any other. A stored array has a version, and
only a worker that holds the newest version of every operand is asked.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from coded_als.cluster import Observer, Responses, Round, Status, StoppingRule, TaskEvent
from coded_als.delays import DelayModel, DelayStream
from coded_als.errors import UsageError, WorkerFailed
from coded_als.kernels import KERNELS, Array
from coded_als.master.crew import Crew
from coded_als.master.link import Link
from coded_als.master.member import Member, Task
from coded_als.master.running import RunningRound
from coded_als.master.stores import Stores, require_one_each
from coded_als.wire import Kind, Message

# Nothing depends on it: only a wait without end would hide Ctrl-C on some systems.
LOOK_AGAIN_S = 1.0


class ZmqCluster:
    """W workers behind one ROUTER socket.

    Arrays handed to `store` and `run` must not be modified afterwards: large ones are sent from where they are.

    Parameters
    ----------
    link
        The bound socket; whoever makes the cluster closes it by `_end_with`.
    job
        Secret that admits workers.
    workers
        Number of workers W.
    delays
        Seconds that workers wait before they work.
    """

    virtual = False

    def __init__(self, link: Link, job: bytes, workers: int, delays: DelayStream) -> None:
        self.size = workers
        self.observers: list[Observer] = []
        self._job = job
        self._delays = delays
        self._crew = Crew(link, job, workers, weakref.proxy(self))  # a cycle would keep forgotten clusters
        self._stores = Stores(self._crew, job)
        self._round_index = 0
        self._current: RunningRound | None = None
        self._closed = False
        self._finalizer: weakref.finalize[..., ZmqCluster] | None = None
        self._started = time.perf_counter()

    @property
    def malformed(self) -> int:
        """Messages that were dropped because they were none of this cluster's."""
        return self._crew.malformed

    @property
    def process_ids(self) -> dict[int, int]:
        """Process id of each worker that has joined, on its own machine."""
        return {worker: member.process_id for worker, member in sorted(self._crew.members.items())}

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def store(self, name: str, shares: Iterable[Array]) -> None:
        """Give each worker one array to keep.

        Parameters
        ----------
        name
            What rounds call it.
        shares
            One array for each worker, consumed one at a time and no faster than they are received.

        Raises
        ------
        UsageError
            When there are not exactly W shares.
        """
        self._require_open()
        self._stores.give_out(name, shares, self.size)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        """Run one round; return at the response that satisfies ``until``.

        Raises
        ------
        NotEnoughWorkers, DecodingError
            As soon as the workers that can still answer do not suffice.
        WorkerFailed
            When a kernel raised, or returned arrays of other shapes than the round says.
        UsageError
            When the round names an unknown kernel or array, or has a wrong number of payloads.
        """
        self._require_open()
        self._check(round)
        while self._crew.step(0.0):  # answers and losses since the last round
            pass
        started = self.seconds()
        current = self._begin(round, until)
        self._current = current
        try:
            current.require_satisfiable(self._crew.alive)
            for member in self._crew.alive:
                self._ask(member, current)
            while not current.done:
                self._crew.step(LOOK_AGAIN_S)
            elapsed_s = self.seconds() - started
        finally:
            self._current = None
            self._settle(current)
        return Responses(tuple(current.results), current.results, elapsed_s)

    def close(self) -> None:
        """Let go of the workers at once, stragglers included; more than once is harmless."""
        if self._closed:
            return
        self._closed = True
        for member in self._crew.members.values():
            for task in member.open_tasks.values():
                self._record(task, "unfinished")
        if self._finalizer is not None:
            self._finalizer()

    def _end_with(self, end: Callable[..., None], *resources: object) -> None:
        """Set what closing runs; it also runs when the cluster is forgotten or the interpreter ends."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _in_process, os.getpid(), end, *resources)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- one round --------------------------------------------------------------------------------

    def _check(self, round: Round) -> None:
        if round.kernel not in KERNELS:
            raise UsageError(f"kernel must be one of {', '.join(KERNELS)}; got {round.kernel!r}. Correct the round.")
        if round.payloads is not None:
            require_one_each("payload", self.size, len(round.payloads))
        if len(round.keep) > min(map(len, round.payloads or [()])):
            raise UsageError(f"keep must name arrays of the payload; got {round.keep}. Pass as many arrays as names.")
        unknown = set(round.operands) - set(round.keep) - self._stores.newest.keys()
        if unknown:
            raise UsageError(f"operands must be stored before they are used; got {sorted(unknown)}. Call store first.")

    def _begin(self, round: Round, until: StoppingRule) -> RunningRound:
        keep = tuple(map(self._stores.new_version, round.keep))
        operands = tuple((name, self._stores.newest[name]) for name in round.operands)
        delays_s = [float(delay_s) for delay_s in self._delays.next_round(round.operations)]
        current = RunningRound(round, until, self._round_index, operands, keep, delays_s)
        current.able.update(member.worker for member in self._crew.alive if current.can_serve(member))
        self._round_index += 1
        return current

    def _ask(self, member: Member, current: RunningRound, attempt: int = 0) -> None:
        """Send a worker its part, or note that it has to do without."""
        worker = member.worker
        task = Task(current.index, current.round.label, worker, None, attempt)
        if worker not in current.able or not member.has_credit:
            # its operands are stale or it is behind: no task for now, but what the round makes workers keep
            # still reaches it, so that it can serve in the rounds that follow
            current.waiting[worker] = task
            for stamp, array in zip(current.keep, current.payload(worker), strict=False):
                self._stores.send(member, stamp, array)
        else:
            current.waiting.pop(worker, None)
            task.sent_s = self.seconds()
            member.open_tasks[current.index] = task
            if self._crew.send(member, current.message(self._job, task), current.payload_frames(worker)):
                member.held.update(current.keep)

    def _settle(self, current: RunningRound) -> None:
        """Write the events of the tasks that ended with their round."""
        for task in current.waiting.values():
            self._record(task, "unsent")
        for task in current.lost.values():
            self._record(task, "lost")

    # -- what the crew tells ----------------------------------------------------------------------

    def heard(self, member: Member, message: Message) -> None:
        """A worker says what became of a store or of a task."""
        if message.kind is Kind.STORED:
            member.open_stores.pop(message.round_index, None)
            return
        task = member.open_tasks.get(message.round_index)
        if task is None or task.attempt != message.attempt:
            return  # of a task that was given up for lost
        del member.open_tasks[message.round_index]
        current = self._current
        if current is not None and message.round_index == current.index:
            self._heard_now(member, task, message, current)
            return
        superseded = message.kind in (Kind.SUPERSEDED, Kind.REFUSED)
        self._record(task, "superseded" if superseded else "late", message)
        if current is not None and member.worker in current.able and member.worker in current.waiting:
            self._ask(member, current)

    def lost(self, members: Sequence[Member]) -> None:
        """Workers, or what was under way to them, are gone."""
        current = self._current
        for member in members:
            for task in member.open_tasks.values():
                if current is not None and task.round_index == current.index:
                    current.lost[member.worker] = task  # it may come back within the round
                else:
                    self._record(task, "lost")
            member.open_tasks.clear()
        if current is not None:
            current.require_satisfiable(self._crew.alive)

    def joined(self, member: Member) -> None:
        """A worker is there, for the first time or again: ask it once more for what it has not answered."""
        current = self._current
        if current is None or member.worker in current.results:
            return
        if not current.can_serve(member):
            current.able.discard(member.worker)
        lost = current.lost.pop(member.worker, None)
        self._ask(member, current, 0 if lost is None else lost.attempt + 1)

    def _heard_now(self, member: Member, task: Task, message: Message, current: RunningRound) -> None:
        """A worker says what became of its part of the round that is running."""
        worker, round = member.worker, current.round
        if message.kind is Kind.RESULT:
            self._record(task, "answered", message)
            shapes = tuple(array.shape for array in message.arrays)
            if shapes != round.response_shapes:
                raise WorkerFailed(
                    f"a response to {round.kernel!r} must have the shapes {round.response_shapes}; "
                    f"worker {worker} sent {shapes}. Correct the round."
                )
            current.results[worker] = message.arrays
            current.done = current.until.satisfied(tuple(current.results))
        elif message.kind is Kind.ERROR:
            self._record(task, "lost", message)
            raise WorkerFailed(
                f"kernels must not raise; worker {worker} failed in {round.kernel!r}: {message.text}. Correct the round."
            )
        else:  # refused: what the worker was thought to hold got lost under way
            self._record(task, "lost", message)
            member.held.clear()
            current.able.discard(worker)
            current.require_satisfiable(self._crew.alive)

    def _record(self, task: Task, status: Status, message: Message | None = None) -> None:
        """Tell the observers what became of a task."""
        if not self.observers:
            return
        received_s, waited_s, computed_s = None, 0.0, 0.0
        if message is not None:
            received_s, waited_s, computed_s = self.seconds(), message.waited_s, message.computed_s
        event = TaskEvent(
            task.round_index, task.label, task.worker, status, task.sent_s, received_s, waited_s, computed_s
        )
        for observer in self.observers:
            observer(event)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("a cluster must be open; this one is closed. Start a new one.")


def _in_process(owner: int, end: Callable[..., None], *resources: object) -> None:
    """Run ``end`` unless this process is a forked copy of the cluster's, which has no say."""
    if os.getpid() == owner:
        end(*resources)


def delay_stream(workers: int, delays: str | DelayModel, seed: int) -> DelayStream:
    """The delays of a cluster; `UsageError` for parameters out of range, before anything is started."""
    if workers < 1:
        raise UsageError(f"workers must be at least 1; got {workers}. Add workers.")
    return DelayStream(delays, workers, seed)
