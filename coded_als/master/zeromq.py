"""A `Cluster` of processes that talk over ZeroMQ, wherever they run.

The master never waits for one worker in particular: it sends without blocking, gives each worker credit for
two open tasks, and a worker without credit is a straggler like any other. A stored array has a version, and
only a worker that holds the newest version of every operand is asked.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import zmq

from coded_als.cluster import (
    Array,
    Observer,
    Responses,
    Round,
    Status,
    StoppingRule,
    TaskEvent,
    require_satisfiable,
)
from coded_als.delays import DelayStream
from coded_als.errors import UsageError, WorkerFailed
from coded_als.kernels import KERNELS
from coded_als.master.crew import Crew
from coded_als.master.link import Link
from coded_als.master.member import MOST_OPEN_STORES, Member, Task
from coded_als.wire import Kind, Message, Stamp, frames_of

# `store` goes on while fewer shares or fewer bytes than these are without an acknowledgement ...
OPEN_SHARES, OPEN_BYTES = 4, 64 << 20
# ... or when nothing was acknowledged for a while, at a bandwidth that any network has.
STORE_GRACE_S, SLOWEST_BYTES_PER_S = 2.0, 10e6
# Nothing depends on it: only a wait without end would hide Ctrl-C on some systems.
LOOK_AGAIN_S = 1.0


@dataclass
class _Current:
    """The round that is running."""

    round: Round
    until: StoppingRule
    index: int
    operands: tuple[Stamp, ...]
    stored_operands: tuple[Stamp, ...]
    keep: tuple[Stamp, ...]
    delays_s: list[float]
    able: set[int]
    waiting: dict[int, Task] = field(default_factory=dict)
    lost: dict[int, Task] = field(default_factory=dict)
    results: dict[int, tuple[Array, ...]] = field(default_factory=dict)
    done: bool = False
    frames: list[zmq.Frame] = field(default_factory=list)
    framed: tuple[Array, ...] = ()

    def payload(self, worker: int) -> tuple[Array, ...]:
        return self.round.payloads[worker] if self.round.payloads is not None else ()

    def payload_frames(self, worker: int) -> list[zmq.Frame]:
        """Frames of a worker's payload; a tuple that is repeated is framed once."""
        payload = self.payload(worker)
        if payload is not self.framed:
            self.framed, self.frames = payload, frames_of(payload)
        return self.frames


class ZmqCluster:
    """W workers behind one ROUTER socket.

    Arrays handed to `store` and `run` must not be modified afterwards: large ones are sent from where they are.

    Parameters
    ----------
    link
        The bound socket; closed with the cluster.
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
        self._link = link
        self._job = job
        self._delays = delays
        self._crew = Crew(link, job, workers, weakref.proxy(self))  # a cycle would keep forgotten clusters
        self._newest: dict[str, int] = {}
        self._versions = 0
        self._round_index = 0
        self._current: _Current | None = None
        self._closed = False
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
        stamp = self._new_version(name)
        given = 0
        for share in shares:
            if given == self.size:
                _require_one_each("share", self.size, "more")
            member = self._crew.members[given]
            if member.alive:
                self._store_share(member, stamp, share)
                self._await_acknowledgements()
            given += 1
        _require_one_each("share", self.size, given)

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
            self._require_satisfiable(current)
            for member in self._crew.alive:
                self._ask(member, current)
            while not current.done:
                self._crew.step(LOOK_AGAIN_S)
        finally:
            self._current = None
            self._settle(current)
        return Responses(tuple(current.results), current.results, self.seconds() - started)

    def close(self) -> None:
        """Let go of the workers at once, stragglers included; more than once is harmless."""
        if self._closed:
            return
        self._closed = True
        for member in self._crew.members.values():
            for task in member.open_tasks.values():
                self._record(task, "unfinished")
        self._release()

    def _release(self) -> None:
        """Give back sockets and processes."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- one round --------------------------------------------------------------------------------

    def _check(self, round: Round) -> None:
        if round.kernel not in KERNELS:
            raise UsageError(f"kernel must be one of {', '.join(KERNELS)}; got {round.kernel!r}. Correct the round.")
        if round.payloads is not None:
            _require_one_each("payload", self.size, len(round.payloads))
        unknown = set(round.operands) - set(round.keep) - self._newest.keys()
        if unknown:
            raise UsageError(f"operands must be stored before they are used; got {sorted(unknown)}. Call store first.")

    def _begin(self, round: Round, until: StoppingRule) -> _Current:
        keep = tuple(map(self._new_version, round.keep))
        operands = tuple((name, self._newest[name]) for name in round.operands)
        stored = tuple(stamp for stamp in operands if stamp not in keep)
        able = {member.worker for member in self._crew.alive if member.holds(stored)}
        delays_s = [float(delay_s) for delay_s in self._delays.next_round(round.operations)]
        index = self._round_index
        self._round_index += 1
        return _Current(round, until, index, operands, stored, keep, delays_s, able)

    def _ask(self, member: Member, current: _Current, attempt: int = 0) -> None:
        """Send a worker its part, or note that it has to do without."""
        worker = member.worker
        task = Task(current.index, current.round.label, worker, None, attempt)
        if worker not in current.able:
            # its operands are stale: no task, but what the round makes workers keep still reaches it
            current.waiting[worker] = task
            for stamp, array in zip(current.keep, current.payload(worker), strict=False):
                self._store_share(member, stamp, array)
            return
        if not member.has_credit:
            current.waiting[worker] = task
            return
        message = Message(
            Kind.TASK,
            self._job,
            worker,
            current.index,
            attempt,
            current.round.kernel,
            current.operands,
            current.keep,
            current.delays_s[worker],
            arrays=current.payload(worker),
        )
        current.waiting.pop(worker, None)
        task.sent_s = self.seconds()
        member.open_tasks[current.index] = task
        if self._crew.send(member, message, current.payload_frames(worker)):
            member.held.update(current.keep)

    def _require_satisfiable(self, current: _Current) -> None:
        """Raise as soon as not even all that can still answer would do."""
        still = (
            worker
            for worker in sorted(member.worker for member in self._crew.alive)
            if worker in current.able and worker not in current.results and current.delays_s[worker] < float("inf")
        )
        require_satisfiable(current.until, (*current.results, *still))

    def _settle(self, current: _Current) -> None:
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

    def lost(self, member: Member) -> None:
        """A worker, or what was under way to it, is gone."""
        current = self._current
        for task in member.open_tasks.values():
            if current is not None and task.round_index == current.index:
                current.lost[member.worker] = task  # it may come back within the round
            else:
                self._record(task, "lost")
        member.open_tasks.clear()
        if current is not None:
            self._require_satisfiable(current)

    def joined(self, member: Member) -> None:
        """A worker is there, for the first time or again: ask it once more for what it has not answered."""
        current = self._current
        if current is None or member.worker in current.results:
            return
        if not member.holds(current.stored_operands):
            current.able.discard(member.worker)
        lost = current.lost.pop(member.worker, None)
        self._ask(member, current, 0 if lost is None else lost.attempt + 1)

    def _heard_now(self, member: Member, task: Task, message: Message, current: _Current) -> None:
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
            self._require_satisfiable(current)

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

    # -- stored arrays ----------------------------------------------------------------------------

    def _new_version(self, name: str) -> Stamp:
        self._versions += 1
        self._newest[name] = self._versions
        return name, self._versions

    def _store_share(self, member: Member, stamp: Stamp, share: Array) -> None:
        """Send one array to keep, unless the worker has left too many without an acknowledgement."""
        if len(member.open_stores) >= MOST_OPEN_STORES:
            return
        share = np.asarray(share, dtype=np.float64)
        member.open_stores[stamp[1]] = share.nbytes
        if self._crew.send(
            member, Message(Kind.STORE, self._job, member.worker, stamp[1], keep=(stamp,), arrays=(share,))
        ):
            member.held.update((stamp,))

    def _await_acknowledgements(self) -> None:
        """Let the workers catch up, but wait only once for those that have stopped."""
        last = None
        while True:
            sizes = [size for member in self._crew.alive for size in member.open_stores.values() if size]
            if len(sizes) <= OPEN_SHARES or sum(sizes) <= OPEN_BYTES:
                return
            now = self.seconds()
            if len(sizes) != last:
                last, patience_ends = len(sizes), now + STORE_GRACE_S + sum(sizes) / SLOWEST_BYTES_PER_S
            if now >= patience_ends:
                for member in self._crew.alive:
                    member.open_stores = dict.fromkeys(member.open_stores, 0)  # no longer waited for
                return
            self._crew.step(patience_ends - now)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("a cluster must be open; this one is closed. Start a new one.")


def _require_one_each(what: str, size: int, got: int | str) -> None:
    if got != size:
        raise UsageError(f"there must be one {what} for each of the {size} workers; got {got}. Pass {size}.")
