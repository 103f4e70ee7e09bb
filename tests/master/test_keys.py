"""Keys: what is written, who is admitted with them and under which number, and what strangers get."""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.cluster import Fastest, Round, all_of
from coded_als.delays import Disturbance
from coded_als.errors import CodedALSError, UsageError
from coded_als.master import RemoteCluster
from coded_als.master.key_files import MASTER_FILE, WORKER_FILE, MasterKeys, make_keys
from coded_als.master.link import MOST_FRAMES, Link
from coded_als.wire import ANY_NUMBER, Hello, encode
from coded_als.worker.credentials import Credentials
from coded_als.worker.process import run_worker

ONE = np.ones((1, 1, 1))


def of_master(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Records of the master alone: threads of workers that end late may log too."""
    return [record for record in caplog.records if record.name.startswith("coded_als.master")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def credentials_of(folder: Path, number: int) -> Credentials:
    with (folder / WORKER_FILE.format(number)).open() as file:
        return Credentials.read(file)


class Worker(threading.Thread):
    """A worker in a thread of this process, and why it ended."""

    def __init__(self, port: int, credentials: Credentials, number: int = ANY_NUMBER) -> None:
        super().__init__(daemon=True)
        self.reason = ""
        self._arguments = number, f"tcp://127.0.0.1:{port}", credentials
        self.start()

    def run(self) -> None:
        self.reason = run_worker(*self._arguments, remote=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", 3)
    return tmp_path / "keys"


@contextmanager
def cluster_of(folder: Path, workers: int, *started: int) -> Iterator[tuple[RemoteCluster, int]]:
    """A master with keys and the workers with these of them."""
    port = free_port()
    threads = [Worker(port, credentials_of(folder, number)) for number in started]
    with RemoteCluster(f"tcp://127.0.0.1:{port}", workers, keys=folder, join_timeout_s=20) as cluster:
        yield cluster, port
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def step_until(cluster: RemoteCluster, condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        cluster._membership.step(0.01)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    said = CliRunner().invoke(main, ["keys", str(folder), "--workers", "2"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "wrote" in said.output
    assert sorted(os.listdir(folder)) == sorted([MASTER_FILE, *(WORKER_FILE.format(number) for number in range(2))])
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys = MasterKeys.read(folder)
    assert sorted(keys.allowed.values()) == [0, 1]
    for public, number in keys.allowed.items():
        credentials = credentials_of(folder, number)
        assert zmq.curve_public(credentials.secret_key) == public
        assert credentials.server_key == zmq.curve_public(keys.secret_key)
        assert keys.secret_key.decode() not in credentials.text()


def test_keys_are_never_overwritten_and_damaged_ones_are_refused(folder: Path) -> None:
    before = {path: path.read_text() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="a folder that holds none"):
        make_keys(folder, 5)
    assert {path: path.read_text() for path in folder.iterdir()} == before
    master = folder / MASTER_FILE
    for text in ("", "x\ny\n", before[master][:-10], before[master].replace("\n1 ", "\n0 ").replace("\n2 ", "\nx ")):
        master.write_text(text)
        with pytest.raises(UsageError, match="the master's keys must be"):
            MasterKeys.read(folder)
    master.write_text(before[master])
    master.chmod(0o640)
    with pytest.raises(UsageError, match="readable for their owner alone"):
        MasterKeys.read(folder)
    with pytest.raises(UsageError, match="a folder that coded-als keys wrote"):
        MasterKeys.read(folder / "none")


def test_workers_are_admitted_under_the_numbers_of_their_keys(folder: Path) -> None:
    with cluster_of(folder, 2, 1, 0) as (cluster, _):
        cluster.store("one", [ONE, 2 * ONE])
        round = Round("product", ("one",), [(ONE,)] * 2, response_shapes=((1, 1, 1),))
        results = cluster.run(round, all_of(2)).results
        assert [results[worker][0].item() for worker in range(2)] == [1.0, 2.0]


def test_a_key_for_each_worker_is_asked_for_beforehand(folder: Path) -> None:
    with pytest.raises(UsageError, match="for each of 5 workers; got none for 3"):
        RemoteCluster(f"tcp://127.0.0.1:{free_port()}", 5, keys=folder)


def test_another_number_and_another_place_are_refused_and_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with cluster_of(folder, 2, 0, 1) as (cluster, port), caplog.at_level(logging.WARNING):
        for number, asked, said in ((0, 1, "the number of its key, 0; got 1"), (2, ANY_NUMBER, "from 0 to 1; got 2")):
            worker = Worker(port, credentials_of(folder, number), asked)
            step_until(cluster, lambda: not worker.is_alive())  # noqa: B023 - called at once
            assert said in worker.reason
        assert [said in record.getMessage() for record, said in zip(of_master(caplog), ["got 1", "got 2"], strict=True)]


def test_who_is_not_on_the_list_is_refused_and_logged_once(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_keys(tmp_path / "others", 1)
    other, own = credentials_of(tmp_path / "others", 0), credentials_of(folder, 0)
    stranger = Credentials(own.job, own.server_key, other.secret_key)
    with (
        caplog.at_level(logging.WARNING),
        cluster_of(folder, 1, 0) as (cluster, port),
        zmq.Context() as context,
        context.socket(zmq.DEALER) as client,
    ):
        client.linger = 0
        client.curve_serverkey, client.curve_secretkey = own.server_key, stranger.secret_key
        client.curve_publickey = zmq.curve_public(stranger.secret_key)
        client.connect(f"tcp://127.0.0.1:{port}")
        with suppress(zmq.Again):  # it may have been refused by now
            client.send_multipart(encode(Hello(own.job, 0, 1)), zmq.DONTWAIT)
        step_until(cluster, lambda: cluster._link.refused >= 1)
        assert not client.poll(200)
        assert cluster.malformed == 0
        assert cluster._link.refused == 1  # ZeroMQ does not try again
    assert ["refused a connection" in record.getMessage() for record in of_master(caplog)] == [True]


@contextmanager
def strangers(port: int, server_key: bytes) -> Iterator[list[Any]]:
    """Clients without the right key: of other mechanisms, with another master's key, and plain TCP."""
    with (
        zmq.Context() as context,
        socket.create_connection(("127.0.0.1", port)) as raw,
    ):
        clients = [context.socket(zmq.DEALER) for _ in range(4)]
        clients[1].plain_username, clients[1].plain_password = b"0", b"x"
        for client, key in ((clients[2], zmq.curve_keypair()[0]), (clients[3], server_key)):
            client.curve_serverkey = key
            client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
        for client in clients:
            client.linger = 0
            client.connect(f"tcp://127.0.0.1:{port}")
            with suppress(zmq.Again):  # on a busy machine it may have been refused by now: there is nobody to send to
                client.send_multipart(encode(Hello(b"", 0, 1)), zmq.DONTWAIT)
        raw.settimeout(0.2)
        try:
            yield [*clients, raw]
        finally:
            for client in clients:
                client.close()


def test_without_the_right_key_nobody_gets_a_share_a_payload_or_a_reply(folder: Path) -> None:
    with (
        cluster_of(folder, 2, 0, 1) as (cluster, port),
        strangers(port, credentials_of(folder, 0).server_key) as clients,
    ):
        *foreign, raw = clients
        raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48))  # a greeting
        for _ in range(3):
            cluster.store("one", [ONE, ONE])
            round = Round("product", ("one",), [(ONE,)] * 2, response_shapes=((1, 1, 1),))
            assert len(cluster.run(round, all_of(2)).results) == 2
        assert not any(client.poll(50) for client in foreign)
        greeting = b""
        with suppress(TimeoutError):
            while chunk := raw.recv(4096):
                greeting += chunk
        assert len(greeting) <= 64 + 200  # ZMTP's own greeting and handshake, and nothing of ours
        assert not any(word in greeting for word in (b"one", MasterKeys.read(folder).job))
        assert set(cluster.process_ids) == {0, 1}


def test_a_message_of_many_frames_is_dropped_as_it_comes(folder: Path) -> None:
    link = Link("tcp://127.0.0.1:*", b"secret", most_frame_bytes=1 << 16)
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.plain_username, client.plain_password = b"0", b"secret"
        client.connect(link.endpoint)
        client.send_multipart([b"x"] * 1000)
        while (frames := link.receive(5.0)) is None:
            pass
        assert len(frames) <= MOST_FRAMES + 2
        client.send(bytes(1 << 17))  # too large: the connection is dropped instead
        while (frames := link.receive(0.1)) is None:
            client.send(b"small")  # by its next connection
        assert frames[1].bytes == b"small"
    link.close()


def test_a_worker_refuses_what_it_cannot_compute_or_hold(folder: Path) -> None:
    with cluster_of(folder, 1, 0) as (cluster, _):
        cluster.store("one", [np.ones((1, 3, 2))])
        for payload in (np.ones((1, 3, 2)), np.ones((2, 2)), np.ones((3, 2, 2)), np.ones(0)):
            with pytest.raises(CodedALSError, match=r"kernels must not raise|must be float64 of the shapes"):
                cluster.run(Round("product", ("one",), [(payload,)], response_shapes=((1, 3, 2),)), all_of(1))
        with pytest.raises(UsageError, match="kernel must be one of"):
            cluster.run(Round("__import__"), all_of(1))
        with pytest.raises(UsageError, match="a response must have at most"):
            cluster.run(Round("product", ("one",), [(ONE,)], response_shapes=((1, 3, 10**9),)), all_of(1))
        # and it goes on
        round = Round("product", ("one",), [(np.ones((1, 2, 1)),)], response_shapes=((1, 3, 1),))
        assert cluster.run(round, Fastest(1)).results[0][0].tolist() == [[[2.0], [2.0], [2.0]]]


def test_an_earlier_master_is_not_answered_to_a_later_one(folder: Path) -> None:
    port = free_port()
    worker = Worker(port, credentials_of(folder, 0))
    round = Round("product", ("one",), [(ONE,)], response_shapes=((1, 1, 1),))
    with RemoteCluster(
        f"tcp://127.0.0.1:{port}", 1, keys=folder, delays="slow:n=1,delay=0.3s", join_timeout_s=20
    ) as first:
        first.store("one", [ONE])
        threading.Timer(0.05, lambda: first._link.interrupts and None).start()
        task = first._rounds._begin(round, all_of(1), Disturbance.late([0.3]), 0.0)
        first._rounds._ask(first._membership.workers[0], task)
        first._resources.pop_all()  # it dies without a farewell
        first._link.close()
    with RemoteCluster(f"tcp://127.0.0.1:{port}", 1, keys=folder, join_timeout_s=20) as second:
        second.store("one", [3 * ONE])
        assert second.run(round, all_of(1)).results[0][0].item() == 3.0
    worker.join(10)


def test_a_worker_without_a_number_takes_the_first_free_one(tmp_path: Path) -> None:
    port, key = free_port(), tmp_path / "key"
    workers: list[Worker] = []

    def start() -> None:
        while not key.exists():
            time.sleep(0.01)
        with key.open() as file:
            credentials = Credentials.read(file)
        workers.extend(Worker(port, credentials) for _ in range(3))

    threading.Thread(target=start, daemon=True).start()
    with RemoteCluster(f"tcp://127.0.0.1:{port}", 3, key, join_timeout_s=20) as cluster:
        cluster.store("one", [ONE] * 3)
        round = Round("product", ("one",), [(ONE,)] * 3, response_shapes=((1, 1, 1),))
        assert set(cluster.run(round, all_of(3)).workers) == {0, 1, 2}
    for worker in workers:
        worker.join(10)
        assert not worker.is_alive()
