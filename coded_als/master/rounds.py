"""The course of rounds: the workers that a round asks, the responses that count, and the fate of every task."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType

import numpy as np

from coded_als.arrays import Array, Shape
from coded_als.checks import all_finite
from coded_als.cluster import Round, Status, StoppingRule, best_there_is, refusal_of, spared, verdict
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.delays import Disturbance
from coded_als.errors import RoundTimeout, UsageError, WorkerFailed
from coded_als.kernels import PANEL_OPERATIONS
from coded_als.master.events import Events
from coded_als.master.guards import CollectorPutOff
from coded_als.master.membership import (
    ASK_AFTER_S,
    SILENT_AFTER_S,
    Assignment,
    Listener,
    MasterClock,
    Membership,
    WorkerState,
    workers_in_words,
)
from coded_als.master.stores import Stores
from coded_als.wire import (
    Absent,
    Acknowledged,
    Answer,
    Ask,
    Cancel,
    Failure,
    FromWorker,
    Packed,
    Refused,
    Reply,
    Response,
    SharedMemory,
    Stamp,
    Superseded,
    Task,
    Word,
    encode,
    packed,
)


def timed_out(current: RunningRound, alive: Iterable[WorkerState], timeout_s: float, now: float) -> RoundTimeout:
    """The error to raise when a round has taken its time."""
    since_s = {worker.id: now - worker.heard_s for worker in alive if not current.is_over(worker.id)}
    # asked often enough, a worker that is at work has said so during the round
    most_s = min(timeout_s, ASK_AFTER_S + SILENT_AFTER_S)
    silent_s = {worker: seconds for worker, seconds in since_s.items() if seconds >= most_s}
    at_work = sorted(since_s.keys() - silent_s.keys())
    responded = sorted(current.responded)
    return RoundTimeout(current.round.label, timeout_s, current.until.needed, responded, silent_s, at_work)


class Payloads:
    """The arrays for each worker in one round; a tuple that is repeated is packed once.

    The arrays that the workers are to keep go in frames: the next round overwrites the memory.

    ``round``: the round with these payloads; ``memory``: memory that some workers share with this process.
    """

    def __init__(self, round: Round, memory: SharedMemory | None) -> None:
        self._payloads, self._dtype = round.payloads, round.dtype
        self._memory = None if round.keep else memory
        if self._memory is not None:
            self._memory.clear()
        # the last tuple and how it travels, with and without shared memory
        self._last: dict[bool, tuple[tuple[Array, ...], Packed]] = {}

    def of(self, worker: int) -> tuple[Array, ...]:
        """The arrays for one worker, (planes, rows, columns) each."""
        return self._payloads[worker] if self._payloads is not None else ()

    def packed(self, worker: WorkerState) -> Packed:
        """The same, ready to be sent."""
        payload, memory = self.of(worker.id), self._memory
        if memory is not None and worker.memory != memory.name:
            memory = None
        last = self._last.get(memory is not None)
        if last is None or last[0] is not payload:
            last = self._last[memory is not None] = payload, packed(payload, memory, self._dtype)
        return last[1]


class Stage(Enum):
    """How far a worker has come with its part of a round."""

    READY = auto()  # it holds the operands, and is asked once it has credit
    COMING = auto()  # it is being given operands that it lacks
    UNABLE = auto()  # it lacks operands that cannot be given again
    ASKED = auto()  # its task is under way
    CANCELLED = auto()  # it was told that its response is no longer needed
    LOST = auto()  # its connection broke, or its task did not arrive: it may be asked again
    DROPPED = auto()  # it dropped its task
    COUNTED = auto()  # its response counts, all pieces of it
    REFUSED = auto()  # its response held NaN or infinity
    CORRUPT = auto()  # its response was found wrong, in this round or before it


_PLACED = {Stage.READY, Stage.COMING, Stage.UNABLE}
_LEFT_OUT: Mapping[Stage, Status] = MappingProxyType({Stage.REFUSED: "refused", Stage.CORRUPT: "corrupt"})
_OVER = {Stage.DROPPED, Stage.COUNTED, *_LEFT_OUT}
_MAY_RESPOND = {Stage.READY, Stage.COMING, Stage.ASKED, Stage.CANCELLED}
# The stages that may follow; nothing follows where a worker's part is over.
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


@dataclass(frozen=True)
class Answers:
    """The pieces that came of one attempt of a worker."""

    # the attempt, and how many came
    attempt: int
    pieces: int
    rows: tuple[Array, ...]  # their rows, (planes, rows, columns) of each answer
    # the last answer, and when it was there on the cluster's clock
    last: Answer
    heard_s: float


@dataclass
class RunningRound:
    """A round, and how far it has come."""

    # the request, and the rule that ends it
    round: Round
    until: StoppingRule
    index: int  # its number
    # the arrays that it uses and makes, with their versions
    operands: tuple[Stamp, ...]
    keep: tuple[Stamp, ...]
    delays_s: Sequence[float]  # seconds that each worker waits; infinite for one that does not respond
    slowness: Sequence[float]  # how many times as long as usual each worker's work is to take
    payloads: Payloads  # the arrays that each worker is sent
    first_attempt: int = 0  # attempt of a task that is sent for the first time
    # the speeds by which it is decided when to ask the workers of a round in pieces
    machine: Machine = field(default_factory=Machine)
    begun_s: float = 0.0  # when it began, on the master's clock
    # the workers that end the round with their responses although these do not satisfy its rule, because no other
    # worker can respond
    settled_for: frozenset[int] | None = field(default=None, init=False)
    done: bool = field(default=False, init=False)  # whether the round may end
    hopes: bool = field(default=False, init=False)  # whether the round can end only if workers come back that were lost
    ended_s: float = field(default=0.0, init=False)  # when it was done, on the cluster's clock
    refusals: Counter[int] = field(default_factory=Counter, init=False)  # of each worker, for lack of operands
    _standings: dict[int, Standing] = field(default_factory=dict, init=False, repr=False)
    _results: dict[int, tuple[Array, ...]] = field(default_factory=dict, init=False, repr=False)
    # of a round in pieces: the answers of each worker's last attempt, and of the one that counts
    _latest: dict[int, Answers] = field(default_factory=dict, init=False, repr=False)
    _counted: dict[int, Answers] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.in_pieces = self.until if isinstance(self.until, EveryPiece) else None
        sizes = self.round.payload_bytes, self.round.response_bytes
        self.asking = None if self.in_pieces is None else self.in_pieces.policy(self.machine, *sizes)
        if self.asking is not None:
            for worker in np.flatnonzero(np.isinf(self.delays_s)).tolist():
                self.asking.progress.lose(worker)
        self.needed = tuple(stamp for stamp in self.operands if stamp not in self.keep)
        for worker in self.round.excluded:
            self._standings[worker] = Standing(Stage.CORRUPT, self._first_task(worker))

    # -- questions

    @property
    def results(self) -> Mapping[int, tuple[Array, ...]]:
        """The responses that count, by worker, in order of arrival; of a round in pieces the rows that came."""
        if self.in_pieces is None:
            return self._results
        if self.in_pieces.summed:
            return {worker: answers.rows for worker, answers in self._counted.items()}
        return {worker: (np.concatenate(answers.rows, axis=1),) for worker, answers in self._counted.items()}

    @property
    def responded(self) -> tuple[int, ...]:
        """The workers with a response that counts, whole or in part."""
        return tuple(self._results if self.in_pieces is None else self._counted)

    @property
    def done_pieces(self) -> dict[int, int]:
        """How many pieces of each worker count; empty for whole shares."""
        return {worker: answers.pieces for worker, answers in self._counted.items()}

    @property
    def complete(self) -> tuple[int, ...]:
        """The workers with a whole response that counts."""
        if self.in_pieces is None:
            return tuple(self._results)
        return tuple(worker for worker in self._counted if self.stage(worker) is Stage.COUNTED)

    def counted(self, worker: int) -> Answers | None:
        """The answers of a worker that count."""
        return self._counted.get(worker)

    def is_out_of_turn(self, worker: int, reply: Answer) -> bool:
        """Whether an answer comes for the second time, or after one that was lost: its rows do not follow on the last ones."""
        shapes = [array.shape for array in reply.arrays]
        if self.in_pieces is None or [self.rows_of(worker, reply.attempt, reply.done)] == shapes:
            return False
        return any([self._rows_between(worker, first, reply.done)] == shapes for first in range(reply.done))

    def rows_of(self, worker: int, attempt: int, pieces: int) -> Shape | None:
        """The shape of an answer that brings an attempt to so many pieces; None where it cannot."""
        return self._rows_between(worker, self._before(worker, attempt)[0], pieces)

    def _rows_between(self, worker: int, before: int, pieces: int) -> Shape | None:
        """The shape of an answer that brings a worker from so many pieces to so many; None where it cannot."""
        assert self.in_pieces is not None
        if not before < pieces <= self.in_pieces.layout.pieces:
            return None
        if self.in_pieces.summed:
            return self.round.response_shapes[0] if pieces == before + 1 else None
        planes, height, columns = self.round.response_shapes[0]
        order = self.in_pieces.layout.order(worker, height, before, pieces)
        return planes, sum(rows.stop - rows.start for rows in order), columns

    @property
    def left_out(self) -> dict[int, Status]:
        """The workers with responses that do not count, and the reasons."""
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

    def task(self, worker: int) -> Assignment:
        """The task of a worker, as it was last sent."""
        return self._standings[worker].task

    def next_attempt(self, worker: int) -> int:
        """The attempt of the task that a worker is sent next: another one where it was sent already."""
        task = self._standings[worker].task
        return task.attempt if task.sent_s is None else task.attempt + 1

    def message(self, job: bytes, worker: int) -> Task:
        """The task that a worker is sent next."""
        return Task(
            job,
            worker,
            self.index,
            self.next_attempt(worker),
            self.round.kernel,
            self.operands,
            self.keep,
            self.delays_s[worker],
            self.slowness[worker],
            self._pieces,
            0 if self.in_pieces is None else self.in_pieces.layout.start(worker),
            0 if self.in_pieces is None else self.in_pieces.unasked,
            float("inf") if self.in_pieces is None else self.in_pieces.due_s,
            self.payloads.of(worker),
        )

    def unsettled(self) -> list[tuple[Assignment, Status]]:
        """The tasks that no worker has, once the round is over, and their fates."""
        without = {*_PLACED, Stage.LOST}
        tasks = [
            standing.task
            for worker, standing in self._standings.items()
            if standing.stage in without and worker not in self._counted
        ]
        return [(task, "unsent" if task.sent_s is None else "lost") for task in tasks]

    def require_satisfiable(self, returning: Iterable[int] = ()) -> None:
        """Raise as soon as not even all that can still respond would do, or settle for these where the rule allows it."""
        pending = (worker for worker in sorted(self._standings) if self._may_respond(worker))
        reachable = (*self.complete, *pending)
        self.hopes, self.settled_for = False, None
        if self._would_do(reachable):
            return
        back = (worker for worker in returning if not self.is_over(worker))
        self.hopes = self._would_do((*reachable, *back))
        if self.hopes:
            return
        if not best_there_is(self.until, reachable):
            raise refusal_of(self.until, reachable, self.left_out)
        self.settled_for = frozenset(reachable)
        self._look()

    def _look(self) -> None:
        """See whether the round may end with the responses that have arrived."""
        settled = self.settled_for is not None and self.settled_for.issubset(self.complete)
        self.done = settled or self._would_do(self.complete)

    def _would_do(self, workers: tuple[int, ...]) -> bool:
        """Whether the round may end with the whole responses of these workers and the pieces of others that count."""
        if self.in_pieces is None:
            return self.until.satisfied(workers)
        return self.in_pieces.decodable({**self.done_pieces, **dict.fromkeys(workers, self._pieces)})

    @property
    def _pieces(self) -> int:
        return 1 if self.in_pieces is None else self.in_pieces.layout.pieces

    def _may_respond(self, worker: int) -> bool:
        return self._standings[worker].stage in _MAY_RESPOND and self.delays_s[worker] < float("inf")

    # -- transitions

    def place(self, worker: WorkerState, is_given: bool) -> None:
        """See whether a worker can serve now, or once it has been given the arrays that it lacks, or not at all."""
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
        """Note that a worker's task is sent; the task."""
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
            if self.asking is not None:
                self.asking.progress.lose(worker)

    def drop(self, worker: int) -> None:
        """Note that a worker has dropped its task."""
        self._move(worker, Stage.DROPPED)

    def take(self, worker: int, arrays: tuple[Array, ...]) -> None:
        """Count a response."""
        self._move(worker, Stage.COUNTED)
        self._results[worker] = arrays
        self._look()

    def hear(self, worker: int, reply: Word | Answer, now_s: float) -> None:
        """A worker says how many pieces it has done, and in how many seconds of work."""
        assert self.asking is not None
        self.learn(worker, reply, now_s)
        self.asking.note(now_s - self.begun_s)

    def learn(self, worker: int, reply: Word | Answer, now_s: float) -> None:
        """Account for a worker's pace, in a round that runs or has ended."""
        assert self.asking is not None
        begun_s = now_s - self.begun_s - (reply.sent_s - reply.begun_s)
        self.asking.progress.hear(worker, begun_s, reply.done, reply.computed_s, reply.begun_s)

    def verdict_of(self, worker: int, reply: Answer) -> Status:
        """Whether an answer of the right shape counts."""
        check, before = self.round.check_pieces, self._before(worker, reply.attempt)[0]
        if not all_finite(reply.arrays):
            return "refused"
        return "counted" if check is None or check(worker, before, reply.done, reply.arrays[0]) else "corrupt"

    def _before(self, worker: int, attempt: int) -> tuple[int, tuple[Array, ...]]:
        """The pieces that came of an attempt so far, and their rows."""
        latest = self._latest.get(worker)
        return (0, ()) if latest is None or latest.attempt != attempt else (latest.pieces, latest.rows)

    def take_pieces(self, worker: int, reply: Answer, heard_s: float) -> None:
        """Count an answer; one of a new attempt counts as soon as it has more than those before."""
        assert self.asking is not None
        rows = (*self._before(worker, reply.attempt)[1], *reply.arrays)
        answers = Answers(reply.attempt, reply.done, rows, reply, heard_s)
        self._latest[worker] = answers
        if worker not in self._counted or self._counted[worker].pieces < reply.done:
            self._counted[worker] = answers
            self.asking.progress.count(worker, reply.done)
        if reply.done == self._pieces:
            self._move(worker, Stage.COUNTED)
        self._look()

    def leave_out(self, worker: int, why: Status) -> None:
        """Leave a worker out of the rest of the round."""
        self._counted.pop(worker, None)
        if self.asking is not None:
            self.asking.progress.forget(worker)
        self._move(worker, Stage.REFUSED if why == "refused" else Stage.CORRUPT)

    def _move(self, worker: int, stage: Stage, task: Assignment | None = None) -> None:
        standing = self._standings[worker]
        if stage not in _NEXT.get(standing.stage, ()):
            raise RuntimeError(f"the part of worker {worker} must not go from {standing.stage} to {stage}.")
        self._standings[worker] = Standing(stage, task or standing.task)

    def _first_task(self, worker: int) -> Assignment:
        return Assignment(self.index, self.round.label, worker, None, self.first_attempt, self._pieces)


log = logging.getLogger(__name__)

# Times that a worker is given anew, within a round, the arrays that it says it does not hold.
MOST_REFUSALS = 2
# Half a panel: for less work than that no worker is told that its response is no longer needed.
WORTH_CANCELLING = PANEL_OPERATIONS / 2


class Rounds(Listener):
    """Carries out one round at a time, and listens to the workers at all times.

    ``membership``: the workers; ``stores``: the arrays that they should hold; ``events``: where the fate of every task
    is noted; ``job``: secret of the cluster; ``return_within_s``: how long a worker that was lost may be waited for
    where a round cannot end without it; ``clock``: as the membership's.
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
        self._past: RunningRound | None = None
        membership.listener = self

    def carry_out(
        self, round: Round, until: StoppingRule, timeout_s: float, drawn: Disturbance, machine: Machine | None = None
    ) -> RunningRound:
        """Run one round to the response that satisfies ``until``.

        ``machine``: the speeds by which it is decided when to ask the workers of a round in pieces.
        """
        current = self._current = self._begin(round, until, drawn, machine or Machine())
        ends_s = self._clock() + timeout_s
        try:
            with CollectorPutOff(self._clock) as collector:
                self._require_satisfiable(current)
                for worker in self._membership.alive:
                    self._ask(worker, current)
                while not current.done:
                    remaining_s = ends_s - self._clock()
                    if remaining_s <= 0:
                        raise timed_out(current, self._membership.alive, timeout_s, self._clock())
                    self._membership.step(min(remaining_s, ASK_AFTER_S / 2, self._put_questions(current)))
                    self._membership.look_after()
                    if current.hopes:
                        self._require_satisfiable(current)
                    self._events.deliver()
                    collector.look()
                current.ended_s = self._events.seconds()
        finally:
            self._current = None
            self._settle(current)
        if current.in_pieces is not None and current.in_pieces.due_s < float("inf"):
            self._past = current
            self._membership.catch_up()  # the answers that were due and not needed have come too, and tell paces
        return current

    def give_up(self) -> None:
        """Note that the open tasks will stay open."""
        for worker in self._membership.workers.values():
            for task in worker.open_tasks.values():
                self._events.record(task, "unfinished")

    def _put_questions(self, current: RunningRound) -> float:
        """Ask workers for pieces, if it is time for it; seconds until it may be so again."""
        if current.asking is None:
            return ASK_AFTER_S
        now_s = self._clock() - current.begun_s
        if now_s >= current.asking.next_s:
            for number, pieces in current.asking.questions(now_s).items():
                worker = self._membership.workers[number]
                task = worker.open_tasks.get(current.index)
                if task is not None and worker.alive and current.stage(number) is Stage.ASKED:
                    self._membership.send(worker, encode(Ask(self._job, number, current.index, task.attempt, pieces)))
        return max(0.0, current.asking.next_s - now_s)

    def _begin(self, round: Round, until: StoppingRule, drawn: Disturbance, machine: Machine) -> RunningRound:
        keep = tuple(map(self._stores.new_version, round.keep))
        operands = tuple((name, self._stores.newest[name]) for name in round.operands)
        payloads = Payloads(round, self._membership.memory)
        late, slow = drawn.delays_s.tolist(), drawn.slowness.tolist()
        current = RunningRound(
            round,
            until,
            self._round_index,
            operands,
            keep,
            late,
            slow,
            payloads,
            self._first_attempt,
            machine,
            self._clock(),
        )
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
            # its operands are stale or it is behind: no task for now, but the arrays that the round makes
            # workers keep still reach it, so that it can serve in the rounds that follow
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
        hoped = current.hopes
        current.require_satisfiable(worker.id for worker in lost if current.delays_s[worker.id] < float("inf"))
        if current.hopes and not hoped:
            names = workers_in_words(worker.id for worker in lost)
            log.warning("waiting up to %g s for %s", self._return_within_s, names, extra={"event": "waiting"})

    def _settle(self, current: RunningRound) -> None:
        """Note the tasks that ended with their round."""
        for number in current.done_pieces:
            self._note_pieces(number, current)
        self._cancel((worker.id for worker in self._membership.alive), current)
        for task, status in current.unsettled():
            self._events.record(task, status)

    def _note_pieces(self, number: int, current: RunningRound) -> None:
        """Note that answers of a worker counted; of its task more may come, which is late."""
        answers, worker = current.counted(number), self._membership.workers[number]
        assert answers is not None
        task = current.task(number)
        self._events.record(task, "counted", answers.last, (answers.pieces, answers.heard_s))
        if current.index in worker.open_tasks:
            worker.open_tasks[current.index] = replace(worker.open_tasks[current.index], told=True)

    def _cancel(self, workers: Iterable[int], current: RunningRound) -> None:
        """Let workers drop their part, if that spares them enough: workers that the round needs may share their cores."""
        if current.round.operations < WORTH_CANCELLING:
            return
        for number in workers:
            worker = self._membership.workers.get(number)
            task = worker.open_tasks.get(current.index) if worker is not None else None
            if worker is not None and task is not None and current.stage(number) is Stage.ASKED:
                current.cancel(number)
                self._membership.send(worker, encode(Cancel(self._job, number, current.index, task.attempt)))

    def heard(self, worker: WorkerState, message: FromWorker) -> None:
        """A worker tells the fate of a store or of a task."""
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
                f"an array put on a worker's machine must stay there; worker {worker.id} says: {message.reason}. Fit again."
            )
        self._take_in(worker)

    def _heard_of_task(self, worker: WorkerState, reply: Reply) -> None:
        """A worker tells the fate of a task of the round that is running, or of an earlier one."""
        task = worker.open_tasks.get(reply.round_index)
        if task is None or task.attempt != reply.attempt:
            return  # of a task that was given up for lost
        current, past = self._current, self._past
        if past is not None and reply.round_index == past.index and isinstance(reply, Word | Answer):
            past.learn(worker.id, reply, self._clock())
        running = current if current is not None and reply.round_index == current.index else None
        if running is not None and isinstance(reply, Answer) and running.is_out_of_turn(worker.id, reply):
            return
        if task.goes_on(reply):
            if running is not None:
                self._heard_of_pieces(worker, task, reply, running)
            return
        del worker.open_tasks[reply.round_index]
        if running is not None:
            self._heard_now(worker, task, reply, running)
            return
        superseded = isinstance(reply, Superseded | Refused)
        self._events.record(task, "superseded" if superseded else "late", reply)
        if current is not None and current.stage(worker.id) is Stage.READY:
            self._ask(worker, current)

    def lost(self, workers: Sequence[WorkerState]) -> None:
        """Workers, or messages under way to them, are gone."""
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
        """A worker is there, for the first time or again: ask it once more for the responses that it owes."""
        self._events.note(worker, "joined")
        self._stores.retain(worker)
        self._stores.restore(worker)
        current = self._current
        if current is not None and not current.is_over(worker.id):
            self._place(worker, current)
            self._ask(worker, current)
            self._require_satisfiable(current)

    def silent(self, worker: WorkerState) -> None:
        """Nothing is heard of a worker, or it is heard again: the observers of workers learn of it."""
        self._events.note(worker, "silent" if worker.silent else "heard")

    def _place(self, worker: WorkerState, current: RunningRound) -> None:
        """See whether a worker can serve now, or once it has been given the arrays that it lacks, or not at all."""
        if current.is_over(worker.id):
            return
        if not current.can_serve(worker):
            self._stores.restore(worker)
        current.place(worker, self._stores.can_restore(stamp for stamp in current.needed if not worker.holds([stamp])))

    def _take_in(self, worker: WorkerState) -> None:
        """Ask a worker that has now been given the operands that it needs."""
        current = self._current
        if current is not None and current.stage(worker.id) is Stage.COMING and current.can_serve(worker):
            current.place(worker, is_given=True)
            self._ask(worker, current)

    def _heard_now(self, worker: WorkerState, task: Assignment, reply: Reply, current: RunningRound) -> None:
        """A worker tells the fate of its part of the round that is running."""
        match reply:
            case Response():
                self._take(worker, task, reply, current)
            case Answer():
                self._heard_of_pieces(worker, task, reply, current)
            case Superseded():
                if current.counted(worker.id) is None:
                    self._events.record(task, "superseded", reply)
                current.drop(worker.id)
                self._require_satisfiable(current)
            case Failure():
                self._failed(worker, task, reply, current)
            case Refused():
                self._refused(worker, task, current)

    def _heard_of_pieces(self, worker: WorkerState, task: Assignment, reply: Reply, current: RunningRound) -> None:
        """A worker says how far it is, or answers with pieces that it has done."""
        if current.stage(worker.id) not in (Stage.ASKED, Stage.CANCELLED) or not isinstance(reply, Word | Answer):
            return
        if isinstance(reply, Answer):
            status = self._status_of(worker, task, reply, current)
            if status != "counted":
                worker.open_tasks.pop(current.index, None)
                self._events.record(task, status, reply)
                self._leave_out(worker, status, current)
                return
            current.take_pieces(worker.id, reply, self._events.seconds())
        current.hear(worker.id, reply, self._clock())

    def _status_of(self, worker: WorkerState, task: Assignment, reply: Answer, current: RunningRound) -> Status:
        """Whether an answer counts: it has the rows of its pieces, is finite, and passes the check."""
        shape, wanted = current.rows_of(worker.id, reply.attempt, reply.done), current.round.dtype
        if shape is not None and [(array.shape, array.dtype) for array in reply.arrays] == [(shape, wanted)]:
            return current.verdict_of(worker.id, reply)
        if current.round.check_pieces is not None:
            return "corrupt"
        worker.open_tasks.pop(current.index, None)
        self._events.record(task, "refused", reply)
        raise WorkerFailed(
            f"an answer to {current.round.kernel!r} must be {wanted} of the shape {shape}; worker {worker.id} sent "
            f"{[array.shape for array in reply.arrays]}. Correct the round."
        )

    def _failed(self, worker: WorkerState, task: Assignment, reply: Failure, current: RunningRound) -> None:
        """A worker says that the kernel raised."""
        if current.round.check is None and current.round.check_pieces is None:
            self._events.record(task, "lost", reply)
            raise WorkerFailed(_why_failed(worker.id, current.round.kernel, reply.reason))
        # it may well be lying: if it is not, the others will say the same
        log.warning("worker %d failed in %r: %s", worker.id, current.round.kernel, reply.reason)
        self._events.record(task, "corrupt", reply)
        self._leave_out(worker, "corrupt", current)

    def _refused(self, worker: WorkerState, task: Assignment, current: RunningRound) -> None:
        """A worker lacks operands that it was thought to hold: they were lost under way."""
        worker.held.clear()
        current.lose(worker.id)  # until it has been given the operands that it lacks
        current.refusals[worker.id] += 1
        if current.refusals[worker.id] <= MOST_REFUSALS:
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
