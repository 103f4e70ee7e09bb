"""Workers started by ``coded-als worker``: one that joins a running fit, and one that may hold little."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from coded_als import CodedALS, CodedOperator
from coded_als.als.history import CodedIteration
from coded_als.cluster import TaskEvent
from coded_als.master import RemoteCluster
from tests.master.processes import is_running
from tests.master.test_remote import free_port

RATINGS = np.random.default_rng(0).standard_normal((60, 40))


class ByHand:
    """Starts workers of a master that writes a key file."""

    def __init__(self, folder: Path) -> None:
        self.key_file, self.endpoint = folder / "key", f"tcp://127.0.0.1:{free_port()}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: object) -> subprocess.Popen[bytes]:
        words = ("worker", "--connect", self.endpoint, "--key-file", self.key_file, *options)
        command = [sys.executable, "-m", "coded_als", *map(str, words)]
        self._processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return self._processes[-1]

    def when_there_is_a_key(self, *each: tuple[object, ...]) -> None:
        def start() -> None:
            while not self.key_file.exists():
                time.sleep(0.005)
            for options in each:
                self.start(*options)

        threading.Thread(target=start, daemon=True).start()

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    by_hand = ByHand(tmp_path)
    yield by_hand
    by_hand.end()


def test_a_worker_joins_a_running_fit(by_hand: ByHand) -> None:
    by_hand.when_there_is_a_key(*[("--id", worker) for worker in range(3)])
    took_part: list[int] = []
    model = CodedALS(3, code="systematic:p=2", solver="als", iterations=300, tolerance=0.0)
    whole = CodedALS(3, code="systematic:p=2", solver="als", iterations=300, tolerance=0.0).fit(RATINGS)
    with RemoteCluster(by_hand.endpoint, 3, by_hand.key_file) as cluster:
        first = cluster.process_ids[1]

        def note(event: TaskEvent) -> None:
            if event.worker == 1 and event.status == "counted" and cluster.process_ids[1] != first:
                took_part.append(event.round_index)

        def disturb(entry: CodedIteration) -> None:
            if entry.index == 5:
                os.kill(first, 9)
                by_hand.start()
            elif entry.index > 5 and not took_part:
                time.sleep(0.03)  # leave it time to start

        cluster.observers.append(note)
        model.fit(RATINGS, cluster, callback=disturb)
    assert took_part
    assert np.allclose(model.user_factors_, whole.user_factors_, rtol=0, atol=1e-8)


def test_a_worker_holds_no_more_than_its_limit(by_hand: ByHand) -> None:
    by_hand.when_there_is_a_key(("--id", 0), ("--id", 1), ("--id", 2, "--memory-limit", "8MB"))
    large = np.random.default_rng(1).standard_normal((1600, 1600))
    small = large[:200, :200]
    with RemoteCluster(by_hand.endpoint, 3, by_hand.key_file) as cluster:
        limited, news = cluster.process_ids[2], []
        cluster.worker_observers.append(news.append)
        # all are needed for a product whose shares fit, of 0.2 MB
        operator = CodedOperator(small, cluster, code="uncoded")
        np.testing.assert_allclose(operator @ small, small @ small, atol=1e-9)
        before = resident_mb(limited)
        # and one is left out where they do not, of 10 MB: the connection is dropped before they are received
        operator = CodedOperator(large, cluster, code="systematic:p=2")
        for _ in range(3):
            np.testing.assert_allclose(operator @ large[:, :2], large @ large[:, :2], atol=1e-9)
        deadline = time.monotonic() + 10
        while not news and time.monotonic() < deadline:
            operator @ large[:, :2]
        assert [(event.worker, event.status) for event in news] == [(2, "lost")]
        assert is_running(limited)
        assert resident_mb(limited) < before + 8


def resident_mb(process_id: int) -> float:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
