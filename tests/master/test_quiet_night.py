"""A fit by the commands, on workers that a supervisor starts again: workers and masters are killed, and it ends all the same."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.master.key_files import WORKER_FILE, make_keys
from coded_als.models.persistence import load_model
from tests.master.network import Machine, require_namespaces
from tests.master.test_remote import free_port

WORKERS, THRESHOLD, ITERATIONS = 4, 3, 150
PROGRAM = [sys.executable, "-m", "coded_als"]
FIT = ["fit", "synthetic:m=200,n=150,d=1,noise=3", "--rank", "4", "--code", f"systematic:p={THRESHOLD}"]
FIT += ["--solver", "als", "--tolerance", "0", "--iterations", str(ITERATIONS), "--workers", str(WORKERS)]
Start = Callable[..., "subprocess.Popen[Any]"]


def start_here(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Supervised:
    """A worker that is started again when it ends, unless it is held down."""

    def __init__(self, start: Start, address: str, key: Path) -> None:
        self._start = lambda: start(*PROGRAM, "worker", "--connect", address, "--key-file", key)
        self.held, self._over = threading.Event(), threading.Event()
        self.process = self._start()
        self._thread = threading.Thread(target=self._look_after)
        self._thread.start()

    def _look_after(self) -> None:
        while not self._over.wait(0.05):
            if self.process.poll() is not None and not self.held.is_set():
                self.process = self._start()

    def kill(self, down_s: float = 0.0) -> None:
        """Kill it, and start it again after a while."""
        self.held.set()
        self.process.kill()
        self.process.wait()
        threading.Timer(down_s, self.held.clear).start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self.process.kill()
        self.process.wait()


class Master:
    """``coded-als fit`` in a process of its own, with its log as documents."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *FIT, *map(str, words), "--log-level", "info", "--log-json", "--serve", "0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.said.extend(iter(stream.readline, ""))

    def figure(self, name: str) -> float:
        """A figure of its metrics, 0 while there is none."""
        found = re.search(r"live view: (\S+)", "".join(self.said))
        if found is None:
            return 0.0
        try:
            with urllib.request.urlopen(f"{found[1]}metrics", timeout=10) as page:
                value = re.search(rf"^coded_als_{name} (\S+)$", page.read().decode(), re.MULTILINE)
        except OSError:  # it ends just now
            return 0.0
        return 0.0 if value is None else float(value[1])

    def reach(self, iteration: int) -> None:
        deadline = time.monotonic() + 120
        while self.figure("iteration") < iteration:
            assert self.process.poll() is None, "".join(self.said)
            assert time.monotonic() < deadline, "".join(self.said)
            time.sleep(0.05)

    def end(self) -> int:
        code = self.process.wait(180)
        self._thread.join()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.end()

    @property
    def events(self) -> Counter[tuple[str, int]]:
        """How often each event of each worker was logged."""
        documents = [json.loads(line) for line in self.said if line.startswith("{")]
        return Counter((one["event"], one["worker"]) for one in documents if "worker" in one)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def supervised(stack: ExitStack, folder: Path, start: Start, host: str, numbers: range, port: int) -> list[Supervised]:
    found = []
    for number in numbers:
        found.append(Supervised(start, f"tcp://{host}:{port}", folder / "keys" / WORKER_FILE.format(number)))
        stack.callback(found[-1].end)
    return found


def assert_as_here(folder: Path) -> None:
    """The model equals that of a fit in this process."""
    out = folder / "here.npz"
    run = CliRunner().invoke(main, [*FIT, "--cluster", "inline", "--out", str(out)])
    assert run.exit_code == 0, run.output
    products = [
        (model := load_model(folder / name)).user_factors_ @ model.item_factors_.T for name in ("model.npz", "here.npz")
    ]
    assert np.allclose(*products, rtol=0, atol=1e-8)


def night(folder: Path, workers: list[Supervised], listen: str, down_s: float) -> None:
    """Three workers die for a while, then the master dies; the fit ends as one that nothing happened to."""
    words = [
        "--listen",
        listen,
        "--keys",
        folder / "keys",
        "--checkpoint",
        folder / "state",
        "--out",
        folder / "model.npz",
    ]
    words += ["--delays", "exp:mean=4ms"]
    master = Master(*words)
    try:
        master.reach(20)
        for worker in workers[:3]:
            worker.kill(down_s)
        master.reach(60)
        events = master.events
        assert {number for (event, number), _ in events.items() if event == "joined"} == set(range(WORKERS))
        assert all(events["lost", number] == events["back", number] == 1 for number in range(3))
        assert events["lost", 3] == events["back", 3] == 0
        assert any('"event": "waiting"' in line for line in master.said)
    finally:
        master.kill()
    again = Master(*words, "--resume")
    try:
        assert again.end() == 0, "".join(again.said)
    finally:
        again.kill()
    assert_as_here(folder)


def test_a_fit_outlives_three_workers_and_its_master(tmp_path: Path, stack: ExitStack) -> None:
    make_keys(tmp_path / "keys", WORKERS)
    port = free_port()
    workers = supervised(stack, tmp_path, start_here, "127.0.0.1", range(WORKERS), port)
    night(tmp_path, workers, f"tcp://127.0.0.1:{port}", down_s=1.0)


@pytest.mark.slow
def test_the_same_on_two_hosts_and_with_losses_of_half_a_minute(tmp_path: Path, stack: ExitStack) -> None:
    require_namespaces()
    make_keys(tmp_path / "keys", WORKERS)
    port, workers = free_port(), []
    for numbers in (range(2), range(2, WORKERS)):
        machine = stack.enter_context(Machine())
        workers += supervised(stack, tmp_path, machine.start, machine.gateway, numbers, port)
    night(tmp_path, workers, f"tcp://0.0.0.0:{port}", down_s=30.0)


@pytest.mark.slow
def test_measure_plan_and_fit_on_two_hosts_with_a_slow_worker(tmp_path: Path, stack: ExitStack) -> None:
    require_namespaces()
    make_keys(tmp_path / "keys", WORKERS)
    port, slow, recorded = free_port(), tmp_path / "slow.csv", tmp_path / "delays.csv"
    # worker 2 is three times slower
    rows = "\n".join(f"{worker},0,0,0,0,{3 if worker == 2 else 1}" for worker in range(WORKERS))
    slow.write_text(f"worker,round,seconds,censored,start,slowness\n{rows}\n")
    for numbers in (range(2), range(2, WORKERS)):
        machine = stack.enter_context(Machine())
        supervised(stack, tmp_path, machine.start, machine.gateway, numbers, port)
    cluster = ["--listen", f"tcp://0.0.0.0:{port}", "--keys", str(tmp_path / "keys")]
    measured = [*PROGRAM, "measure", *cluster, "--workers", str(WORKERS), "--rank", "100", "--rounds", "20"]
    measured += ["--delays", f"trace:{slow}", "--record-delays", str(recorded), "--json"]
    found = json.loads(subprocess.run(measured, check=True, capture_output=True, timeout=120).stdout)
    [slower] = [row["times_slower"] for row in found["workers"] if row["worker"] == 2]
    assert slower == pytest.approx(3, rel=0.1), found["findings"]
    assert any(re.match(r"Worker 2 \(198\.1[89]\.[\d.]+\) is \S+ times slower", one) for one in found["findings"])
    words = found["command"].replace("ROWS", "200").replace("COLS", "150").replace("RANK", "4").split()[1:]
    planned = subprocess.run([*PROGRAM, *words, "--json"], check=True, capture_output=True, timeout=120)
    command = json.loads(planned.stdout)["command"]
    assert " ".join(cluster) in command
    assert "--delays" not in command
    fitted = subprocess.run(
        [*PROGRAM, *FIT, *cluster, "--delays", f"trace:{slow}", "--out", str(tmp_path / "model.npz")],
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    assert_as_here(tmp_path)


def test_a_supervised_worker_is_started_again() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(*_: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"]))
        return started[-1]

    worker = Supervised(start, "", Path())
    worker.kill()
    deadline = time.monotonic() + 10
    while len(started) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.end()
    assert [process.returncode for process in started] == [-signal.SIGKILL, -signal.SIGKILL]
