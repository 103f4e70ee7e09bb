"""Slow links and a master that stops: a user-space proxy delays what workers say and hear."""

from __future__ import annotations

import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from coded_als import CodedALS
from coded_als.cluster import TaskEvent
from coded_als.master import RemoteCluster
from tests.master.test_remote import HandStarted, free_port

RATINGS = np.random.default_rng(0).standard_normal((60, 40))


class SlowLink:
    """Forwards TCP connections, each byte so many seconds late, in both directions."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._target, self._delay_s = port, delay_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._start(self._accept)

    def _start(self, what: object, *arguments: object) -> None:
        threading.Thread(target=what, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # the master is not there yet
                    near.close()
                    continue
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    self._start(self._take, source, under_way)
                    self._start(self._give, sink, under_way)

    def _take(self, source: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            under_way.put((time.monotonic() + self._delay_s, data))

    def _give(self, sink: socket.socket, under_way: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        with suppress(OSError):
            while True:
                due_s, data = under_way.get()
                time.sleep(max(0.0, due_s - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_RDWR)
                    return
                sink.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def slow(port: int) -> Iterator[SlowLink]:
    link = SlowLink(port, 0.05)
    yield link
    link.close()


def model(threshold: int, iterations: int) -> CodedALS:
    return CodedALS(3, code=f"systematic:p={threshold}", solver="als", tolerance=0.0, iterations=iterations)


def test_nobody_waits_for_a_slow_link_that_can_be_spared(tmp_path: Path, port: int, slow: SlowLink) -> None:
    started = HandStarted(tmp_path / "key", {0: port, 1: port, 2: port, 3: slow.port})
    events: list[TaskEvent] = []
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{port}", 4, tmp_path / "key", join_timeout_s=30) as cluster:
            cluster.observers.append(events.append)
            fitted = model(3, 30).fit(RATINGS, cluster)
    finally:
        started.end()
    np.testing.assert_allclose(fitted.item_factors_, model(3, 30).fit(RATINGS).item_factors_, rtol=0, atol=1e-8)
    # a quick fit ends before anything has come through the slow link
    took = [e.received_s - e.sent_s for e in events if e.worker == 3 and e.received_s and e.sent_s] or [math.inf]
    assert min(took) > 0.1
    # as long as the others take on a busy machine, and not as long as the link
    assert np.median([entry.seconds for entry in fitted.history_]) < np.median(took)


def test_a_fit_that_needs_those_behind_a_slow_link_takes_their_time_and_is_right(
    tmp_path: Path, port: int, slow: SlowLink
) -> None:
    started = HandStarted(tmp_path / "key", {0: port, 1: port, 2: slow.port})
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{port}", 3, tmp_path / "key", join_timeout_s=30) as cluster:
            fitted = model(3, 5).fit(RATINGS, cluster)
    finally:
        started.end()
    np.testing.assert_allclose(fitted.item_factors_, model(3, 5).fit(RATINGS).item_factors_, rtol=0, atol=1e-8)
    assert min(entry.seconds for entry in fitted.history_) > 0.1


MASTER = """
import sys, time
import numpy as np
from coded_als.cluster import Fastest, Round, all_of
from coded_als.master import RemoteCluster
one = np.ones((1, 1, 1))
with RemoteCluster(sys.argv[1], 4, sys.argv[2], join_timeout_s=30, round_timeout_s=60) as cluster:
    cluster.store("one", [one] * 4)
    round = Round("product", ("one",), [(one,)] * 4, response_shapes=((1, 1, 1),))
    while True:
        print(*sorted(cluster.run(round, all_of(4)).workers), flush=True)
        time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3, 20])
def test_a_master_that_was_stopped_has_all_its_workers_back(tmp_path: Path, port: int, seconds: int) -> None:
    started = HandStarted(tmp_path / "key", dict.fromkeys(range(4), port))
    command = [sys.executable, "-c", MASTER, f"tcp://127.0.0.1:{port}", str(tmp_path / "key")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as master:
        assert master.stdout is not None
        try:
            for _ in range(20):
                assert master.stdout.readline() == "0 1 2 3\n"
            os.kill(master.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(master.pid, signal.SIGCONT)
            # more than it may have written before it stopped: a pipe holds 64 KiB
            for _ in range(100):
                assert master.stdout.readline() == "0 1 2 3\n"
            assert all(process.poll() is None for process in started.processes.values())
        finally:
            master.kill()
            started.end()
