"""Turns: as many at a time as there are cores, none lost with whoever had it, and none awaited for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import zmq

from coded_als.wire import Hello, Message, Response, Stop, Superseded, Task, decode, encode
from coded_als.worker import turns
from coded_als.worker.loop import Worker
from coded_als.worker.turns import AVAILABLE, Turns

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="needs Linux's epoll")
JOB, ONE = b"a job", np.ones((1, 1, 1))


def test_there_are_as_many_as_cores_and_the_dead_give_theirs_back() -> None:
    all_turns = Turns(4, 2)
    one, two, three, _ = (all_turns.of(worker) for worker in range(4))
    assert [one.take(), two.take(), three.take()] == [True, True, False]
    three.give()  # it has none
    assert not three.take()
    two.give()
    assert three.take()
    for worker in (2, 2, 3):
        all_turns.died(worker)
    assert [two.take(), two.take()] == [True, False]


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[zmq.Socket[bytes], Turns]]:
    """The other end of one worker that shares a core, in a thread."""
    monkeypatch.setattr(turns, "PATIENCE_S", 30.0)
    with zmq.Context() as context, context.socket(zmq.PAIR) as ours, context.socket(zmq.PAIR) as theirs:
        ours.linger = theirs.linger = 0
        theirs.connect(f"tcp://127.0.0.1:{ours.bind_to_random_port('tcp://127.0.0.1')}")
        shared = Turns(2, 1)
        thread = threading.Thread(target=Worker(theirs, 0, JOB, 1, turn=shared.of(0)).serve)
        thread.start()
        assert isinstance(hear(ours), Hello)
        yield ours, shared
        ours.send_multipart(encode(Stop(JOB, 0)))
        thread.join(5)
        assert not thread.is_alive()


def ask(socket: zmq.Socket[bytes], round_index: int) -> None:
    socket.send_multipart(encode(Task(JOB, 0, round_index, 0, "product", arrays=(ONE, ONE))))


def hear(socket: zmq.Socket[bytes]) -> Message:
    assert socket.poll(5000)
    return decode(socket.recv_multipart())


def responded(socket: zmq.Socket[bytes]) -> int:
    """The round that the next message is a response to."""
    message = hear(socket)
    assert isinstance(message, Response)
    return message.round_index


def test_a_worker_computes_when_a_turn_is_free_and_a_newer_task_still_wins(
    master: tuple[zmq.Socket[bytes], Turns],
) -> None:
    socket, shared = master
    other = shared.of(1)
    assert other.take()
    ask(socket, 1)
    assert not socket.poll(20)
    ask(socket, 2)
    assert hear(socket) == Superseded(JOB, 0, 1, 0)
    other.give()
    assert responded(socket) == 2
    # and it has given its turn back
    ask(socket, 3)
    assert (responded(socket), taken_in_time(other)) == (3, True)


def taken_in_time(turn: turns.Turn) -> bool:
    until(turn.take)
    return True


def until(happens: Callable[[], bool]) -> None:
    ends_s = time.perf_counter() + 5
    while not happens():
        assert time.perf_counter() < ends_s


def test_nobody_waits_for_ever_for_one_that_does_not_come_back(
    master: tuple[zmq.Socket[bytes], Turns], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket, shared = master
    monkeypatch.setattr(turns, "PATIENCE_S", 0.02)
    assert shared.of(1).take()
    ask(socket, 1)
    assert responded(socket) == 1
    # it had none to give back
    assert not shared.of(1).take()


def test_of_those_that_wait_the_lowest_number_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever began to wait first: the first workers hold one copy of each block."""
    monkeypatch.setattr(turns, "PATIENCE_S", 30.0)
    shared, woken = Turns(4, 1), Queue[int]()
    assert shared.of(3).take()
    with zmq.Context() as context:
        threads = []
        for worker in (2, 0, 1):
            threads.append(threading.Thread(target=wait_for_turn, args=(shared.of(worker), worker, context, woken)))
            threads[-1].start()
            place = Path(f"/proc/self/task/{threads[-1].native_id}/wchan")
            until(lambda: "epoll_wait" in place.read_text() or "ep_poll" in place.read_text())  # noqa: B023
        shared.of(3).give()
        assert [woken.get(timeout=5) for _ in threads] == [0, 1, 2]
        for thread in threads:
            thread.join()


def wait_for_turn(turn: turns.Turn, worker: int, context: zmq.Context[zmq.Socket[bytes]], woken: Queue[int]) -> None:
    with context.socket(zmq.PAIR) as socket:
        while not turn.take():
            turn.wait(socket, time.perf_counter())
        woken.put(worker)
        turn.give()
