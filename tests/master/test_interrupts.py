"""Signal handlers that wait for a safe moment, and clusters that a Ctrl-C at any moment leaves in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType

import numpy as np
import pytest

from coded_als import CodedALS
from coded_als.cluster import Fastest, Round, all_of
from coded_als.master import LocalCluster
from coded_als.master.guards import Interrupts
from tests.master.test_local import cluster_of, value_round


class Interrupted(Exception):
    """What the handler of this file raises."""


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_waits_for_the_end() -> None:
    done: list[str] = []

    def work() -> None:
        with Interrupts():
            signal.raise_signal(signal.SIGUSR1)
            done.append("all")

    with pytest.raises(Interrupted):
        work()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGUSR1) is interrupt


def test_a_handler_runs_at_once_where_it_is_allowed() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(Interrupted), interrupts.allowed():
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)  # not allowed any more
        with pytest.raises(Interrupted):
            interrupts.catch_up()


def test_what_was_put_off_runs_before_a_wait() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(Interrupted), interrupts.allowed():
            pytest.fail("waited")


def test_items_are_made_interruptibly_and_used_in_peace() -> None:
    def items() -> Iterator[int]:
        yield 1
        signal.raise_signal(signal.SIGUSR1)
        pytest.fail("went on")

    used: list[int] = []
    with Interrupts() as interrupts, pytest.raises(Interrupted):
        used.extend(interrupts.between(items()))
    assert used == [1]


def test_a_handler_waits_until_an_item_is_used() -> None:
    used: list[int] = []

    def use() -> None:
        with Interrupts() as interrupts:
            for item in interrupts.between([1, 2]):
                signal.raise_signal(signal.SIGUSR1)
                used.append(item)

    with pytest.raises(Interrupted):
        use()
    assert used == [1]


def test_a_handler_that_is_set_meanwhile_stays() -> None:
    with Interrupts():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_other_threads_keep_their_hands_off() -> None:
    def work() -> None:
        with Interrupts() as interrupts, interrupts.allowed():
            assert signal.getsignal(signal.SIGUSR1) is interrupt

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


class Steps:
    """Sends a signal to its own process at the n-th line of the package that is executed."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, argument: object) -> object:
        if "coded_als" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGUSR1)
        return self


def interrupted_at(step: int, cluster: LocalCluster) -> bool:
    """Whether storing and multiplying was interrupted at that line."""
    tracer = sys.gettrace()
    sys.settrace(Steps(step))
    try:
        cluster.store("two", [np.full((1, 1, 1), 2.0)] * 3)
        cluster.run(value_round(3, keep=("kept",)), Fastest(2))
    except Interrupted:
        return True
    finally:
        sys.settrace(tracer)
    return False


def test_an_interrupt_at_any_line_leaves_a_cluster_in_order() -> None:
    use = Round("product", ("two", "kept"), response_shapes=((1, 1, 1),))
    with cluster_of(3, round_timeout_s=20.0) as (cluster, _):
        interrupts, step = 0, 1
        while step < 2500:
            interrupts += interrupted_at(step, cluster)
            step += 29
            cluster.store("two", [np.full((1, 1, 1), 2.0)] * 3)
            cluster.run(value_round(3, float(step), keep=("kept",)), all_of(3))
            results = cluster.run(use, all_of(3)).results
            assert [arrays[0].item() for arrays in results.values()] == [2.0 * step] * 3
    assert interrupts > 10


def test_messages_end_where_handlers_are_put_off() -> None:
    # pyzmq swallows what a handler raises while a frame ends: a Ctrl-C just then would be lost
    with cluster_of(2) as (cluster, _):
        ended: list[weakref.ref[np.ndarray]] = []
        for let_go in (lambda: cluster.run(value_round(2), all_of(2)), lambda: cluster.drop([])):
            ended.append(weakref.ref(cluster.run(value_round(2), all_of(2)).results[0][0]))
            assert ended[-1]() is not None
            let_go()
            assert ended[-1]() is None


def test_a_fit_after_an_interrupted_fit_is_as_good_as_the_first() -> None:
    ratings = np.random.default_rng(0).standard_normal((40, 30))
    with LocalCluster(8, "uniform:low=0ms,high=2ms", round_timeout_s=20.0) as cluster:
        expected = CodedALS(2, partitions=2).fit(ratings, cluster).objective_
        for delay_s in np.linspace(0.001, 0.05, 12):
            signal.setitimer(signal.ITIMER_REAL, delay_s)
            before = signal.signal(signal.SIGALRM, interrupt)
            try:
                CodedALS(2, partitions=2).fit(ratings, cluster)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                pass
            finally:
                signal.signal(signal.SIGALRM, before)
            assert CodedALS(2, partitions=2).fit(ratings, cluster).objective_ == pytest.approx(expected, rel=1e-9)


def test_an_interrupt_does_not_wait_for_a_straggler() -> None:
    with cluster_of(2, [30.0, 30.0], [0.0, 0.0]) as (cluster, _):
        started = time.perf_counter()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(Interrupted):
            cluster.run(value_round(2), Fastest(1))
        assert time.perf_counter() - started < 5
        assert len(cluster.run(value_round(2), all_of(2)).workers) == 2
