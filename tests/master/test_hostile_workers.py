"""Workers with a valid key who mean ill: floods, forged words, and other workers' numbers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from coded_als.cluster import Fastest, Round
from coded_als.master import RemoteCluster
from coded_als.master.key_files import make_keys
from coded_als.wire import (
    Absent,
    Acknowledged,
    Alive,
    Failure,
    FromWorker,
    Hello,
    Refused,
    Response,
    Superseded,
    Task,
    decode,
    encode,
)
from tests.master.test_by_hand import resident_mb
from tests.master.test_keys import Worker, credentials_of, free_port, step_until

ONE = np.ones((1, 1, 1))
NUMBER = 0


class Hostile:
    """An admitted client that says what it likes, and reads nothing unless it is asked to."""

    def __init__(self, folder: Path, port: int) -> None:
        own = credentials_of(folder, NUMBER)
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger, self.socket.sndtimeo, self.socket.rcvhwm = 0, 10_000, 1
        self.socket.curve_serverkey, self.socket.curve_secretkey = own.server_key, own.secret_key
        self.socket.curve_publickey = zmq.curve_public(own.secret_key)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.job = own.job
        self.say(Hello, process_id=4)

    def say(self, kind: type[FromWorker], **fields: Any) -> None:
        self.socket.send_multipart(encode(kind(**{"job": self.job, "worker": NUMBER, **fields})))

    def flood(self, *words: tuple[type[FromWorker], dict[str, Any]], times: int) -> threading.Thread:
        def send() -> None:
            for _ in range(times):
                for kind, fields in words:
                    self.say(kind, **fields)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        return thread


@contextmanager
def beside_an_honest_one(tmp_path: Path) -> Iterator[tuple[RemoteCluster, Hostile]]:
    """A master with two workers, of whom number 0 is hostile."""
    make_keys(tmp_path / "keys", 2)
    port = free_port()
    honest, hostile = Worker(port, credentials_of(tmp_path / "keys", 1)), Hostile(tmp_path / "keys", port)
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{port}", 2, keys=tmp_path / "keys", round_timeout_s=20) as cluster:
            yield cluster, hostile
        honest.join(10)
    finally:
        hostile.context.destroy(linger=0)


def run(cluster: RemoteCluster, side: int = 1) -> None:
    """A round that the honest worker can end alone."""
    payload = np.ones((1, side, 1))
    round = Round("inner_product", (), [(payload,)] * 2, response_shapes=((1, 1, 1),))
    assert cluster.run(round, Fastest(1)).results[1][0].item() == side


def test_who_introduces_himself_without_end_is_not_sent_without_end(tmp_path: Path) -> None:
    with beside_an_honest_one(tmp_path) as (cluster, hostile):
        run(cluster)
        before = resident_mb(os.getpid())
        for _ in range(200):
            hostile.say(Hello, process_id=4)
            run(cluster, 40_000)  # 320 kB, which a task that is not read keeps
        assert resident_mb(os.getpid()) - before < 45


def test_whoever_claims_another_number_without_end_is_not_answered_without_end(tmp_path: Path) -> None:
    with beside_an_honest_one(tmp_path) as (cluster, hostile):
        before = resident_mb(os.getpid())
        flood = hostile.flood((Hello, {"worker": 1, "process_id": 4}), times=20_000)
        while flood.is_alive():
            run(cluster)
        assert resident_mb(os.getpid()) - before < 20
        assert cluster.process_ids[1] == os.getpid()


def test_signs_of_life_and_responses_to_rounds_that_never_were_disturb_nobody(tmp_path: Path) -> None:
    events: list[Any] = []
    with beside_an_honest_one(tmp_path) as (cluster, hostile):
        cluster.observers.append(events.append)
        flood = hostile.flood(
            (Alive, {}),
            (Response, {"round_index": 2**40, "attempt": 0, "arrays": (ONE,)}),
            (Response, {"round_index": 3, "attempt": 1, "arrays": (np.zeros((1, 1, 1)),)}),
            (Acknowledged, {"version": 2**62}),
            (Superseded, {"round_index": -1, "attempt": 0}),
            (Refused, {"round_index": 2, "attempt": 0}),
            times=3000,
        )
        rounds = 0
        while flood.is_alive() or rounds < 10:
            run(cluster)
            rounds += 1
    assert not [event for event in events if event.worker == NUMBER and event.status == "counted"]


def test_an_array_that_nobody_was_to_load_cannot_be_reported_lost(tmp_path: Path) -> None:
    with beside_an_honest_one(tmp_path) as (cluster, hostile):
        for number in range(5):
            hostile.say(Absent, version=number, reason="gone")
        cluster.store("one", [ONE, ONE])
        before = cluster.malformed
        hostile.say(Absent, version=99, reason="gone")
        step_until(cluster, lambda: cluster.malformed > before)
        run(cluster)


def test_what_a_worker_says_is_one_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        while not isinstance(task := decode(hostile.socket.recv_multipart()), Task):
            pass
        forged = "a\nforged\x1b[2J" + "b" * 9999
        hostile.say(Failure, round_index=task.round_index, attempt=task.attempt, reason=forged)

    with beside_an_honest_one(tmp_path) as (cluster, hostile), caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=fail)
        thread.start()
        cluster.run(
            Round("inner_product", (), [(ONE,)] * 2, response_shapes=((1, 1, 1),), check=lambda *_: True), Fastest(1)
        )
        step_until(cluster, lambda: not cluster._membership.workers[NUMBER].open_tasks)
        thread.join(10)
    assert all(record.getMessage().isprintable() for record in caplog.records)


@pytest.mark.parametrize("seconds", [float("nan"), -1.0, -float("inf")])
def test_times_that_cannot_be_are_refused(tmp_path: Path, seconds: float) -> None:
    with beside_an_honest_one(tmp_path) as (cluster, hostile):
        before = cluster.malformed
        hostile.say(Response, round_index=0, attempt=0, computed_s=seconds)
        hostile.say(Response, round_index=0, attempt=0, waited_s=seconds)
        step_until(cluster, lambda: cluster.malformed == before + 2)
