"""The worker's loop: an inbox in order, one task at a time, and the newest task wins."""

from __future__ import annotations

import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import zmq

from coded_als.arrays import Array
from coded_als.kernels import SUMMED, Result, find_kernel, piece_operands
from coded_als.wire import (
    ANY_NUMBER,
    CLOCK,
    Absent,
    Acknowledged,
    Alive,
    Answer,
    Ask,
    Cancel,
    Failure,
    FromMaster,
    FromWorker,
    Hello,
    Load,
    Ping,
    Refused,
    Response,
    Retain,
    SharedMemoryView,
    Stop,
    Store,
    Superseded,
    SystemClock,
    Task,
    Welcome,
    WireError,
    Word,
    decode,
    encode,
    has_message,
    next_event,
    send,
)
from coded_als.worker.partial import Pieces
from coded_als.worker.parts import PartFolder
from coded_als.worker.turns import Turn

log = logging.getLogger(__name__)

# How long a worker may go without a look at whether its parent still lives.
LOOK_AFTER_PARENT_S = 1.0
# A new task comes to all workers at once: a worker reports the fate of the old one when the rush is over.
REPORT_AFTER_S = 0.005
# How long a worker waits for its master to come, or to come back, and from when on it says so.
GIVE_UP_AFTER_S, WAIT_ALOUD_AFTER_S = 30.0, 2.0
NO_MASTER = "a master that knows this key must be reachable"
# The usual time of a panel is the median of so many runs. The worker keeps times for so many panels of different sizes.
LAST_TIMES, MOST_KINDS = 9, 4096
# Characters of a reason that are sent: a header has an end.
MOST_REASON = 4000


class UsualTimes:
    """The median seconds of the last few runs of each kind of work."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=LAST_TIMES))

    def learn(self, work: Hashable, worked_s: float) -> float:
        """Add the seconds of one more run of this work, and return the median."""
        if len(self._seconds) > MOST_KINDS:
            self._seconds.clear()
        self._seconds[work].append(worked_s)
        return float(np.median(self._seconds[work]))


class Worker:
    """Keeps arrays, waits out delays, runs kernels; drops a task as soon as a newer one arrives.

    ``socket``: a connected DEALER; ``worker``: this worker's number, or -1 for whichever is free; ``job``: secret of
    the cluster: messages without it are ignored; ``process_id``: number of this process, for the master;
    ``parent_lives``: asked about once a second; the loop ends when it says no; ``monitor``: monitor of the socket,
    where the connection may break or not come about: the worker introduces itself whenever it is there, and gives up
    when it stays away; ``parts``: where arrays lie that were put on this machine for it; ``turn``: the turn that it
    takes before it computes, where it shares cores with others; ``memory``: memory that it shares with its master;
    arrays of the master's messages may lie there; ``clock``: tells the time and waits for messages.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        worker: int,
        job: bytes,
        process_id: int,
        parent_lives: Callable[[], bool] = lambda: True,
        monitor: zmq.Socket[bytes] | None = None,
        parts: PartFolder | None = None,
        turn: Turn | None = None,
        memory: SharedMemoryView | None = None,
        clock: SystemClock = CLOCK,
    ) -> None:
        self._socket, self._clock = socket, clock
        self._poller = clock.poller(socket) if monitor is None else clock.poller(socket, monitor)
        self._monitor, self._turn = monitor, turn
        self._away_since = None if monitor is None else self._clock.seconds()
        self._waits_aloud = self._is_refused = False
        self._shared = memory
        self._us = Hello(job, worker, process_id, "" if memory is None else memory.name)
        self._parent_lives, self._parts = parent_lives, parts
        self._memory: dict[str, tuple[int, Array]] = {}
        self._task: Task | None = None
        self._received = self._started = self._waited_s = self._due = 0.0
        self._pieces: Pieces | None = None
        self._usual = UsualTimes()
        self._dropped: list[Task] = []
        self._stop: str | None = None

    def serve(self) -> str:
        """Work until the master or the parent ends it; the master's reason, empty where it gave none."""
        if self._monitor is None:
            self._send(self._us)
        while self._stop is None and self._parent_lives():
            if self._task is None:
                self._look(LOOK_AFTER_PARENT_S)
            else:
                self._carry_out(self._task)
        return self._stop or ""

    def _carry_out(self, task: Task) -> None:
        """Wait, compute and respond, unless something newer turns up before that."""
        received = self._received
        self._wait(task, received + task.delay_s)
        if self._task is not task:
            return
        self._report_dropped()
        self._waited_s = waited_s = self._clock.seconds() - received
        self._pieces = Pieces(task, received) if task.pieces > 1 else None
        try:
            result = self._compute_in_turn(task)
        except Exception as error:  # a bug in a kernel or its operands: for the master to raise
            self._send(Failure(*self._of(task), _reason(error)))
            result = None
        if self._pieces is not None:
            result = None  # sent by and by
        if result is not None:
            self._send(Response(*self._of(task), waited_s, self._clock.seconds() - self._started, result))
        if self._task is task:
            self._task = None

    def _wait(self, task: Task, until: float) -> None:
        """Let the injected delay pass with an eye on the inbox."""
        while self._task is task and (remaining_s := until - self._clock.seconds()) > 0:
            remaining_s = min(remaining_s, self._until_due(task))
            if remaining_s < 1e-3:  # ZeroMQ's clock has whole milliseconds
                self._clock.sleep(remaining_s)
            else:
                self._look(min(remaining_s, LOOK_AFTER_PARENT_S))
            if not self._parent_lives():
                self._task = None

    def _compute_in_turn(self, task: Task) -> Result | None:
        """Compute when it is this worker's turn; None when it was pre-empted or cannot be run."""
        try:
            self._take_turn(task)
            return self._compute(task) if self._task is task else None
        finally:
            if self._turn is not None:
                self._turn.give()

    def _take_turn(self, task: Task) -> None:
        """Wait until it is this worker's turn, or something newer is there."""
        since = self._clock.seconds()
        # taken before anything else is looked at: a worker that is woken for a turn and leaves it there stops the others
        while self._turn is not None and not self._turn.take() and self._task is task:
            if not self._turn.wait(self._socket, since):
                return
            self._look(0.0)

    def _compute(self, task: Task) -> Result | None:
        """Run the kernel panel by panel; None when it was pre-empted or cannot be run."""
        stale = [name for name, version in task.operands if self._memory.get(name, (None,))[0] != version]
        if stale:
            self._send(Refused(*self._of(task), ", ".join(stale)[:MOST_REASON]))
            return None
        operands = [*(self._memory[name][1] for name, _ in task.operands), *task.arrays]
        self._started = self._due = self._clock.seconds()
        if self._pieces is None:
            return self._run(task, operands)
        while not self._pieces.complete:
            part = piece_operands(task.kernel, operands, self._pieces.next, task.pieces)
            found = self._run(task, part)
            if found is None:
                return None
            self._pieces.add(found[0], self._clock.seconds() - self._started)
            self._tell_of_pieces(task, self._pieces)
            if self._pieces.waits and not self._asked_on(task, self._pieces):
                return None
        return ()

    def _asked_on(self, task: Task, pieces: Pieces) -> bool:
        """Wait until the master asks for more pieces; False when something newer turned up."""
        since = self._clock.seconds()
        if self._turn is not None:
            self._turn.give()
        while self._task is task and pieces.waits:
            self._look(LOOK_AFTER_PARENT_S)
            if not self._parent_lives():
                self._task = None
        self._take_turn(task)
        waited_s = self._clock.seconds() - since
        self._started, self._due = self._started + waited_s, self._due + waited_s
        return self._task is task

    def _tell_of_pieces(self, task: Task, pieces: Pieces) -> None:
        """Send the pieces that the master asked for, all that are left once the share is done, or a word where it is news.

        A part of a sum is sent at once: which parts the master has of a block must be known one by one.
        """
        if pieces.complete or pieces.waits or 0 < pieces.asked <= pieces.done or task.kernel in SUMMED:
            self._answer(task, pieces)
        elif pieces.is_news():
            self._send(Word(*self._of(task), pieces.done, *self._times(pieces)))

    def _answer(self, task: Task, pieces: Pieces) -> None:
        """Send the pieces that were done since the last answer; a word where there are none."""
        pieces.asked = 0
        pieces.tell()
        if (rows := pieces.take()) is None:
            self._send(Word(*self._of(task), pieces.done, *self._times(pieces)))
        else:
            self._send(Answer(*self._of(task), pieces.done, *self._times(pieces), (rows,)))

    def _times(self, pieces: Pieces) -> tuple[float, float, float, float]:
        """The seconds that a `Word` or an `Answer` tells."""
        begun_s = max(0.0, self._started - pieces.received)
        return self._waited_s, pieces.computed_s, begun_s, self._clock.seconds() - pieces.received

    def _until_due(self, task: Task) -> float:
        """Answer with the finished pieces, if any, once they are due; seconds until then."""
        pieces = self._pieces
        if pieces is None or pieces.task is not task or pieces.due == math.inf:
            return math.inf
        remaining_s = pieces.due - self._clock.seconds()
        if remaining_s > 0:
            return remaining_s
        pieces.due = math.inf
        if pieces.done:
            self._answer(task, pieces)
        return math.inf

    def _run(self, task: Task, operands: Sequence[Any]) -> Result | None:
        """Drive a kernel; None when something newer turned up."""
        steps, panel = find_kernel(task.kernel)(*operands), 0
        while True:
            began = self._clock.worked_s()
            try:
                next(steps)
            except StopIteration as stop:
                self._lag(task, operands, panel, self._clock.worked_s() - began)
                result: Result = stop.value
                return result if task.slowness <= 1 or self._task is task else None
            self._lag(task, operands, panel, self._clock.worked_s() - began)
            self._until_due(task)
            self._look(0.0)
            if self._task is not task:
                steps.close()
                return None
            panel += 1

    def _lag(self, task: Task, operands: Sequence[Any], panel: int, worked_s: float) -> None:
        """Take as much longer for a panel as a worker that is so slow would; no worker is made faster.

        The delay stretches the processor's time and not the wall's, since a worker is not slow because others keep the
        cores busy. It stretches the usual time of the panel and not the time of this run: the slowness would multiply what
        a cold cache or another guest of the machine adds to one run. If one panel is late, the next ones make up for it.
        """
        if task.slowness <= 1 or self._task is not task:
            return
        work = task.kernel, tuple(map(np.shape, operands)), panel
        self._due += task.slowness * self._usual.learn(work, worked_s)
        if self._turn is not None:
            self._turn.give()  # a worker that only pretends to work needs no core
        self._wait(task, self._due)
        self._take_turn(task)

    def _look(self, timeout_s: float) -> None:
        """Wait for a message, then deal with all that are there, in order."""
        if timeout_s > 0:
            if self._dropped:
                timeout_s = min(timeout_s, REPORT_AFTER_S)
            ready = self._poller.poll(int(timeout_s * 1000))
            if not ready:
                self._report_dropped()
            if any(socket is self._monitor for socket, _ in ready):
                self._note_connection()
            if self._away_since is not None:
                self._wait_for_master(self._clock.seconds() - self._away_since)
        while has_message(self._socket):
            frames = self._socket.recv_multipart(copy=False)
            try:
                message = decode(frames, self._shared)
            except WireError as error:
                log.warning("%s: ignored a message: %s", self._name, error)
                continue
            if message.job == self._us.job and isinstance(message, FromMaster):
                self._obey(message)

    def _note_connection(self) -> None:
        """The connection broke, or is there: then all messages under way to us are lost."""
        assert self._monitor is not None
        event = next_event(self._monitor)
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._away_since, self._waits_aloud, self._is_refused = None, False, False
            log.info("%s: connected to the master", self._name, extra={"event": "connected"})
            self._send(self._us)
            return
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and not self._is_refused:
            self._is_refused = True
            log.warning("%s: the master does not admit this key", self._name, extra={"event": "refused"})
        if self._away_since is None:
            self._away_since = self._clock.seconds()
            log.warning("%s: lost the master", self._name, extra={"event": "lost"})

    def _wait_for_master(self, away_s: float) -> None:
        """Say that no master is there, and after a while give up."""
        if away_s > GIVE_UP_AFTER_S:
            self._supersede(None)
            self._stop = f"{NO_MASTER}; none was for {GIVE_UP_AFTER_S:g} s. Start it, or copy its key file."
        elif away_s > WAIT_ALOUD_AFTER_S and not self._waits_aloud:
            self._waits_aloud = True
            log.warning("%s: waiting for the master", self._name, extra={"event": "waiting"})

    def _obey(self, message: FromMaster) -> None:
        match message:
            case Store():
                self._memory[message.name] = message.version, message.arrays[0]
                self._send(Acknowledged(self._us.job, self._us.worker, message.version))
            case Load():
                self._load(message)
            case Retain():
                names = dict(message.stored)
                self._memory = {name: held for name, held in self._memory.items() if name in names}
            case Task():
                for (name, version), array in zip(message.keep, message.arrays, strict=False):
                    self._memory[name] = version, array
                self._supersede(message)
            case Cancel():
                open_task = self._task and (self._task.round_index, self._task.attempt)
                if open_task == (message.round_index, message.attempt):
                    self._supersede(None)
            case Ask():
                self._asked(message)
            case Ping():
                self._send(Alive(self._us.job, self._us.worker))
            case Welcome():
                self._us = replace(self._us, worker=message.worker)
                log.info("%s: admitted", self._name, extra={"event": "admitted", "worker": message.worker})
            case Stop():
                self._supersede(None)
                self._stop = message.reason

    def _asked(self, message: Ask) -> None:
        """Answer when so many pieces are done, or at once; a task that waits for its delay has none."""
        task = self._task
        if task is None or (task.round_index, task.attempt) != (message.round_index, message.attempt):
            return
        pieces = self._pieces if self._pieces is not None and self._pieces.task is task else None
        if pieces is None:
            return  # nothing is done yet: the master will hear when the first piece is
        if message.pieces > pieces.done:
            pieces.asked, pieces.limit = message.pieces, max(pieces.limit, message.pieces)
        else:
            self._answer(task, pieces)

    def _load(self, message: Load) -> None:
        """Keep an array that lies on this machine already."""
        try:
            if self._parts is None:
                raise FileNotFoundError("it was given no folder of parts")
            array = self._parts.read(message.part)
        except (OSError, ValueError) as error:
            self._send(Absent(self._us.job, self._us.worker, message.version, _reason(error)))
            return
        self._memory[message.name] = message.version, array
        self._send(Acknowledged(self._us.job, self._us.worker, message.version))

    def _supersede(self, task: Task | None) -> None:
        """Take on a task, if any, in place of the one at hand."""
        self._received = self._clock.seconds()
        if self._task is not None:
            self._dropped.append(self._task)
        self._task = task

    def _report_dropped(self) -> None:
        """Tell the master, which counts open tasks, about the superseded ones."""
        for task in self._dropped:
            self._send(Superseded(*self._of(task)))
        self._dropped.clear()

    def _of(self, task: Task) -> tuple[bytes, int, int, int]:
        """The fields that every reply to a task has."""
        return self._us.job, self._us.worker, task.round_index, task.attempt

    @property
    def _name(self) -> str:
        """The name of this worker in its log."""
        return "a worker" if self._us.worker == ANY_NUMBER else f"worker {self._us.worker}"

    def _send(self, message: FromWorker) -> None:
        send(self._socket, encode(message))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MOST_REASON]
