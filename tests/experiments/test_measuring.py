"""Measured clusters: what was injected is found, in figures, in words and in the trace."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.cluster.machine import Machine
from coded_als.cluster.recording import EventLog
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.delays import Trace
from coded_als.delays.traces import read_recording
from coded_als.experiments.measuring import MeasuredWorker, Measurement, _alike, measure
from coded_als.master import LocalCluster, RemoteCluster
from tests.master.test_remote import HandStarted, Proxy, free_port

RATE = 10e6


class NarrowProxy(Proxy):
    """Forwards no more than `RATE` bytes a second in each direction."""

    def _pump(self, source: socket.socket, sink: socket.socket, of_worker: bool) -> None:
        # read at once and sent when it is due: a sleep that lasts too long delays nothing that comes later
        sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due, waiting = 0.0, queue.SimpleQueue[tuple[float, bytes]]()
        threading.Thread(target=self._release, args=(waiting, sink), daemon=True).start()
        with suppress(OSError):
            while data := source.recv(1 << 15):
                due = max(due, time.perf_counter()) + len(data) / RATE
                waiting.put((due, data))
        waiting.put((0.0, b""))

    def _release(self, waiting: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        with suppress(OSError):
            while (item := waiting.get())[1]:
                time.sleep(max(0.0, item[0] - time.perf_counter()))
                sink.sendall(item[1])


@pytest.mark.slow  # the figures are those of a machine that nothing else uses
def test_a_slow_worker_a_delay_and_a_narrow_link_are_each_found_within_a_tenth(tmp_path: Path) -> None:
    port, key = free_port(), tmp_path / "key"
    proxy = NarrowProxy(port)
    started = HandStarted(key, {0: port, 1: port, 2: proxy.port, 3: port})
    injected = Trace(np.array([[0.0, 0.02, 0.0, 0.0]]), slowness=np.array([[1.0, 1.0, 1.0, 3.0]]))
    try:
        with RemoteCluster(f"tcp://127.0.0.1:{port}", 4, key, injected, join_timeout_s=60) as cluster:
            found = measure(cluster, rounds=8, columns=100, probes=15)
    finally:
        started.end()
        proxy.close()
    normal, late, narrow, slow = found.workers
    assert slow.row(found.machine)["times_slower"] == pytest.approx(3, rel=0.1)
    assert late.latency_s - normal.latency_s == pytest.approx(0.02, rel=0.1)
    assert narrow.bytes_per_second == pytest.approx(RATE, rel=0.1)
    said = " ".join(found.findings())
    assert re.search(r"Worker 3 \(127\.0\.0\.1\) is (2\.[7-9]|3|3\.[0-3]) times slower, always\.", said)
    assert re.search(r"The link of worker 2 \(127\.0\.0\.1\) carries (9|10|11)[.\d]* MB/s", said)
    assert re.search(r"Worker 1 \(127\.0\.0\.1\) answers (19|20|21)[.\d]* ms later than a typical worker, always", said)
    [other] = {round(w.multiplications_per_second / normal.multiplications_per_second) for w in (late, narrow)}
    assert other == 1


def test_the_trace_has_speeds_apart_from_delays(tmp_path: Path) -> None:
    injected = Trace(np.array([[0.0, 0.05, 0.0], [0.0, 0.0, 0.0]]), slowness=np.array([[1.0, 1.0, 4.0]] * 2))
    with SimulatedCluster(3, injected) as cluster:
        found = measure(cluster, rounds=20)
    found.trace.save(tmp_path / "trace.csv")
    recorded = read_recording(tmp_path / "trace.csv")
    assert recorded.slowness is not None
    assert recorded.seconds.shape == (20, 3)
    assert np.allclose(recorded.slowness, [1, 1, 4])
    late = recorded.seconds - recorded.seconds.min()
    assert np.allclose(np.sort(late[:, 1]), [0.0] * 10 + [0.05] * 10, rtol=0, atol=3e-3)
    assert np.all(late[:, [0, 2]] < 3e-3)
    assert found.workers[0].undisturbed_s == pytest.approx(15e-3, rel=0.01)
    assert found.findings() == [
        "Worker 1 answers 49.4 ms later in 50% of the rounds.",
        "Worker 2 is 4 times slower, always.",
    ]


def test_a_worker_that_stops_is_named_and_costs_one_wait(tmp_path: Path) -> None:
    with LocalCluster(3, restart=False, round_timeout_s=1.0) as cluster:
        stopped = threading.Timer(0.0, os.kill, (cluster.process_ids[1], signal.SIGSTOP))
        stopped.start()
        stopped.join()
        started = time.perf_counter()
        found = measure(cluster, rounds=5, share=(100, 100), probes=2)
        assert time.perf_counter() - started < 20
    found.trace.save(tmp_path / "trace.csv")
    assert found.silent == (1,)
    assert [worker.worker for worker in found.workers] == [0, 2]
    assert "Worker 1 does not answer." in found.findings()
    rows = [line.split(",") for line in (tmp_path / "trace.csv").read_text().splitlines()[1:]]
    of_stopped = [row for row in rows if row[0] == "1"]
    assert {row[3] for row in of_stopped} == {"1"}  # censored, every one
    assert {row[3] for row in rows if row[0] != "1"} == {"0"}


@pytest.mark.parametrize("rate", [2e7, 1e9])
def test_the_speed_of_a_link_is_found(rate: float) -> None:
    with SimulatedCluster(1, "none", machine=Machine(bytes_per_second=rate)) as cluster:
        found = measure(cluster, rounds=4)
    assert found.workers[0].bytes_per_second == pytest.approx(rate, rel=0.1)
    assert found.machine.bytes_per_second == pytest.approx(rate, rel=0.1)


def test_a_large_message_that_took_less_time_than_a_small_one_is_one_of_a_wide_link() -> None:
    slow_start = {0: {"tiny": 0.03, "large": 0.01}, 1: {"tiny": 0.02, "large": 0.01}, 2: {"tiny": 0.01, "large": 0.2}}
    assert _alike(slow_start) == {0, 1}


def test_workers_that_share_cores_take_their_turns_and_the_plan_adds_the_waits(tmp_path: Path) -> None:
    """Eight workers on two cores: none waits in the trace for the products of the others, 15 ms each."""
    cluster = SimulatedCluster(8, Trace(np.zeros((1, 8)), slowness=np.array([[1.0] * 5 + [3.0] + [1.0] * 2])))
    cluster.machine = Machine(cores=2)
    found = measure(cluster, rounds=6)
    cluster.close()
    found.trace.save(tmp_path / "trace.csv")
    recorded = read_recording(tmp_path / "trace.csv")
    assert recorded.seconds.shape == (6, 8)
    assert np.all(recorded.seconds < 6e-3)
    assert recorded.slowness is not None
    assert np.allclose(recorded.slowness[:, 5], 3)
    assert found.machine.cores == 2


def test_the_findings_name_spells_and_none_of_alike_workers() -> None:
    usual = (0.01,) * 20
    alike = MeasuredWorker(0, "", 1e9, 1e9, 1e-4, 0.01, usual, usual, 0)
    assert np.all(alike.slowness == 1)
    with SimulatedCluster(4) as cluster:
        assert measure(cluster, rounds=5).findings() == []


def test_workers_that_hinder_each_other_are_planned_at_the_speed_that_they_have_together() -> None:
    """Eight workers of one speed on two cores: each computes for 40 ms among the others, and for 10 ms alone."""
    alone = Machine(multiplications_per_second=1e10)
    one, spells = (0.04,) * 20, (0.01,) * 15 + (0.08,) * 5
    hindered = [MeasuredWorker(number, "", 1e10, 1e9, 1e-4, 0.01, one, (0.0,) * 20, 0) for number in range(8)]
    found = Measurement(tuple(hindered), (), alone, 20, EventLog())
    assert found.times_slower_together == pytest.approx(4)
    assert found.machine_together == Machine(multiplications_per_second=2.5e9)
    [said] = found.findings()
    assert said.startswith(
        "A typical worker is 4 times slower when all workers compute than in its fastest probe alone:"
    )
    # a computation of microseconds says nothing of cores
    short = [replace(worker, undisturbed_s=5e-5, computing_s=(2e-4,) * 20) for worker in hindered]
    found = Measurement(tuple(short), (), alone, 20, EventLog())
    assert found.findings() == []
    assert found.machine_together == alone
    # spells of slowness are delays in the trace, and no slower speed
    at_times = [MeasuredWorker(number, "", 1e10, 1e9, 1e-4, 0.01, spells, (0.0,) * 20, 0) for number in range(8)]
    assert Measurement(tuple(at_times), (), alone, 20, EventLog()).machine_together == alone


def test_the_command_writes_a_trace_and_the_plan_for_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    words = ["measure", "--cluster", "virtual", "--workers", "6", "--delays", "slowdown-always:factor=3,n=1"]
    words += ["--rounds", "4", "--share", "300x300", "--record-delays", str(trace)]
    said = CliRunner().invoke(main, words, catch_exceptions=False)
    assert said.exit_code == 0
    assert "is 3 times slower, always." in said.output
    document = json.loads(CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False).stdout)
    assert [sorted(row["times_slower"] for row in document["workers"])[-1]] == [pytest.approx(3)]
    plan = document["command"].replace("ROWS", "600").replace("COLS", "400").replace("RANK", "5").split()[1:]
    assert plan[-2:] == ["--cluster", "virtual"]
    assert CliRunner().invoke(main, [*plan, "--repeats", "20"], catch_exceptions=False).exit_code == 0
    assert CliRunner().invoke(main, ["measure", "--share", "3"]).exit_code == 2
