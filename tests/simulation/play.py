"""One run of a scenario: the real master and workers, the laws that must hold at each step, and the end."""

from __future__ import annotations

import itertools
import logging
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als import CodedALS
from coded_als.cluster import AnyOfEach, Responses, Round, StoppingRule, TaskEvent, all_of
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.scope import Part
from coded_als.delays import DelayStream
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.master import rounds
from coded_als.master.membership import MOST_OPEN_TASKS
from coded_als.master.zeromq import ZmqCluster
from coded_als.worker.loop import Worker
from tests.simulation.baton import Baton, Killed, Violation, VirtualClock
from tests.simulation.network import HANDSHAKE_S, Connection, Network
from tests.simulation.oracle import expected_response
from tests.simulation.scenario import Case, Fault, Scenario

JOB = b"job"
# Seconds after which all faults are over and everybody is back, and that a round may take.
HEALED_S, ROUND_S = 30.0, 120.0
TOLERANCE = 1e-6


class Folder:
    """The parts that lie on the workers' machine."""

    def __init__(self) -> None:
        self.arrays: dict[int, NDArray[Any]] = {}

    def read(self, number: int) -> NDArray[Any]:
        if number not in self.arrays:
            raise FileNotFoundError(f"there is no part {number}")
        return self.arrays[number]


class Process:
    """One life of a worker's process."""

    def __init__(self, scene: Scene, number: int, life: int) -> None:
        self.scene, self.number = scene, number
        self.connection = Connection(scene.network, number, life, scene.scenario.tells)
        end = self.connection
        self.worker = Worker(
            end.socket,
            number,
            JOB,
            life,
            monitor=end.monitor,
            parts=scene.folder,
            clock=scene.clock,  # type: ignore[arg-type]
        )
        self.actor = end.actor = scene.baton.start(end.name, self._serve)
        scene.baton.after(HANDSHAKE_S * (1 + scene.draw.random()), end.connect)

    def _serve(self) -> None:
        self.worker.serve()
        self.connection.end(1e-3)
        if not self.scene.is_closing:  # it was turned away: its supervisor starts it again
            self.scene.baton.after(0.2, lambda: self.scene.start(self.number))

    def crash(self, seconds: tuple[float, float, float]) -> None:
        """Die, and be started again once the system has closed the connection, or long after."""
        if self.actor.is_over or self.actor.is_killed:
            return
        self.scene.baton.kill(self.actor)
        self.connection.end(min(seconds[1], 0.05))
        self.scene.baton.after(0.1 + seconds[0], lambda: self.scene.start(self.number))


class Scene:
    """The processes of a run, and the faults that come over them.

    Parameters
    ----------
    scenario
        What is to happen.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.draw = scenario, random.Random(f"work {scenario.seed}")
        self.baton = Baton(scenario.seed, scenario.in_order)
        self.clock = VirtualClock(self.baton, lambda: self.draw.expovariate(1 / 1e-3))
        self.network = Network(self.baton, scenario.seed)
        self.folder, self.is_closing, self.fired = Folder(), False, 0
        self.processes: dict[int, Process] = {}
        self._lives = itertools.count(1)
        self._faults = list(scenario.faults)
        self.network.passed = self._see_faults

    def start(self, number: int) -> None:
        """Start the process of a worker, unless one runs."""
        there = self.processes.get(number)
        if not self.is_closing and (there is None or there.connection.is_over):
            self.processes[number] = Process(self, number, next(self._lives))

    def untouched(self) -> dict[int, tuple[int, int]]:
        """The connections that stand now."""
        standing = {number: process.connection for number, process in self.processes.items()}
        return {n: (end.life, end.epoch) for n, end in standing.items() if end.is_up and not end.is_over}

    def heal(self) -> None:
        """No more faults begin; wait until those that have begun are over."""
        self._faults.clear()
        self.baton.wait(HEALED_S)

    def _see_faults(self) -> None:
        while self._faults and self._faults[0].after_messages <= self.network.messages:
            fault = self._faults.pop(0)
            self.baton.after(0.0, lambda fault=fault: self._befall(fault))  # type: ignore[misc]

    def _befall(self, fault: Fault) -> None:
        process = self.processes.get(fault.worker)
        if process is None or process.connection.is_over:
            return
        self.baton.note(lambda: f"FAULT {fault}")
        self.fired += 1
        baton, end, actor, seconds = self.baton, process.connection, process.actor, fault.seconds
        match fault.kind:
            case "cut":
                end.lose(seconds[1], seconds[2], seconds[0])
            case "hold":
                if seconds[1] < 2 * seconds[2]:
                    end.held_up_s = max(end.held_up_s, baton.now_s + seconds[0])
                if seconds[2] < 2 * seconds[1]:
                    end.held_down_s = max(end.held_down_s, baton.now_s + seconds[0])
            case "crash":
                process.crash(seconds)
            case "stop":
                baton.stop(actor, seconds[0])
            case "slow":
                actor.slowness = 30.0
                baton.after(seconds[0], lambda: setattr(actor, "slowness", 1.0))
            case "repeat":
                end.repeats += 1 + int(20 * seconds[1])


class CheckedCluster(ZmqCluster):
    """The real cluster, whose every round is held against an oracle."""

    def __init__(self, scene: Scene) -> None:
        scenario = scene.scenario
        size = scenario.case.workers
        self.scene, self.arrays, self.numbers = scene, dict[str, Sequence[NDArray[Any]]](), dict[str, range]()
        self._next_part, self.begun, self.events = 0, dict[int, tuple[int, int]](), list[TaskEvent]()
        super().__init__(
            scene.network.link,  # type: ignore[arg-type]
            JOB,
            size,
            DelayStream(scenario.delays, size, scenario.seed),
            ExitStack(),
            ROUND_S,
            scenario.return_within_s,
            scene.clock,
        )
        self._resources.callback(self._membership.dismiss)
        self._stores._versions = self._rounds._first_attempt = 100
        self.observers.append(self.events.append)
        scene.network.link.look = self._look
        for number in range(size):
            scene.start(number)
        self._await_workers(ROUND_S, str)

    def _look(self) -> None:
        """The laws of every step."""
        for worker in self._membership.workers.values():
            if len(worker.open_tasks) > MOST_OPEN_TASKS:
                raise Violation(f"no worker may have more tasks than its credit; worker {worker.id} has too many")

    def store(self, name: str, shares: Iterable[Any]) -> None:
        self.arrays[name] = arrays = list(shares)
        if not self.scene.scenario.parts:
            super().store(name, arrays)
            return
        first = self._next_part
        self._next_part = first + len(arrays)
        self.numbers[name] = range(first, self._next_part)
        self.scene.folder.arrays.update(zip(self.numbers[name], map(np.array, arrays), strict=True))
        super().store(name, [Part(number) for number in self.numbers[name]])  # type: ignore[misc]

    def drop(self, names: Iterable[str]) -> None:
        names = list(names)
        super().drop(names)
        for name in names:
            self.arrays.pop(name, None)
            for number in self.numbers.pop(name, ()):
                del self.scene.folder.arrays[number]

    def run(self, round: Round, until: StoppingRule) -> Responses:
        standing = self.scene.untouched()
        for place, name in enumerate(round.keep):
            assert round.payloads is not None
            self.arrays[name] = [payload[place] for payload in round.payloads]
        try:
            responses = super().run(round, until)
        except (NotEnoughWorkers, DecodingError) as error:
            self._require_reason(error, until, standing)
            raise
        self._require_right(round, until, responses)
        return responses

    def _require_reason(self, error: Exception, until: StoppingRule, standing: dict[int, tuple[int, int]]) -> None:
        """A round may end in vain only if workers were lost that it cannot do without, for longer than it waits."""
        keeps = self.scene.scenario.case.keeps
        if keeps:
            standing = self.begun
        now = self.scene.untouched()
        untouched = tuple(worker for worker, connection in standing.items() if now.get(worker) == connection)
        forgives = keeps or self.scene.scenario.return_within_s == 0.0
        if not forgives or until.satisfied(untouched):
            raise Violation(f"a round must end if enough workers are there, or come back in time; {error}")

    def _require_right(self, round: Round, until: StoppingRule, responses: Responses) -> None:
        workers = responses.workers
        if len(set(workers)) != len(workers) or set(workers) & round.excluded:
            raise Violation(f"each worker counts once; got {workers}")
        if not is_enough(until, responses):
            raise Violation(f"a round ends only with enough responses; got {workers}, {dict(responses.done)}")
        for worker, arrays in responses.results.items():
            right = expected_response(round, until, responses, worker, self.arrays)
            for array, expected in zip(arrays, right, strict=True):
                if array.shape != expected.shape or not np.allclose(array, expected, rtol=1e-9, atol=1e-11):
                    raise Violation(f"a response that counts is the product of its round; that of {worker} is not")


def is_enough(until: StoppingRule, responses: Responses) -> bool:
    """Whether responses are as many as a rule says, by counting alone."""
    if not isinstance(until, EveryPiece):
        return _are_enough(until, set(responses.workers))
    layout = until.layout
    for piece in range(layout.pieces):
        did = {
            worker for worker, done in responses.done.items() if (piece - layout.start(worker)) % layout.pieces < done
        }
        if not _are_enough(until.rule, did):
            return False
    return True


def _are_enough(until: StoppingRule, workers: set[int]) -> bool:
    if isinstance(until, AnyOfEach):
        return all(group & workers for group in until.groups)
    return len(workers) >= until.needed


@cache
def data(is_sparse: bool, number: int) -> Any:
    """One of a few small matrices."""
    draw = np.random.default_rng(number)
    matrix = draw.normal(size=(9, 2)) @ np.diag([3.0, 2.0]) @ draw.normal(size=(2, 7)) + 0.1 * draw.normal(size=(9, 7))
    if is_sparse:
        return sparse.csr_array(np.where(draw.random((9, 7)) < 0.6, matrix, 0.0))
    return matrix


@cache
def _undisturbed(place: int, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    from tests.simulation.scenario import CASES

    case = CASES[place]
    model = CodedALS(**case.parameters).fit(data(case.is_sparse, number), InlineCluster(case.workers))
    return model.user_factors_, model.item_factors_


def undisturbed(case: Case, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The factors of a fit that nothing disturbs."""
    from tests.simulation.scenario import CASES

    return _undisturbed(CASES.index(case), number)


def fit(cluster: CheckedCluster, number: int, must_end: bool) -> None:
    """A fit, whose factors are as the undisturbed ones; it may end in vain only where its rounds may."""
    case = cluster.scene.scenario.case
    cluster.begun = cluster.scene.untouched()
    right = undisturbed(case, number)
    try:
        model = CodedALS(**case.parameters).fit(data(case.is_sparse, number), cluster)
    except (NotEnoughWorkers, DecodingError) as error:
        if must_end:
            raise Violation(f"every fit must end once all is well; {error}") from error
        return
    for found, expected in zip((model.user_factors_, model.item_factors_), right, strict=True):
        if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise Violation("factors must be as the undisturbed ones; they are not")


def all_respond(cluster: CheckedCluster) -> None:
    """A round to which all respond: nothing of what happened has a lasting effect."""
    size = cluster.size
    cluster.store("last", [np.full((1, 1, 1), 1.0 + worker) for worker in range(size)])
    payloads = [(np.full((1, 1, 1), 2.0),)] * size
    responses = cluster.run(Round("product", ("last",), payloads, response_shapes=((1, 1, 1),)), all_of(size))
    assert len(responses.workers) == size
    cluster.drop(["last"])


def settle(cluster: CheckedCluster) -> None:
    """After all was dropped and everybody has said what he had to say, nothing is left anywhere."""
    for _ in range(3):
        cluster._membership.catch_up()
        cluster.scene.baton.wait(1.0)
    cluster.drop([])
    for number, process in cluster.scene.processes.items():
        if process.worker._memory:
            raise Violation(
                f"workers must forget what was dropped; worker {number} holds {list(process.worker._memory)}"
            )
    for worker in cluster._membership.workers.values():
        if worker.open_tasks or any(worker.open_stores.values()):
            raise Violation(f"no task may stay open; worker {worker.id} has {worker.open_tasks}, {worker.open_stores}")


def play(scenario: Scenario) -> Scene:
    """Run a scenario.

    Raises
    ------
    Violation
        When a law does not hold.
    """
    scene = Scene(scenario)
    with quiet(scenario):
        try:
            _play(scene)
        except Violation as violation:
            violation.trace = scene.baton.trace  # type: ignore[attr-defined]
            raise
        finally:
            scene.is_closing = True
            scene.baton.end()
    return scene


def _play(scene: Scene) -> None:
    try:
        cluster = CheckedCluster(scene)
        for number in range(scene.scenario.fits):
            fit(cluster, number, must_end=False)
        scene.heal()
        fit(cluster, scene.scenario.fits, must_end=True)
        all_respond(cluster)
        settle(cluster)
        scene.is_closing = True
        cluster.close()
        one_event_each(cluster.events)
    except (Violation, Killed):
        raise
    except Exception as error:
        raise Violation(f"nothing else may be raised; got {error!r}") from error


def one_event_each(events: Sequence[TaskEvent]) -> None:
    """A task leaves one event, and no more."""
    tasks = Counter((event.round_index, event.worker) for event in events)
    if tasks and max(tasks.values()) > 1:
        raise Violation(f"a task leaves one event; {tasks.most_common(1)} has more")


@contextmanager
def quiet(scenario: Scenario) -> Iterator[None]:
    """Nothing is logged; tasks as small as these are cancelled, or not."""
    least = 0.0 if scenario.cancels else rounds.WORTH_CANCELLING
    log = logging.getLogger("coded_als")
    with mock.patch.object(rounds, "WORTH_CANCELLING", least):
        before, log.disabled = log.level, False
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(before)
