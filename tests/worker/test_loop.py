"""The worker's inbox: order, pre-emption, versions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from coded_als.wire import Kind, Message, decode, encode
from coded_als.worker.loop import Worker

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

    def say(self, kind: Kind, job: bytes = JOB, **fields: Any) -> None:
        self.socket.send_multipart(encode(Message(kind, job, 3, **fields)))

    def task(self, round_index: int, value: float = 1.0, **fields: Any) -> None:
        fields = {"kernel": "product", "arrays": (ONE, value * ONE), **fields}
        self.say(Kind.TASK, round_index=round_index, **fields)

    def hear(self) -> Message:
        assert self.socket.poll(5000)
        return decode(self.socket.recv_multipart())

    def heard(self) -> tuple[Kind, int]:
        message = self.hear()
        return message.kind, message.round_index


@pytest.fixture
def master() -> Iterator[Master]:
    with zmq.Context() as context:
        master = Master(context)
        assert master.hear().number == 42
        yield master
        master.say(Kind.STOP, text="enough")
        master.thread.join(5)
        assert master.reasons == ["enough"]
        for socket in master.sockets:
            socket.close(linger=0)


def test_a_task_is_answered_after_its_delay(master: Master) -> None:
    sent = time.perf_counter()
    master.task(7, 2.0, attempt=1, delay_s=0.0305)
    response = master.hear()
    assert time.perf_counter() - sent >= 0.0305 <= response.waited_s
    assert (response.kind, response.job, response.worker, response.round_index, response.attempt) == (
        Kind.RESULT,
        JOB,
        3,
        7,
        1,
    )
    assert response.arrays[0].item() == 2.0


@pytest.mark.parametrize("delay_s", [30.0, np.inf])
def test_a_newer_task_supersedes_a_waiting_one(master: Master, delay_s: float) -> None:
    master.task(0, delay_s=delay_s)
    master.task(1)
    assert [master.heard() for _ in range(2)] == [(Kind.SUPERSEDED, 0), (Kind.RESULT, 1)]


def test_a_newer_task_supersedes_a_computing_one(master: Master) -> None:
    rows = np.ones((1, 20_000, 400))  # many panels: seconds on one core
    master.task(0, arrays=(rows, np.ones((1, 400, 4000))))
    time.sleep(0.2)  # into the panels
    master.task(1)
    assert [master.heard() for _ in range(2)] == [(Kind.SUPERSEDED, 0), (Kind.RESULT, 1)]


def test_arrays_arrive_during_a_delay_without_ending_it(master: Master) -> None:
    master.task(0, delay_s=0.1)
    master.say(Kind.STORE, round_index=9, keep=(("stored", 9),), arrays=(5 * ONE,))
    assert master.heard() == (Kind.STORED, 9)
    response = master.hear()
    assert response.round_index == 0
    assert response.waited_s >= 0.1
    master.task(1, operands=(("stored", 9),), arrays=(ONE,))
    assert master.hear().arrays[0].item() == 5.0


def test_what_comes_first_is_stored_first(master: Master) -> None:
    for version in range(3):
        master.say(Kind.STORE, round_index=version, keep=(("stored", version),), arrays=(version * ONE,))
    master.task(0, operands=(("stored", 2),), arrays=(ONE,))
    assert [master.heard() for _ in range(3)] == [(Kind.STORED, version) for version in range(3)]
    assert master.hear().arrays[0].item() == 2.0


@pytest.mark.parametrize("stamp", [("stored", 1), ("never stored", 2)])
def test_operands_of_another_version_are_refused(master: Master, stamp: tuple[str, int]) -> None:
    master.say(Kind.STORE, keep=(("stored", 2),), arrays=(ONE,))
    master.task(4, operands=(stamp,), arrays=(ONE,))
    assert master.heard()[0] is Kind.STORED
    assert master.heard() == (Kind.REFUSED, 4)
    master.task(5)
    assert master.heard() == (Kind.RESULT, 5)


def test_what_is_not_to_be_retained_is_forgotten(master: Master) -> None:
    for name, version in (("stays", 1), ("goes", 2)):
        master.say(Kind.STORE, round_index=version, keep=((name, version),), arrays=(ONE,))
        assert master.heard() == (Kind.STORED, version)
    master.say(Kind.RETAIN, operands=(("stays", 1),))
    master.task(0, operands=(("goes", 2),), arrays=(ONE,))
    refusal = master.hear()
    assert (refusal.kind, refusal.text) == (Kind.REFUSED, "goes")
    master.task(1, operands=(("stays", 1),), arrays=(ONE,))
    assert master.heard() == (Kind.RESULT, 1)


def test_a_preempted_task_has_kept_its_payload(master: Master) -> None:
    master.task(0, delay_s=30.0, keep=(("kept", 1),), arrays=(3 * ONE, ONE))
    master.task(1, operands=(("kept", 1),), arrays=(ONE,))
    assert master.heard() == (Kind.SUPERSEDED, 0)
    assert master.hear().arrays[0].item() == 3.0


@pytest.mark.parametrize(
    ("fields", "text"), [({"kernel": "no_such"}, "KeyError"), ({"arrays": (ONE, np.ones((1, 2, 2)))}, "ValueError")]
)
def test_exceptions_are_reported_and_survived(master: Master, fields: dict[str, Any], text: str) -> None:
    master.task(0, **fields)
    message = master.hear()
    assert message.kind is Kind.ERROR
    assert text in message.text
    master.task(1)
    assert master.heard() == (Kind.RESULT, 1)


def test_foreign_messages_are_ignored(master: Master, capfd: pytest.CaptureFixture[str]) -> None:
    master.socket.send_multipart([b"junk", b"more"])
    master.say(Kind.STOP, job=b"another job")
    master.task(1)
    assert master.heard() == (Kind.RESULT, 1)
    assert "ignored a message" in capfd.readouterr().err


def test_an_orphan_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.worker.loop.LOOK_AFTER_PARENT_S", 0.01)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect("tcp://127.0.0.1:9")
        responses = iter([True, True, False])
        assert Worker(socket, 0, JOB, 1, lambda: next(responses, False)).serve() == ""


def test_a_cancelled_task_is_dropped_and_another_is_not(master: Master) -> None:
    master.task(1, delay_s=30.0)
    master.say(Kind.CANCEL, round_index=1, attempt=5)
    master.say(Kind.CANCEL, round_index=2)
    master.say(Kind.PING)
    assert master.heard()[0] is Kind.ALIVE
    master.say(Kind.CANCEL, round_index=1)
    assert master.heard() == (Kind.SUPERSEDED, 1)
    master.task(2)
    assert master.heard() == (Kind.RESULT, 2)
