"""Membership of the workers: admission, loss, return, and the one inbox that all of them write to."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import zmq

from coded_als.master.link import Link, address_of, bound_number
from coded_als.wire import (
    ANY_NUMBER,
    Absent,
    Alive,
    Answer,
    Failure,
    FromWorker,
    Hello,
    Ping,
    Refused,
    Reply,
    Stop,
    Welcome,
    WireError,
    Word,
    decode,
    encode,
)

# Tasks without a response that one worker may have: the one at hand and the one that supersedes it.
MOST_OPEN_TASKS = 2
# Stored arrays without an acknowledgement: so many may one stopped worker cost the master.
MOST_OPEN_STORES = 8


@dataclass(frozen=True)
class Assignment:
    """One worker's part of a round, until its event is written, or until nothing more can come of it.

    ``pieces``: of its response; ``told``: whether its event is written although more may come.
    """

    round_index: int
    label: str
    worker: int
    sent_s: float | None = None
    attempt: int = 0
    pieces: int = 1
    told: bool = False

    def goes_on(self, reply: Reply) -> bool:
        """Whether more will come of it after this reply."""
        return isinstance(reply, Word) or (isinstance(reply, Answer) and reply.done < self.pieces)


@dataclass
class WorkerState:
    """A worker that has joined."""

    id: int  # its number, 0 ... W - 1
    route: bytes  # its routing id, new with every start of the process
    process_id: int  # as it says
    heard_s: float  # when it last said anything, on the membership's clock
    alive: bool = True  # whether its connection stands
    lost_s: float = -math.inf  # when it was last lost, on the membership's clock
    held: dict[str, int] = field(default_factory=dict)  # the version that it holds of each stored array
    # sent, but neither responded to nor given up, by round
    open_tasks: dict[int, Assignment] = field(default_factory=dict)
    # bytes of the arrays that it has not acknowledged, by version
    open_stores: dict[int, int] = field(default_factory=dict)
    # versions of the arrays that it was to load from its own machine, since it joined
    loading: set[int] = field(default_factory=set)
    untidy: bool = False  # whether it may hold arrays that are of no use any more
    behind: bool = False  # whether it lacks stored arrays, which it is being given
    asked_s: float | None = None  # since when it has owed a sign of life, or None
    silent: bool = False  # whether it has owed one for too long
    memory: str = ""  # name of the memory that it shares with the master, if any
    address: str = ""  # its network address, if it has one

    @property
    def has_credit(self) -> bool:
        """Whether one more task may be sent."""
        return len(self.open_tasks) < MOST_OPEN_TASKS

    def __str__(self) -> str:
        return f"worker {self.id}" + (f" ({self.address})" if self.address else "")

    def holds(self, stamps: Iterable[tuple[str, int]]) -> bool:
        """Whether it has exactly these versions."""
        return all(self.held.get(name) == version for name, version in stamps)


log = logging.getLogger(__name__)

# Seconds on a clock that never goes back: the master's, or one that a test sets by hand.
MasterClock = Callable[[], float]

# A connection is reported broken a little before its route is known to be gone: the route is probed, less and less often.
PROBE_FIRST_S, PROBE_LAST_S, PROBE_FOR_S = 0.005, 0.1, 0.5
# Messages between two rounds that are dealt with before the second one starts, for each worker: more than it has
# credit for, and a bound on a client that writes without credit.
MOST_AT_ONCE = 16
# A worker of which nothing was heard is asked for a sign of life, and is silent when it then gives none: 1.5 s in all.
ASK_AFTER_S, SILENT_AFTER_S = 0.5, 1.0
# Characters of a worker's own words that are passed on.
MOST_SAID = 1000


class Listener:
    """Receives the workers' messages and the news of their comings and goings; this one does nothing about them."""

    def heard(self, worker: WorkerState, message: FromWorker) -> None:
        """A worker says something of a store or a task."""

    def lost(self, workers: Sequence[WorkerState]) -> None:
        """Workers, or messages under way to them, are gone."""

    def joined(self, worker: WorkerState) -> None:
        """A worker is there, for the first time or again."""

    def silent(self, worker: WorkerState) -> None:
        """Nothing is heard of a connected worker, or (`WorkerState.silent`) it is heard again."""


class Membership:
    """The workers behind a link.

    ``link``: the bound socket; ``job``: secret of the cluster; ``size``: number of workers W; ``clock``: seconds that
    never go back.
    """

    def __init__(self, link: Link, job: bytes, size: int, clock: MasterClock) -> None:
        self.workers: dict[int, WorkerState] = {}
        self.malformed = 0
        self.listener = Listener()
        self._clock = clock
        self.job = job
        self.memory = link.memory
        self._link, self._size = link, size
        self._routes: dict[bytes, WorkerState] = {}
        self._probe_until = self._next_probe = self._probe_interval_s = 0.0
        self._unexplained = 0
        self._next_look = 0.0

    @property
    def alive(self) -> list[WorkerState]:
        """The workers that can be sent to."""
        return [worker for worker in self.workers.values() if worker.alive]

    @property
    def missing(self) -> list[int]:
        """The numbers of the workers that have not joined yet."""
        return sorted(set(range(self._size)) - set(self.workers))

    def lost_within(self, seconds: float) -> list[WorkerState]:
        """The workers that are gone for no longer than that."""
        earliest_s = self._clock() - seconds
        return [worker for worker in self.workers.values() if not worker.alive and worker.lost_s >= earliest_s]

    def wait_for_all(self, timeout_s: float, check: Callable[[], None] = lambda: None) -> bool:
        """Whether all W have joined in time; ``check`` is called now and then and may raise."""
        deadline = self._clock() + timeout_s
        while len(self.workers) < self._size:
            remaining_s = deadline - self._clock()
            if remaining_s <= 0:
                return False
            check()
            self.step(min(remaining_s, 0.05))
        return True

    def send(self, worker: WorkerState, frames: Sequence[bytes | zmq.Frame]) -> bool:
        """Send a message without waiting; whether the worker was there to be sent to."""
        if self._link.send(worker.route, frames):
            return True
        self._lose([worker])
        return False

    def dismiss(self) -> None:
        """Tell all workers to end."""
        for worker in self.alive:
            self._link.send(worker.route, encode(Stop(self.job, worker.id)))

    def look_after(self) -> None:
        """Ask the workers that were not heard of late for a sign of life, and note those that owe one for too long.

        A worker that is stopped or cut off is a straggler: it stays connected, and its tasks stay open.
        """
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + ASK_AFTER_S / 2
        for worker in self.alive:
            if worker.asked_s is None and now - worker.heard_s >= ASK_AFTER_S:
                if self._is_there(worker):
                    worker.asked_s = now
                else:
                    self._lose([worker])
            elif worker.asked_s is not None and not worker.silent and now - worker.asked_s >= SILENT_AFTER_S:
                worker.silent = True
                self.listener.silent(worker)

    def catch_up(self) -> None:
        """Deal with the messages that have arrived since the last step."""
        for _ in range(MOST_AT_ONCE * (self._size + 1)):
            if not self.step(0.0):
                return

    def step(self, timeout_s: float) -> bool:
        """Deal with one message or one broken connection; False when there was neither."""
        if self._unexplained > 0:
            timeout_s = min(timeout_s, max(0.0, self._next_probe - self._clock()))
        before = self._link.disconnections
        frames = self._link.receive(timeout_s)
        if frames is not None:
            self._read(frames)
            return True
        broken = self._link.disconnections - before
        if broken:
            self._expect_losses(broken)
        if self._unexplained > 0 and self._clock() >= self._next_probe:
            self._probe()
        return broken > 0

    def _read(self, frames: list[zmq.Frame]) -> None:
        route = frames[0].bytes
        try:
            message = decode(frames[1:])
            if message.job != self.job:
                raise WireError("a message must be of this cluster; got one of another.")
            if not isinstance(message, FromWorker):
                raise WireError(f"a worker must not say {type(message).__name__}.")
            worker = self._routes.get(route)
            if isinstance(message, Hello):
                self._admit(route, message, bound_number(frames[0]), address_of(frames[0]))
            elif worker is None or worker.id != message.worker:
                raise WireError("a worker must introduce itself before it says anything else.")
            else:
                self._hear(worker, message)
        except WireError as error:
            self.malformed += 1
            if self.malformed.bit_count() == 1:  # 1, 2, 4, 8 ...: a flood must not fill the log either
                log.warning("ignored a message, number %d: %s", self.malformed, error)

    def _hear(self, worker: WorkerState, message: FromWorker) -> None:
        worker.heard_s, worker.asked_s = self._clock(), None
        if worker.silent:
            worker.silent = False
            self.listener.silent(worker)
        if isinstance(message, Absent) and message.version not in worker.loading:
            raise WireError("an absent array must be one that a worker was to load; got another array.")
        if isinstance(message, Absent | Failure | Refused):
            message = replace(message, reason=_one_line(message.reason))
        if not isinstance(message, Alive):
            self.listener.heard(worker, message)

    def _admit(self, route: bytes, message: Hello, bound: int | None, address: str = "") -> None:
        """Take on a worker; take it back when its connection broke and it introduces itself again."""
        number = bound if bound is not None else message.worker if message.worker >= 0 else self._free_number()
        if message.worker not in (number, ANY_NUMBER):
            self._turn_away(
                route, f"a worker must have the number of its key, {number}; got {message.worker}. Leave --id out."
            )
            return
        if not 0 <= number < self._size:
            self._turn_away(
                route, f"there must be a place for a worker, from 0 to {self._size - 1}; got {number}. Start no more."
            )
            return
        worker, away_since_s = self.workers.get(number), -math.inf
        if worker is not None and worker.route != route:
            if worker.alive and self._is_there(worker):
                self._turn_away(route, f"each worker must have a number of its own; {number} is taken. Choose another.")
                return
            self._lose([worker])
            del self._routes[worker.route]
            away_since_s, worker = worker.lost_s, None
        if worker is None:
            worker = WorkerState(number, route, message.process_id, self._clock(), memory=message.memory)
            worker.lost_s = away_since_s
            self.workers[number] = self._routes[route] = worker
        elif worker.alive:  # back before the master noticed: messages under way did not arrive
            worker.open_stores.clear()
            self.listener.lost([worker])
            worker.lost_s = self._clock()
        worker.address = address
        self._log_joined(worker, bound)
        worker.alive, worker.heard_s, worker.asked_s, worker.silent = True, self._clock(), None, False
        if message.worker == ANY_NUMBER:
            self._link.send(route, encode(Welcome(self.job, number)))
        self.listener.joined(worker)

    def _log_joined(self, worker: WorkerState, key: int | None) -> None:
        """Log that a worker is there, for the first time or again, with the number of its key."""
        with_key = "" if key is None else f" with key {key}"
        away_s, about = self._clock() - worker.lost_s, {"worker": worker.id, "key": key, "address": worker.address}
        if math.isinf(away_s):
            log.info("%s joined%s", worker, with_key, extra={"event": "joined", **about})
        else:
            log.warning("%s is back%s after %.1f s", worker, with_key, away_s, extra={"event": "back", **about})

    def _free_number(self) -> int:
        """The lowest number that no present worker has; W where there is none."""
        taken = {number for number, worker in self.workers.items() if worker.alive}
        return min(set(range(self._size + 1)) - taken)

    def _turn_away(self, route: bytes, reason: str) -> None:
        log.warning("turned a worker away: %s", reason, extra={"event": "refused"})
        self._link.send(route, encode(Stop(self.job, -1, reason)))

    def _is_there(self, worker: WorkerState) -> bool:
        return self._link.send(worker.route, encode(Ping(self.job, worker.id)))

    def _expect_losses(self, broken: int) -> None:
        """Start to look for the workers with broken connections, unless the search is on."""
        if self._unexplained <= 0:
            self._next_probe, self._probe_interval_s = 0.0, PROBE_FIRST_S
        self._unexplained += broken
        self._probe_until = self._clock() + PROBE_FOR_S

    def _probe(self) -> None:
        """Find the workers with broken connections: a send to a worker that is gone fails."""
        gone = [worker for worker in self.alive if not self._is_there(worker)]
        if gone and self._link.has_message:
            return  # perhaps their last words, which count
        now = self._clock()
        self._next_probe = now + self._probe_interval_s
        self._probe_interval_s = min(2 * self._probe_interval_s, PROBE_LAST_S)
        if now >= self._probe_until:  # it was a client that had not joined
            self._unexplained = 0
        self._lose(gone)

    def _lose(self, workers: Sequence[WorkerState]) -> None:
        lost = [worker for worker in workers if worker.alive]
        for worker in lost:
            worker.alive, worker.lost_s = False, self._clock()
            worker.open_stores.clear()
            about = {"event": "lost", "worker": worker.id, "address": worker.address}
            log.warning("lost %s", worker, extra=about)
        self._unexplained -= len(lost)
        if lost:
            self.listener.lost(lost)


def workers_in_words(numbers: Iterable[int]) -> str:
    """Numbers of workers with their ranges: ``workers 2, 5-7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    alone = len(runs) == 1 and len(runs[0]) == 1
    return f"worker{'' if alone else 's'} {', '.join('-'.join(map(str, run)) for run in runs)}"


def _one_line(text: str) -> str:
    """Text of a worker, as it may stand in a log or an error."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MOST_SAID])
