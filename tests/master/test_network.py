"""Fits over a real network of namespaces: partitions, lost packets, a worker that joins, and slow links."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als import CodedALS
from coded_als.als.history import CodedIteration
from coded_als.cli import main
from coded_als.master import RemoteCluster
from tests.master.network import Machine, require_namespaces
from tests.master.test_remote import free_port

WORKERS, THRESHOLD = 5, 3
RATINGS = np.random.default_rng(0).standard_normal((60, 40))


def model(iterations: int) -> CodedALS:
    return CodedALS(3, code=f"systematic:p={THRESHOLD}", solver="als", tolerance=0.0, iterations=iterations)


class Rig:
    """A master here, and workers with keys on machines of their own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._keys, self._stack, self._port = folder / "keys", stack, free_port()
        made = CliRunner().invoke(main, ["keys", str(self._keys), "--workers", str(WORKERS)])
        assert made.exit_code == 0, made.output

    def machine(self, workers: range) -> Machine:
        machine = self._stack.enter_context(Machine())
        for worker in workers:
            self.start(machine, worker)
        return machine

    def start(self, machine: Machine, worker: int) -> None:
        where = (
            "--connect",
            f"tcp://{machine.gateway}:{self._port}",
            "--key-file",
            self._keys / f"worker-{worker}.key",
        )
        process = machine.start(sys.executable, "-m", "coded_als", "worker", *where)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    def cluster(self, delays: str) -> RemoteCluster:
        everywhere = f"tcp://0.0.0.0:{self._port}"
        return self._stack.enter_context(
            RemoteCluster(everywhere, WORKERS, delays=delays, keys=self._keys, round_timeout_s=40)
        )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    require_namespaces()
    with ExitStack() as stack:
        yield Rig(tmp_path, stack)


def at(index: int, act: Callable[[], None]) -> Callable[[CodedIteration], None]:
    return lambda entry: act() if entry.index == index else None


def assert_same(fitted: CodedALS, whole: CodedALS) -> None:
    assert np.allclose(fitted.user_factors_, whole.user_factors_, rtol=0, atol=1e-8)
    assert np.allclose(fitted.item_factors_, whole.item_factors_, rtol=0, atol=1e-8)


def test_nobody_waits_for_spare_workers_that_are_cut_off(rig: Rig) -> None:
    rig.machine(range(THRESHOLD))
    far = rig.machine(range(THRESHOLD, WORKERS))
    cluster = rig.cluster("none")
    fitted = model(40).fit(RATINGS, cluster, callback=at(5, far.partition))
    assert max(entry.seconds for entry in fitted.history_[5:]) < 2
    assert_same(fitted, model(40).fit(RATINGS))


@pytest.mark.slow
def test_a_partition_of_five_seconds_is_waited_out(rig: Rig) -> None:
    machine = rig.machine(range(WORKERS))
    cluster = rig.cluster("exp:mean=3ms")

    def cut() -> None:
        machine.partition()
        healer = threading.Timer(5.0, machine.heal)
        healer.start()

    started = time.perf_counter()
    fitted = model(60).fit(RATINGS, cluster, callback=at(20, cut))
    assert 5 < time.perf_counter() - started < 30
    assert len(fitted.history_) == 60
    assert_same(fitted, model(60).fit(RATINGS))


@pytest.mark.slow
def test_cut_off_workers_take_part_again(rig: Rig) -> None:
    rig.machine(range(2))
    far = rig.machine(range(2, WORKERS))
    cluster = rig.cluster("none")
    seen: set[int] = set()
    cluster.observers.append(lambda event: seen.add(event.worker) if event.status == "counted" else None)

    def heal() -> None:
        far.heal()
        seen.clear()

    def cut() -> None:
        far.partition()
        threading.Timer(5.0, heal).start()

    # three are needed and two are there: the round goes on when the others are back
    fitted = model(60).fit(RATINGS, cluster, callback=at(20, cut))
    assert seen & set(range(2, WORKERS))
    assert_same(fitted, model(60).fit(RATINGS))


@pytest.mark.slow
def test_lost_packets_cost_time_and_nothing_else(rig: Rig) -> None:
    machine = rig.machine(range(WORKERS))
    cluster = rig.cluster("none")
    machine.lose(5)
    fitted = model(40).fit(RATINGS, cluster)
    assert_same(fitted, model(40).fit(RATINGS))
    assert all(len(set(entry.responses)) == 1 for entry in fitted.history_)
