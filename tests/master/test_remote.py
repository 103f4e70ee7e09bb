"""Workers that are started by hand: admission, encryption, broken connections, farewell."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

from coded_als.cluster import Fastest, Round, TaskEvent, all_of
from coded_als.delays import Trace
from coded_als.errors import UsageError
from coded_als.master import RemoteCluster
from coded_als.master.link import Link
from coded_als.master.remote import write_key_file
from coded_als.master.stores import Stores
from coded_als.worker.credentials import Credentials
from coded_als.worker.process import run_worker

SQUARE = (np.full((1, 1, 1), 3.0),)


def round_of(workers: int) -> Round:
    return Round("product", ("one",), [SQUARE] * workers, response_shapes=((1, 1, 1),))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class HandStarted:
    """Workers that wait for a key file and then start."""

    def __init__(self, key_file: Path, ports: dict[int, int]) -> None:
        self.processes: dict[int, subprocess.Popen[str]] = {}
        self._key_file, self._ports = key_file, ports
        self._thread = threading.Thread(target=self._start)
        self._thread.start()

    def _start(self) -> None:
        deadline = time.monotonic() + 10
        while not self._key_file.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        for worker in self._ports:
            self.start(worker)

    def start(self, worker: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "coded_als.worker", "--id", str(worker), "--key-file", str(self._key_file)]
        self.processes[worker] = subprocess.Popen(
            [*command, "--endpoint", f"tcp://127.0.0.1:{self._ports[worker]}"], stderr=subprocess.PIPE, text=True
        )
        return self.processes[worker]

    def end(self) -> None:
        self._thread.join()
        for process in self.processes.values():
            process.kill()
            process.communicate()


class Proxy:
    """Forwards TCP connections, and can break them."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts_at_next_word = False
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink, source is near), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, of_worker: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if of_worker and self.cuts_at_next_word:
                    self.cuts_at_next_word = False
                    self.cut()
                    return
                sink.sendall(data)
        except OSError:
            pass

    def cut(self) -> None:
        """Break all connections."""
        pairs, self._pairs = self._pairs, []
        for end in pairs:
            with suppress(OSError):  # the other side was quicker
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        # an accept in another thread is not woken by close alone
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(free_port())
    yield proxy
    proxy.close()


def test_workers_join_with_the_key_file_and_leave_with_the_cluster(tmp_path: Path) -> None:
    key_file, port = tmp_path / "key", free_port()
    started = HandStarted(key_file, dict.fromkeys(range(2), port))
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{port}", 2, key_file, join_timeout_s=20) as cluster:
            assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
            cluster.store("one", [np.full((1, 1, 1), worker) for worker in range(2)])
            results = cluster.run(round_of(2), all_of(2)).results
            assert [results[worker][0].item() for worker in range(2)] == [0.0, 3.0]
        assert [process.wait(5) for process in started.processes.values()] == [0, 0]
        assert not key_file.exists()
    finally:
        started.end()


def test_a_number_is_given_once_and_a_restarted_worker_takes_it_again(tmp_path: Path) -> None:
    key_file, port = tmp_path / "key", free_port()
    started = HandStarted(key_file, dict.fromkeys(range(2), port))
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{port}", 2, key_file, join_timeout_s=20) as cluster:
            cluster.store("one", [np.ones((1, 1, 1))] * 2)
            original = started.processes[0]
            second = started.start(0)
            while second.poll() is None:
                cluster._membership.step(0.01)
            assert second.returncode == 1
            assert "0 is taken" in second.communicate()[1]
            os.kill(original.pid, signal.SIGKILL)
            original.communicate()
            third = started.start(0)
            deadline = time.monotonic() + 10
            while cluster.process_ids[0] != third.pid and time.monotonic() < deadline:
                cluster._membership.step(0.01)
            # it is given what its predecessor held
            assert set(cluster.run(round_of(2), all_of(2)).workers) == {0, 1}
    finally:
        started.end()


def test_a_broken_connection_costs_one_more_attempt(
    tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(Stores, "retain", lambda stores, worker: told.append(worker.id))
    key_file = tmp_path / "key"
    started = HandStarted(key_file, {0: proxy._target, 1: proxy.port})
    delays = Trace(np.array([[0.0, 0.0], [30.0, 0.0]]))
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{proxy._target}", 2, key_file, delays, join_timeout_s=20) as cluster:
            events: list[TaskEvent] = []
            cluster.observers.append(events.append)
            cluster.store("one", [np.ones((1, 1, 1))] * 2)
            cluster.run(round_of(2), all_of(2))
            proxy.cuts_at_next_word = True  # its response to the next round gets lost with the connection
            assert cluster.run(round_of(2), Fastest(1)).workers == (1,)
            assert cluster._link.disconnections == 1
            assert sorted(told) == [0, 1, 1]  # what it may still hold, when it joined and when it came back
        assert [(event.worker, event.status) for event in events if event.round_index == 1] == [
            (1, "counted"),
            (0, "unfinished"),
        ]
    finally:
        started.end()


def test_others_than_this_machine_are_listened_to_with_keys_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []

    def listen(bind: str, *_: object) -> None:
        bound.append(bind)
        raise UsageError("enough")

    monkeypatch.setattr("coded_als.master.remote.Link", listen)
    near = ["tcp://127.0.0.1:5555", "tcp://127.3.2.1:*", "tcp://localhost:5555", "tcp://[::1]:5555", "ipc:///tmp/x"]
    far = ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.0.2.1:1", "tcp://127.example.org:1", "tcp://eth0:1"]
    for bind in (*near, *far, "tcp://[::]:1"):
        with pytest.raises(UsageError, match=r"enough|keys must be given where others"):
            RemoteCluster(bind, 1, tmp_path / "key")
    assert bound == near
    with pytest.raises(UsageError, match="either keys or key_file"):
        RemoteCluster(near[0], 1)


def test_what_cannot_be_bound_or_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bind must be"):
        RemoteCluster("tcp://127.0.0.1:no", 1, tmp_path / "key")
    with pytest.raises(UsageError, match="key_file must be"):
        RemoteCluster("tcp://127.0.0.1:*", 1, tmp_path / "no folder" / "key")
    with pytest.raises(UsageError, match="workers must be"):
        RemoteCluster("tcp://127.0.0.1:*", 0, tmp_path / "key")


def test_a_key_file_that_cannot_be_written_leaves_no_secret_behind(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    folder.mkdir()
    with pytest.raises(UsageError, match="key_file must be"):
        RemoteCluster("tcp://127.0.0.1:*", 1, folder, join_timeout_s=1)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_at_the_place_of_the_key_file_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("theirs")
    with pytest.raises(UsageError, match="at which nothing is"):
        RemoteCluster("tcp://127.0.0.1:*", 1, key, join_timeout_s=1)
    assert key.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [key]


def test_a_key_file_is_removed_only_by_its_own_master(tmp_path: Path) -> None:
    key = tmp_path / "key"
    remove = write_key_file(key, "ours")
    with pytest.raises(UsageError, match="at which nothing is"):
        write_key_file(key, "second")
    key.unlink()
    remove_second = write_key_file(key, "second")
    remove()
    assert key.read_text() == "second"
    remove_second()
    assert list(tmp_path.iterdir()) == []


def test_a_socket_file_goes_with_its_master_and_is_taken_from_nobody(tmp_path: Path) -> None:
    path, file = tmp_path / "socket", tmp_path / "file"
    file.write_text("theirs")
    link = Link(f"ipc://{path}", b"")
    for used in (path, file):
        with pytest.raises(UsageError, match="an unused path"):
            Link(f"ipc://{used}", b"")
    link.close()
    assert list(tmp_path.iterdir()) == [file]
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert path.exists()
    Link(f"ipc://{path}", b"").close()
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "theirs"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_worker_that_nobody_listens_to_says_so_and_gives_up(tmp_path: Path, encrypted: bool) -> None:
    key = tmp_path / "key"
    key.write_text(Credentials(b"job", zmq.curve_keypair()[0] if encrypted else b"").text())
    code = (
        "import sys\nfrom coded_als.worker import loop, __main__\n"
        "loop.GIVE_UP_AFTER_S, loop.WAIT_ALOUD_AFTER_S, loop.LOOK_AFTER_PARENT_S = 0.2, 0.05, 0.02\n"
        f"sys.exit(__main__.main(['--id', '0', '--key-file', {str(key)!r}, '--endpoint', 'tcp://127.0.0.1:{free_port()}']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "waiting for the master" in ended.stderr
    assert "none was for 0.2 s. Start it, or copy its key file." in ended.stderr


def test_a_worker_gives_up_a_master_that_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.worker.loop.GIVE_UP_AFTER_S", 0.2)
    monkeypatch.setattr("coded_als.worker.loop.LOOK_AFTER_PARENT_S", 0.02)
    credentials, port = Credentials(b"job"), free_port()
    link = Link(f"tcp://127.0.0.1:{port}", credentials.password)
    reasons: list[str] = []
    worker = threading.Thread(
        target=lambda: reasons.append(run_worker(0, link.endpoint, credentials, remote=True)), daemon=True
    )
    worker.start()
    while link.receive(10.0) is None:  # its HELLO
        pass
    link.close()
    worker.join(10)
    assert "none was for 0.2 s" in reasons[0]
