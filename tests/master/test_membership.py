"""Membership on a scripted link: comings and goings that real connections show only now and then."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
import zmq

from coded_als.master.membership import ASK_AFTER_S, MOST_AT_ONCE, SILENT_AFTER_S, Listener, Membership, WorkerState
from coded_als.wire import Acknowledged, Alive, FromWorker, Hello, Message, Ping, Response, encode

JOB = b"job"


class ScriptedLink:
    """A link whose inbox, losses and routes are set by hand."""

    def __init__(self) -> None:
        self.inbox: deque[list[zmq.Frame]] = deque()
        self.reachable: set[bytes] = set()
        self.breaks = self.disconnections = 0
        self.memory = None
        self.endless = False

    @property
    def has_message(self) -> bool:
        return bool(self.inbox)

    def send(self, route: bytes, frames: Sequence[Any]) -> bool:
        return route in self.reachable

    def receive(self, timeout_s: float) -> list[zmq.Frame] | None:
        if self.endless:
            return [zmq.Frame(b"stranger"), zmq.Frame(b"junk")]
        if self.inbox:
            return self.inbox.popleft()
        if self.breaks:
            self.breaks -= 1
            self.disconnections += 1
        return None


class Heard(Listener):
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def heard(self, worker: WorkerState, message: FromWorker) -> None:
        self.told.append((type(message).__name__, worker.id))

    def lost(self, workers: Sequence[WorkerState]) -> None:
        self.told += [("lost", worker.id) for worker in workers]

    def joined(self, worker: WorkerState) -> None:
        self.told.append(("joined", worker.id))

    def silent(self, worker: WorkerState) -> None:
        self.told.append(("silent" if worker.silent else "heard", worker.id))


class Scene:
    """A membership of some workers that have joined."""

    def __init__(self, size: int) -> None:
        self.link, self.listener, self.now_s = ScriptedLink(), Heard(), 0.0
        self.membership = Membership(self.link, JOB, size, lambda: self.now_s)  # type: ignore[arg-type]
        self.membership.listener = self.listener
        for worker in range(size):
            self.link.reachable.add(self.route(worker))
            self.say(hello(worker))
        self.membership.catch_up()
        self.listener.told.clear()

    @staticmethod
    def route(worker: int, life: int = 0) -> bytes:
        return f"w{worker}.{life}".encode()

    def say(self, message: Message, life: int = 0) -> None:
        route, frames = self.route(message.worker, life), encode(message)
        self.link.inbox.append([zmq.Frame(route), *(zmq.Frame(bytes(frame)) for frame in frames)])


def hello(worker: int) -> Hello:
    return Hello(JOB, worker, 100 + worker)


@pytest.fixture
def scene() -> Scene:
    return Scene(3)


def test_a_worker_that_introduces_itself_again_has_lost_what_was_under_way(scene: Scene) -> None:
    scene.say(hello(1))
    scene.membership.catch_up()
    assert scene.listener.told == [("lost", 1), ("joined", 1)]
    assert scene.membership.workers[1].alive


def test_a_worker_that_starts_anew_takes_the_number_of_its_dead_predecessor(scene: Scene) -> None:
    scene.link.reachable.remove(scene.route(1))
    scene.link.reachable.add(scene.route(1, life=1))
    scene.membership.workers[1].held["share"] = 1
    scene.say(hello(1), life=1)
    scene.say(Acknowledged(JOB, 1, 7), life=1)
    scene.say(Acknowledged(JOB, 1, 7))  # of the predecessor
    scene.membership.catch_up()
    assert scene.listener.told == [("lost", 1), ("joined", 1), ("Acknowledged", 1)]
    assert scene.membership.workers[1].held == {}


def test_a_lost_worker_owes_no_acknowledgement(scene: Scene) -> None:
    scene.membership.workers[2].open_stores[7] = 100
    scene.link.reachable.remove(scene.route(2))
    assert not scene.membership.send(scene.membership.workers[2], [b""])
    assert scene.listener.told == [("lost", 2)]
    assert scene.membership.workers[2].open_stores == {}


def test_a_worker_that_introduces_itself_again_owes_no_acknowledgement(scene: Scene) -> None:
    """Its array was lost under way; while one is waited for, it would be given no other."""
    scene.membership.workers[1].open_stores[7] = 100
    scene.say(hello(1))
    scene.membership.catch_up()
    assert scene.membership.workers[1].open_stores == {}


def test_whoever_cannot_be_reached_after_a_broken_connection_is_lost(scene: Scene) -> None:
    scene.link.breaks = 2
    scene.link.reachable -= {scene.route(0), scene.route(2)}
    scene.membership.catch_up()
    assert sorted(scene.listener.told) == [("lost", 0), ("lost", 2)]
    assert [worker.id for worker in scene.membership.alive] == [1]


def test_last_words_count(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.link.breaks = 1
    scene.link.reachable.remove(scene.route(0))
    receive = scene.link.receive

    def late(timeout_s: float) -> list[zmq.Frame] | None:
        """The response arrives between the last look at the inbox and the news of the broken connection."""
        before = scene.link.disconnections
        frames = receive(timeout_s)
        if scene.link.disconnections > before:
            scene.say(Response(JOB, 0, 0, 0))
        return frames

    monkeypatch.setattr(scene.link, "receive", late)
    for _ in range(4):
        scene.membership.step(0.0)
    assert scene.listener.told == [("Response", 0), ("lost", 0)]


def test_who_is_silent_for_too_long_is_told_of_once_and_when_it_is_heard_again(scene: Scene) -> None:
    told = scene.listener.told
    for scene.now_s in (0.9 * ASK_AFTER_S, ASK_AFTER_S, ASK_AFTER_S + 0.9 * SILENT_AFTER_S):
        scene.membership.look_after()
        assert told == []
    scene.say(Alive(JOB, 1))
    scene.membership.catch_up()
    scene.now_s = ASK_AFTER_S + SILENT_AFTER_S + 0.3
    for _ in range(3):
        scene.membership.look_after()
        scene.now_s += ASK_AFTER_S
    assert told == [("silent", 0), ("silent", 2)]
    scene.say(Alive(JOB, 0))
    scene.membership.catch_up()
    assert told[2:] == [("heard", 0)]


def test_a_broken_connection_is_explained_by_who_is_gone_in_half_a_second(scene: Scene) -> None:
    scene.link.breaks = 1
    scene.membership.catch_up()
    scene.now_s = 0.4
    scene.link.reachable.remove(scene.route(2))
    scene.membership.step(0.0)
    assert scene.listener.told == [("lost", 2)]


@pytest.mark.parametrize("message", [Ping(JOB, 0), hello(1), Acknowledged(b"another job", 0, 1)])
def test_a_worker_cannot_speak_as_a_master_or_as_another(scene: Scene, message: Message) -> None:
    scene.link.inbox.append([zmq.Frame(scene.route(0)), *(zmq.Frame(bytes(frame)) for frame in encode(message))])
    scene.membership.catch_up()
    assert scene.membership.malformed == (0 if isinstance(message, Hello) else 1)
    assert scene.listener.told == []


def test_an_inbox_that_never_empties_holds_nobody_up(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.link.endless = True
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            scene.membership.catch_up()
    assert scene.membership.malformed == 10 * MOST_AT_ONCE * 4
    assert len(caplog.records) <= 1 + scene.membership.malformed.bit_length()
