"""The master's membership and rounds as a state machine, against workers that come, go, stop and respond in any order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coded_als.cluster import Fastest, Round, TaskEvent
from coded_als.cluster.scope import Part
from coded_als.delays import Disturbance
from coded_als.errors import NotEnoughWorkers, RoundTimeout
from coded_als.master.events import Events
from coded_als.master.membership import MOST_OPEN_TASKS, Membership
from coded_als.master.rounds import Rounds
from coded_als.master.stores import Stores
from coded_als.wire import (
    Absent,
    Acknowledged,
    Alive,
    FromMaster,
    FromWorker,
    Hello,
    Load,
    Ping,
    Refused,
    Response,
    Retain,
    Store,
    Superseded,
    Task,
    decode,
    encode,
)

JOB, WORKERS, TIMEOUT_S = b"job", 4, 20.0


class SimulatedWorker:
    """A worker that keeps arrays and multiplies numbers, as `coded_als.worker.loop` does, without a process."""

    def __init__(self, number: int, life: int, parts: dict[int, float]) -> None:
        self.number, self.route, self._parts = number, f"w{number}.{life}".encode(), parts
        self.stopped = False
        self.unread: deque[FromMaster] = deque()
        self.says: deque[FromWorker] = deque([Hello(JOB, number, life)])
        # all that the master has heard of it, in whatever order it may come once more
        self.said: deque[FromWorker] = deque()
        self._memory: dict[str, tuple[int, float]] = {}
        self._task: Task | None = None

    def read(self) -> None:
        """Deal with all that has arrived, unless it is stopped."""
        while self.unread and not self.stopped:
            match self.unread.popleft():
                case Store() as message:
                    self._memory[message.name] = message.version, float(message.arrays[0].item())
                    self.says.append(Acknowledged(JOB, self.number, message.version))
                case Load() as message:
                    self._load(message)
                case Retain() as message:
                    names = dict(message.stored)
                    self._memory = {name: held for name, held in self._memory.items() if name in names}
                case Ping():
                    self.says.append(Alive(JOB, self.number))
                case Task() as message:
                    for (name, version), array in zip(message.keep, message.arrays, strict=False):
                        self._memory[name] = version, float(array.item())
                    if self._task is not None:
                        self.says.append(Superseded(*self._of(self._task)))
                    self._task = message

    def finish(self) -> None:
        """Response the task at hand."""
        task, self._task = self._task, None
        if task is None or self.stopped:
            self._task = task
            return
        if any(self._memory.get(name, (None,))[0] != version for name, version in task.operands):
            self.says.append(Refused(*self._of(task)))
            return
        product = float(np.prod([self._memory[name][1] for name, _ in task.operands]))
        for array in task.arrays[len(task.keep) :]:
            product *= float(array.item())
        self.says.append(Response(*self._of(task), arrays=(np.full((1, 1, 1), product),)))

    def _load(self, message: Load) -> None:
        if message.part in self._parts:
            self._memory[message.name] = message.version, self._parts[message.part]
            self.says.append(Acknowledged(JOB, self.number, message.version))
        else:
            self.says.append(Absent(JOB, self.number, message.version, "it is not there"))

    def _of(self, task: Task) -> tuple[bytes, int, int, int]:
        return JOB, self.number, task.round_index, task.attempt


class Scene:
    """The link: what it carries happens as the script of a round says, and then everybody does what he can."""

    def __init__(self) -> None:
        self.now_s, self.memory = 0.0, None
        self.lives = 0
        # arrays by number that lie where the workers are
        self.parts: dict[int, float] = {}
        self.workers: dict[int, SimulatedWorker] = {}
        self.script: deque[tuple[str, int]] = deque()
        self.disconnections = self._breaks = 0
        self._inbox: deque[list[zmq.Frame]] = deque()

    # -- what a link does

    @property
    def has_message(self) -> bool:
        return bool(self._inbox)

    def send(self, route: bytes, frames: Sequence[Any]) -> bool:
        worker = next((worker for worker in self.workers.values() if worker.route == route), None)
        if worker is None:
            return False
        message = decode([bytes(frame) for frame in frames])
        assert isinstance(message, FromMaster)
        worker.unread.append(message)
        worker.read()
        return True

    def receive(self, timeout_s: float) -> list[zmq.Frame] | None:
        if not self._inbox:
            self._happen()
        if self._inbox:
            return self._inbox.popleft()
        if self._breaks:
            self._breaks -= 1
            self.disconnections += 1
            return None
        self.now_s += max(timeout_s, 1e-3)
        return None

    # -- what happens

    def act(self, action: str, number: int) -> None:
        worker = self.workers.get(number)
        if action == "join" and worker is None:
            self.lives += 1
            self.workers[number] = SimulatedWorker(number, self.lives, self.parts)
        elif worker is None:
            return
        elif action == "die":
            # what it had said arrives, or does not
            del self.workers[number]
            self._breaks += 1
        elif action == "last words":
            self._deliver_all(worker)
            self.act("die", number)
        elif action == "stop":
            worker.stopped = True
        elif action == "continue":
            worker.stopped = False
            worker.read()
        elif action == "finish":
            worker.finish()
        elif action == "deliver" and worker.says:
            self._deliver(worker, worker.says.popleft())
        elif action == "repeat" and worker.says:
            self._deliver(worker, worker.says[0])
        elif action == "late words" and worker.said:
            # of a store, a task or an introduction that is over, whatever it was
            self._deliver(worker, worker.said.popleft())
        elif action == "lie about the past":
            stale = Response(JOB, number, 0, 0, arrays=(np.full((1, 1, 1), -1.0),))
            self._deliver(worker, stale)
        elif action == "junk":
            self._inbox.append([zmq.Frame(worker.route), zmq.Frame(b"\xc1junk")])

    def _happen(self) -> None:
        if self.script:
            self.act(*self.script.popleft())
            return
        for worker in self.workers.values():
            worker.read()
            if not worker.stopped:
                worker.finish()
                self._deliver_all(worker)

    def _deliver_all(self, worker: SimulatedWorker) -> None:
        while worker.says:
            self._deliver(worker, worker.says.popleft())

    def _deliver(self, worker: SimulatedWorker, message: FromWorker) -> None:
        worker.said.append(message)
        self._inbox.append([zmq.Frame(worker.route), *(zmq.Frame(bytes(frame)) for frame in encode(message))])


ACTIONS = (
    "join",
    "die",
    "last words",
    "stop",
    "continue",
    "finish",
    "deliver",
    "repeat",
    "late words",
    "lie about the past",
    "junk",
)
SCRIPTS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, WORKERS - 1)), max_size=25)


class MasterMachine(RuleBasedStateMachine):
    """Rounds, stores and whatever happens between and within them."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.events: list[TaskEvent] = []

        def clock() -> float:
            return self.scene.now_s

        events = Events([self.events.append], [], clock)
        self.events_of = events
        self.membership = Membership(self.scene, JOB, WORKERS, clock)  # type: ignore[arg-type]
        self.stores = Stores(self.membership, JOB, clock)
        self.rounds = Rounds(self.membership, self.stores, events, JOB, 0.0, clock)
        self.shares: list[float] = []
        self.numbers, self.payload = 0, 1.0

    def teardown(self) -> None:
        # a task leaves one event, and no more
        self.rounds.give_up()
        self.events_of.deliver()
        tasks = Counter((event.round_index, event.worker) for event in self.events)
        assert not tasks or max(tasks.values()) == 1

    @initialize()
    def everybody_joins_and_holds_a_share(self) -> None:
        for number in range(WORKERS):
            self.scene.act("join", number)
        assert self.membership.wait_for_all(TIMEOUT_S)
        self.store(1)

    @rule(first=st.integers(1, 5))
    def store(self, first: int) -> None:
        self.shares = [float(first + worker) for worker in range(WORKERS)]
        arrays = [np.full((1, 1, 1), share) for share in self.shares]
        self.stores.give_out("share", arrays, WORKERS, arrays)
        self.scene.parts.clear()

    @rule(first=st.integers(1, 5))
    def load(self, first: int) -> None:
        """Let the workers load arrays that lie with them; those that lay there before are deleted, loaded or not."""
        self.shares = [float(first + worker) for worker in range(WORKERS)]
        self.scene.parts.clear()
        self.numbers += WORKERS
        self.scene.parts.update({self.numbers + worker: share for worker, share in enumerate(self.shares)})
        parts = [Part(number) for number in self.scene.parts]
        self.stores.give_out("share", parts, WORKERS, parts)

    @rule()
    def forget(self) -> None:
        """As at the end of a fit: the arrays are dropped, and what lies with the workers is deleted."""
        self.shares = []
        self.stores.drop(["share"])
        self.scene.parts.clear()

    @rule(script=SCRIPTS)
    def something_happens(self, script: list[tuple[str, int]]) -> None:
        for action in script:
            self.scene.act(*action)
        self.membership.catch_up()

    @precondition(lambda self: self.shares)
    @rule(needed=st.integers(1, WORKERS), script=SCRIPTS, keep=st.booleans())
    def run_a_round(self, needed: int, script: list[tuple[str, int]], keep: bool) -> None:
        self.payload += 1.0
        self.scene.script.extend(script)
        payload = (np.full((1, 1, 1), self.payload),)
        names = ("kept",) if keep else ()
        round = Round("product", ("share", *names), [payload] * WORKERS, names, ((1, 1, 1),))
        self.membership.catch_up()
        try:
            done = self.rounds.carry_out(round, Fastest(needed), TIMEOUT_S, Disturbance.late([0.0] * WORKERS))
        except NotEnoughWorkers as error:
            self._check_too_few(error, needed)
        except RoundTimeout as error:
            self._check_timed_out(error, needed)
        else:
            assert len(done.results) >= needed
            for worker, (array,) in done.results.items():
                assert array.item() == self.shares[worker] * self.payload
        self.scene.script.clear()
        self.events_of.deliver()

    def _check_too_few(self, error: NotEnoughWorkers, needed: int) -> None:
        assert error.alive < needed

    def _check_timed_out(self, error: RoundTimeout, needed: int) -> None:
        stopped = {number for number, worker in self.scene.workers.items() if worker.stopped}
        assert len(error.responded) < needed
        assert set(error.silent_s) <= stopped

    @rule(first=st.integers(1, 5), needed=st.integers(1, WORKERS), script=SCRIPTS, stopped=st.integers(0, WORKERS - 1))
    def fit(self, first: int, needed: int, script: list[tuple[str, int]], stopped: int) -> None:
        """What a fit does, with a straggler that has done nothing of it when it ends."""
        self.scene.act("stop", stopped)
        self.load(first)
        self.run_a_round(needed, script, False)
        self.forget()

    @precondition(lambda self: self.shares)
    @rule()
    def all_is_well_again(self) -> None:
        """Once everybody is there and runs, all respond: nothing of what happened has a lasting effect."""
        for number in range(WORKERS):
            self.scene.act("join", number)
            self.scene.act("continue", number)
        for _ in range(3):  # whatever is under way arrives, and losses are looked for
            self.membership.catch_up()
            self.scene.now_s += 1.0
        self.run_a_round(WORKERS, [], False)
        last = max(event.round_index for event in self.events)
        assert [event.status for event in self.events if event.round_index == last] == ["counted"] * WORKERS

    @invariant()
    def no_worker_is_given_more_than_its_credit(self) -> None:
        assert all(len(worker.open_tasks) <= MOST_OPEN_TASKS for worker in self.membership.workers.values())


TestMaster = MasterMachine.TestCase
TestMaster.settings = settings(max_examples=40, stateful_step_count=12)
