"""What a worker says late: of arrays, tasks and masters that are over. It is taken note of, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq

from coded_als.cluster import Fastest, Round, TaskEvent
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.scope import Part
from coded_als.codes.pieces import PieceLayout
from coded_als.delays import Disturbance
from coded_als.errors import NotEnoughWorkers, WorkerFailed
from coded_als.master.events import Events
from coded_als.master.membership import MOST_OPEN_STORES, Membership, WorkerState
from coded_als.master.rounds import Rounds
from coded_als.master.stores import Stores
from coded_als.wire import (
    Absent,
    Acknowledged,
    Alive,
    Answer,
    Failure,
    FromWorker,
    Hello,
    Message,
    Refused,
    Response,
    Superseded,
    Task,
    decode,
    encode,
)
from tests.master.test_membership import JOB, ScriptedLink

ONE = np.ones((1, 1, 1))


class WrittenDown(ScriptedLink):
    """A link that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Message] = []

    def send(self, route: bytes, frames: Any) -> bool:
        self.sent.append(decode([bytes(frame) for frame in frames]))
        return super().send(route, frames)


class Master:
    """A master's parts, with one worker, who says what a test lets it say."""

    def __init__(self) -> None:
        self.link, self.events = WrittenDown(), list[TaskEvent]()
        self.membership = Membership(self.link, JOB, 1, time.monotonic)  # type: ignore[arg-type]
        self.stores = Stores(self.membership, JOB, time.monotonic)
        events = Events([self.events.append], [], lambda: 0.0)
        self.rounds = Rounds(self.membership, self.stores, events, JOB, 0.0, time.monotonic)
        self._events_of = events
        self.link.reachable.add(b"w0")
        self.hear(Hello(JOB, 0, 1))
        self.link.sent.clear()

    @property
    def worker(self) -> WorkerState:
        return self.membership.workers[0]

    def say(self, message: FromWorker) -> None:
        self.link.inbox.append([zmq.Frame(b"w0"), *(zmq.Frame(bytes(frame)) for frame in encode(message))])

    def hear(self, message: FromWorker) -> None:
        self.say(message)
        self.membership.catch_up()

    def load(self, name: str, number: int) -> int:
        """Let the worker load a part; the version."""
        parts = [Part(number)]
        self.stores.give_out(name, parts, 1, parts)
        return self.stores.newest[name]

    def run(self, *responses: Any) -> Any:
        """A round in which the worker answers each task that it gets with the next of ``responses``."""
        answers = iter(responses)
        send = self.link.send

        def answer(route: bytes, frames: Any) -> bool:
            sent = send(route, frames)
            message = self.link.sent[-1]
            if isinstance(message, Task):
                self.say(next(answers)(message))
            return sent

        self.link.send = answer  # type: ignore[method-assign]
        try:
            round = Round("inner_product", tuple(self.stores.newest), response_shapes=((1, 1, 1),))
            return self.rounds.carry_out(round, Fastest(1), 5.0, Disturbance.late([0.0]))
        finally:
            self.link.send = send  # type: ignore[method-assign]
            self._events_of.deliver()


def response_of(value: float) -> Callable[[Task], Response]:
    return lambda task: Response(JOB, 0, task.round_index, task.attempt, arrays=(value * ONE,))


def in_pieces(master: Master, *answers: tuple[int, float] | None, summed: bool = False) -> Any:
    """A round in three pieces, with answers of one row each; None: the worker introduces itself again."""
    send, left = master.link.send, iter(answers)

    def answer(route: bytes, frames: Any) -> bool:
        sent = send(route, frames)
        if isinstance(task := master.link.sent[-1], Task):
            for done, value in iter(lambda: next(left, None), None):
                rows = np.full((1, 3 if summed else 1, 1), value)
                master.say(Answer(JOB, 0, task.round_index, task.attempt, done, arrays=(rows,)))
            master.say(Hello(JOB, 0, 1))
        return sent

    master.link.send = answer  # type: ignore[method-assign]
    until = EveryPiece(Fastest(1), PieceLayout(1, 3), summed)
    round = Round("product", response_shapes=((1, 3, 1),))
    return master.rounds.carry_out(round, until, 5.0, Disturbance.late([0.0])).results[0]


@pytest.mark.parametrize("summed", [False, True])
def test_an_answer_that_comes_twice_counts_once(master: Master, summed: bool) -> None:
    found = in_pieces(master, (1, 5.0), (1, 5.0), (2, 6.0), (1, 5.0), (3, 7.0), summed=summed)
    assert np.unique(np.concatenate(found, axis=1)).tolist() == [5, 6, 7]


@pytest.mark.parametrize("summed", [False, True])
def test_an_answer_after_one_that_was_lost_with_the_connection_does_not_count(master: Master, summed: bool) -> None:
    """It was kept while there was no connection, and so is there before the worker introduces itself again."""
    found = in_pieces(master, (1, 4.0), (3, 4.0), None, (1, 5.0), (2, 6.0), (3, 7.0), summed=summed)
    assert np.unique(np.concatenate(found, axis=1)).tolist() == [5, 6, 7]


def superseded(task: Task) -> Superseded:
    return Superseded(JOB, 0, task.round_index, task.attempt)


def hello(_: Task) -> Hello:
    return Hello(JOB, 0, 1)


@pytest.fixture
def master() -> Master:
    return Master()


def dropped(master: Master) -> int:
    version = master.load("rows", 1)
    master.stores.drop(["rows"])
    return version


def replaced(master: Master) -> int:
    version = master.load("rows", 1)
    master.load("rows", 2)
    return version


@pytest.mark.parametrize("over", [dropped, replaced])
def test_a_part_that_is_gone_when_nobody_needs_it_any_more_is_acknowledged(master: Master, over: Any) -> None:
    version = over(master)
    master.hear(Absent(JOB, 0, version, "FileNotFoundError"))
    assert version not in master.worker.open_stores
    assert version not in master.worker.loading
    assert master.membership.malformed == 0
    if over is dropped:
        master.load("rows", 3)
    master.hear(Acknowledged(JOB, 0, master.stores.newest["rows"]))
    assert set(master.run(response_of(1)).results) == {0}


@pytest.mark.parametrize(
    "message", [lambda version: Absent(JOB, 0, version, "gone"), lambda version: Acknowledged(JOB, 0, version)]
)
def test_a_straggler_that_says_late_what_became_of_its_parts_has_all_its_credit_back(
    master: Master, message: Callable[[int], FromWorker]
) -> None:
    versions = []
    for number in range(MOST_OPEN_STORES):
        versions.append(master.load(f"rows{number}", number))
    master.stores.drop([f"rows{number}" for number in range(MOST_OPEN_STORES)])
    for version in versions:
        master.hear(message(version))
    assert master.worker.open_stores == {}
    assert master.worker.loading == set()


def test_a_part_that_is_gone_while_it_is_needed_is_an_error_that_costs_no_credit(master: Master) -> None:
    version = master.load("rows", 1)
    with pytest.raises(WorkerFailed, match="must stay there; worker 0 says: FileNotFoundError"):
        master.hear(Absent(JOB, 0, version, "FileNotFoundError"))
    assert master.worker.open_stores == {}


def test_who_has_a_part_cannot_say_later_that_there_is_none(master: Master) -> None:
    version = master.load("rows", 1)
    master.hear(Acknowledged(JOB, 0, version))
    master.hear(Absent(JOB, 0, version, "forged"))
    assert master.membership.malformed == 1


def test_a_response_of_another_type_than_the_round_says_is_an_error(master: Master) -> None:
    master.load("rows", 1)
    places = np.ones((1, 1, 1), np.int32)
    with pytest.raises(WorkerFailed, match="must be float64 of the shapes"):
        master.run(lambda task: Response(JOB, 0, task.round_index, task.attempt, arrays=(places,)))


def test_a_needed_task_that_was_dropped_ends_the_round_at_once(master: Master) -> None:
    """Nothing more comes of it: without this the round would wait for its time limit."""
    master.load("rows", 1)
    with pytest.raises(NotEnoughWorkers):
        master.run(superseded)
    assert [event.status for event in master.events] == ["superseded"]


def test_a_worker_that_introduces_itself_again_within_a_round_is_asked_again(master: Master) -> None:
    version = master.load("rows", 1)
    master.hear(Acknowledged(JOB, 0, version))
    done = master.run(hello, hello, response_of(1))
    assert set(done.results) == {0}
    attempts = [message.attempt for message in master.link.sent if isinstance(message, Task)]
    assert attempts == [attempts[0], attempts[0] + 1, attempts[0] + 2]
    assert [event.status for event in master.events] == ["counted"]


def test_a_worker_that_was_cut_off_twice_is_given_what_it_lacks(master: Master) -> None:
    """Its refusals are limited, and not its attempts."""
    version = master.load("rows", 1)
    master.hear(Acknowledged(JOB, 0, version))

    def refused(task: Task) -> FromWorker:
        master.say(Refused(JOB, 0, task.round_index, task.attempt, "rows"))
        return Acknowledged(JOB, 0, version)

    assert set(master.run(hello, hello, refused, response_of(1)).results) == {0}


def test_words_of_an_earlier_task_do_not_count_in_a_later_one(master: Master) -> None:
    master.load("rows", 1)
    first = master.run(response_of(1))
    attempt = next(message.attempt for message in master.link.sent if isinstance(message, Task))
    for number, tried in ((first.index, attempt), (first.index + 1, attempt - 1), (first.index + 1, attempt + 1)):
        master.say(Response(JOB, 0, number, tried, arrays=(2 * ONE,)))
        master.say(Superseded(JOB, 0, number, tried))
        master.say(Refused(JOB, 0, number, tried, "late"))
        master.say(Failure(JOB, 0, number, tried, "late"))
    second = master.run(response_of(3))
    assert second.results[0][0].item() == 3
    assert [event.status for event in master.events] == ["counted", "counted"]


def test_versions_of_one_master_are_not_those_of_another() -> None:
    """A worker that was another master's of the same keys may hold arrays of the same names."""
    first, second = ({master.load("rows", 1) for master in (Master() for _ in range(8))} for _ in range(2))
    assert len(first | second) == 16


LATE = (
    lambda number: Alive(JOB, 0),
    lambda number: Acknowledged(JOB, 0, number),
    lambda number: Absent(JOB, 0, number, "late"),
    lambda number: Response(JOB, 0, number, 1),
    lambda number: Superseded(JOB, 0, number, 1),
    lambda number: Refused(JOB, 0, number, 1, "late"),
    lambda number: Failure(JOB, 0, number, 1, "late"),
)


@pytest.mark.parametrize("late", LATE)
def test_late_words_between_rounds_leave_everything_as_it_was(
    master: Master, late: Callable[[int], FromWorker]
) -> None:
    version = master.load("rows", 1)
    master.hear(Acknowledged(JOB, 0, version))
    done = master.run(response_of(1))
    before = SimpleNamespace(held=dict(master.worker.held), events=len(master.events))
    for number in (0, done.index, done.index + 1, version - 1, version, version + 1, 2**40):
        master.hear(late(number))
    assert master.worker.held == before.held
    assert master.worker.open_tasks == master.worker.open_stores == {}
    assert len(master.events) == before.events
    assert set(master.run(response_of(1)).results) == {0}
