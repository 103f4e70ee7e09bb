"""The worker's inbox: order, pre-emption, versions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from coded_als.wire import (
    Acknowledged,
    Alive,
    Answer,
    Ask,
    Cancel,
    Failure,
    Hello,
    Message,
    Ping,
    Refused,
    Response,
    Retain,
    Stop,
    Store,
    Superseded,
    Task,
    Word,
    decode,
    encode,
)
from coded_als.worker.loop import MOST_KINDS, UsualTimes, Worker

JOB = b"a job"
ONE = np.ones((1, 1, 1))


class Master:
    """The other end of one worker in a thread."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.socket = context.socket(zmq.PAIR)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        other = context.socket(zmq.PAIR)
        other.connect(f"tcp://127.0.0.1:{port}")
        self.sockets = (self.socket, other)
        self.reasons: list[str] = []
        worker = Worker(other, 3, JOB, 42)
        self.thread = threading.Thread(target=lambda: self.reasons.append(worker.serve()))
        self.thread.start()

    def say(self, message: Message) -> None:
        self.socket.send_multipart(encode(message))

    def task(self, round_index: int, value: float = 1.0, **fields: Any) -> None:
        fields = {"kernel": "product", "attempt": 0, "arrays": (ONE, value * ONE), **fields}
        self.say(Task(JOB, 3, round_index, **fields))

    def store(self, name: str, version: int, value: float = 1.0) -> None:
        self.say(Store(JOB, 3, name, version, (value * ONE,)))

    def hear(self) -> Message:
        assert self.socket.poll(5000)
        return decode(self.socket.recv_multipart())

    def heard(self) -> tuple[type[Message], int]:
        """The kind of a message, and the round or the version that it is about."""
        message = self.hear()
        return type(message), message.version if isinstance(message, Acknowledged) else message.round_index


@pytest.fixture
def master() -> Iterator[Master]:
    with zmq.Context() as context:
        master = Master(context)
        assert master.hear() == Hello(JOB, 3, 42)
        yield master
        master.say(Stop(JOB, 3, "enough"))
        master.thread.join(5)
        assert master.reasons == ["enough"]
        for socket in master.sockets:
            socket.close(linger=0)


def test_a_task_is_answered_after_its_delay(master: Master) -> None:
    sent = time.perf_counter()
    master.task(7, 2.0, attempt=1, delay_s=0.0305)
    response = master.hear()
    assert time.perf_counter() - sent >= 0.0305 <= response.waited_s
    assert isinstance(response, Response)
    assert (response.job, response.worker, response.round_index, response.attempt) == (JOB, 3, 7, 1)
    assert response.arrays[0].item() == 2.0


EIGHT = np.arange(8.0).reshape(1, 8, 1)


def test_a_task_in_pieces_says_a_word_and_is_answered_in_its_own_order_when_it_is_done(master: Master) -> None:
    master.task(7, arrays=(EIGHT, 2 * ONE), pieces=4, start=3)
    word = master.hear()  # and perhaps another, where the pace changes
    answer = next(message for message in iter(master.hear, None) if not isinstance(message, Word))
    assert isinstance(word, Word)
    assert (word.round_index, word.attempt, word.done) == (7, 0, 1)
    assert isinstance(answer, Answer)
    assert answer.done == 4
    assert answer.computed_s >= word.computed_s > 0
    assert answer.arrays[0].ravel().tolist() == [12, 14, 0, 2, 4, 6, 8, 10]


def test_a_worker_keeps_its_pieces_until_it_is_asked_for_them(master: Master) -> None:
    """Each of its pieces takes some tens of milliseconds: a multiplication, ten thousand times as slow."""
    master.task(7, arrays=(EIGHT, ONE), pieces=8, slowness=1e4)
    assert master.hear().done == 1
    master.say(Ask(JOB, 3, 7, 0, 3))
    answer = next(message for message in iter(master.hear, None) if isinstance(message, Answer))
    assert answer.done == 3
    assert answer.arrays[0].ravel().tolist() == [0, 1, 2]
    master.say(Ask(JOB, 3, 7, 1, 0))  # of another attempt
    master.say(Ask(JOB, 3, 7, 0, 0))
    asked = master.hear()
    assert isinstance(asked, Word | Answer)
    assert asked.done >= 3
    master.task(8)
    heard = iter(master.hear, None)
    assert isinstance(next(message for message in heard if not isinstance(message, Word | Answer)), Superseded)
    assert master.heard() == (Response, 8)


def test_a_worker_answers_with_its_pieces_when_they_are_due_and_says_nothing_before(master: Master) -> None:
    """Each of its pieces takes some tens of milliseconds: a multiplication, a thousand times as slow."""
    master.task(6)
    assert master.heard() == (Response, 6)
    master.task(7, arrays=(np.ones((1, 200, 1)), ONE), pieces=200, slowness=1e3, due_s=1.0)
    answer = master.hear()
    assert isinstance(answer, Answer)
    assert 1 <= answer.done < 200
    assert answer.sent_s >= 1.0
    master.say(Ask(JOB, 3, 7, 0, answer.done + 1))
    assert master.hear().done == answer.done + 1  # it went on, and said no word
    master.task(8, arrays=(EIGHT, ONE), pieces=8, slowness=1e4, due_s=0.0)
    assert isinstance(master.hear(), Superseded)
    assert isinstance(master.hear(), Word)  # nothing was done when it was due
    master.task(9, delay_s=0.1, arrays=(EIGHT, ONE), pieces=8, due_s=30.0)
    assert isinstance(master.hear(), Superseded)
    assert master.hear().done == 8


def test_a_worker_waits_after_the_pieces_that_it_does_unasked(master: Master) -> None:
    master.task(7, arrays=(EIGHT, ONE), pieces=8, start=2, unasked=1)
    first = master.hear()
    assert isinstance(first, Answer)
    assert (first.done, first.arrays[0].ravel().tolist()) == (1, [2])
    master.say(Ask(JOB, 3, 7, 0, 3))
    answer = master.hear()
    while isinstance(answer, Word):
        answer = master.hear()
    assert (answer.done, answer.arrays[0].ravel().tolist()) == (3, [3, 4])
    assert answer.computed_s < 0.5  # without the wait for the question
    master.task(8)
    assert [master.heard() for _ in range(2)] == [(Superseded, 7), (Response, 8)]


@pytest.mark.parametrize("delay_s", [30.0, np.inf])
def test_a_newer_task_supersedes_a_waiting_one(master: Master, delay_s: float) -> None:
    master.task(0, delay_s=delay_s)
    master.task(1)
    assert [master.heard() for _ in range(2)] == [(Superseded, 0), (Response, 1)]


def test_a_newer_task_supersedes_a_computing_one(master: Master) -> None:
    rows = np.ones((1, 20_000, 400))  # many panels: seconds on one core
    master.task(0, arrays=(rows, np.ones((1, 400, 4000))))
    time.sleep(0.2)  # into the panels
    master.task(1)
    assert [master.heard() for _ in range(2)] == [(Superseded, 0), (Response, 1)]


def test_arrays_arrive_during_a_delay_without_ending_it(master: Master) -> None:
    master.task(0, delay_s=0.1)
    master.store("stored", 9, 5.0)
    assert master.heard() == (Acknowledged, 9)
    response = master.hear()
    assert response.round_index == 0
    assert response.waited_s >= 0.1
    master.task(1, operands=(("stored", 9),), arrays=(ONE,))
    assert master.hear().arrays[0].item() == 5.0


def test_what_comes_first_is_stored_first(master: Master) -> None:
    for version in range(3):
        master.store("stored", version, version)
    master.task(0, operands=(("stored", 2),), arrays=(ONE,))
    assert [master.heard() for _ in range(3)] == [(Acknowledged, version) for version in range(3)]
    assert master.hear().arrays[0].item() == 2.0


@pytest.mark.parametrize("stamp", [("stored", 1), ("never stored", 2)])
def test_operands_of_another_version_are_refused(master: Master, stamp: tuple[str, int]) -> None:
    master.store("stored", 2)
    master.task(4, operands=(stamp,), arrays=(ONE,))
    assert master.heard()[0] is Acknowledged
    assert master.heard() == (Refused, 4)
    master.task(5)
    assert master.heard() == (Response, 5)


def test_what_is_not_to_be_retained_is_forgotten(master: Master) -> None:
    for name, version in (("stays", 1), ("goes", 2)):
        master.store(name, version)
        assert master.heard() == (Acknowledged, version)
    master.say(Retain(JOB, 3, (("stays", 1),)))
    master.task(0, operands=(("goes", 2),), arrays=(ONE,))
    assert master.hear() == Refused(JOB, 3, 0, 0, "goes")
    master.task(1, operands=(("stays", 1),), arrays=(ONE,))
    assert master.heard() == (Response, 1)


def test_a_preempted_task_has_kept_its_payload(master: Master) -> None:
    master.task(0, delay_s=30.0, keep=(("kept", 1),), arrays=(3 * ONE, ONE))
    master.task(1, operands=(("kept", 1),), arrays=(ONE,))
    assert master.heard() == (Superseded, 0)
    assert master.hear().arrays[0].item() == 3.0


@pytest.mark.parametrize(
    ("fields", "text"), [({"kernel": "no_such"}, "KeyError"), ({"arrays": (ONE, np.ones((1, 2, 2)))}, "ValueError")]
)
def test_exceptions_are_reported_and_survived(master: Master, fields: dict[str, Any], text: str) -> None:
    master.task(0, **fields)
    message = master.hear()
    assert isinstance(message, Failure)
    assert text in message.reason
    master.task(1)
    assert master.heard() == (Response, 1)


def test_foreign_messages_are_ignored(master: Master, caplog: pytest.LogCaptureFixture) -> None:
    master.socket.send_multipart([b"junk", b"more"])
    master.say(Stop(b"another job", 3))
    master.say(Superseded(JOB, 3, 1, 0))  # as no master speaks
    master.task(1)
    assert master.heard() == (Response, 1)
    assert "ignored a message" in caplog.text


def test_an_orphan_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.worker.loop.LOOK_AFTER_PARENT_S", 0.01)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect("tcp://127.0.0.1:9")
        responses = iter([True, True, False])
        assert Worker(socket, 0, JOB, 1, lambda: next(responses, False)).serve() == ""


def test_a_cancelled_task_is_dropped_and_another_is_not(master: Master) -> None:
    master.task(1, delay_s=30.0)
    master.say(Cancel(JOB, 3, 1, 5))
    master.say(Cancel(JOB, 3, 2, 0))
    master.say(Ping(JOB, 3))
    assert master.hear() == Alive(JOB, 3)
    master.say(Cancel(JOB, 3, 1, 0))
    assert master.heard() == (Superseded, 1)
    master.task(2)
    assert master.heard() == (Response, 2)


def test_one_cold_panel_is_not_the_usual_time_of_it_and_a_new_speed_soon_is() -> None:
    usual = UsualTimes()
    assert usual.learn("panel 0", 2.0) == 2.0
    assert [usual.learn("panel 0", seconds) for seconds in (1.0, 1.0, 9.0)] == [1.5, 1.0, 1.5]
    assert [usual.learn("panel 0", 3.0) for _ in range(6)][-1] == 3.0
    assert usual.learn("panel 1", 7.0) == 7.0


def test_few_kinds_of_work_are_remembered() -> None:
    usual = UsualTimes()
    for panel in range(2 * MOST_KINDS):
        usual.learn(panel, 1.0)
    assert usual.learn(0, 5.0) == 5.0
