"""Delays that slow the work: their laws, what a round costs under them, workers that obey them, and traces of them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from coded_als.cluster import Fastest, Round, all_of
from coded_als.cluster.machine import Machine, parse_worker_speeds, show_worker_speeds
from coded_als.cluster.recording import EventLog, TraceRecorder
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.cluster.waiting import RoundCost, round_seconds
from coded_als.delays import DelayStream, bootstrapped, parse_delays, slows
from coded_als.delays.traces import read_recording
from coded_als.errors import UsageError
from coded_als.master import LocalCluster

FREE = Machine(1e6, np.inf, 0.0, 0.0)


def slowness(spec: str, workers: int = 200, rounds: int = 100, seed: int = 5) -> np.ndarray:
    stream = DelayStream(spec, workers, seed)
    return np.array([stream.disturb().slowness for _ in range(rounds)])


def test_a_share_of_the_workers_is_slow_in_each_round() -> None:
    table = slowness("slowdown:p=0.15,factor=5")
    assert set(np.unique(table)) == {1.0, 5.0}
    assert abs((table == 5).mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / table.size)


def test_the_chosen_workers_are_the_same_in_every_round() -> None:
    table = slowness("slowdown-always:n=7,factor=3", rounds=5)
    assert (table == table[0]).all()
    assert (table[0] == 3).sum() == 7


def test_log_normal_slowness_follows_its_law() -> None:
    assert stats.kstest(slowness("slowdown-lognormal:sigma=0.5").ravel(), stats.lognorm(0.5).cdf).pvalue > 0.01


def test_bursts_last_as_long_as_their_chain_says() -> None:
    slow = slowness("slowdown-markov:factor=4,enter=0.1,leave=0.3", workers=2000, rounds=200) == 4
    share = 0.1 / 0.4
    assert abs(slow.mean() - share) < 4 * np.sqrt(4 * share * (1 - share) / slow.size)
    assert abs((slow[1:] & slow[:-1]).sum() / slow[:-1].sum() - 0.7) < 0.01


def test_models_add_their_delays_and_multiply_their_slowness() -> None:
    specs = ["exp:mean=20ms", "slowdown-always:n=2,factor=3", "slowdown-always:n=2,factor=0.5"]
    drawn = DelayStream("+".join(specs), 9, 3).disturb()
    np.testing.assert_array_equal(np.sort(drawn.slowness), [1.0] * 7 + [1.5] * 2)
    np.testing.assert_array_equal(drawn.delays_s, DelayStream(specs[0], 9, 3).next_round())
    assert slows(parse_delays("+".join(specs)))
    assert not slows(parse_delays("exp:mean=20ms+dead:n=1"))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 9)), min_size=1, max_size=8), st.floats(0.1, 3))
def test_a_worker_is_done_after_its_delay_and_its_own_time_for_the_work(
    workers: list[tuple[float, float]], work_s: float
) -> None:
    late, slow = np.array(workers).T
    found = RoundCost(work_s * 1e6).computed_s(late, FREE, slow)
    np.testing.assert_allclose(found, [delay + factor * work_s for delay, factor in workers])


def test_a_round_ends_by_the_slowness_of_the_workers_it_waits_for() -> None:
    cost, spec = RoundCost(1e6), "slowdown-always:n=3,factor=4"
    means = [round_seconds(DelayStream(spec, 10, 1), [(cost, Fastest(k))], FREE, 3).mean() for k in (7, 8)]
    np.testing.assert_allclose(means, [1.0, 4.0])


def test_workers_of_unequal_speed() -> None:
    assert parse_worker_speeds("2x1, .5,1x0.25") == (1.0, 1.0, 0.5, 0.25)
    machine = Machine(1e6, np.inf, 0.0, 0.0, worker_speeds=(1.0, 0.5))
    np.testing.assert_allclose(machine.working_s(1e6, np.array([1.0, 1.0, 3.0])), [1.0, 2.0, 3.0])
    with SimulatedCluster(4, machine=machine) as cluster:
        cluster.store("left", [np.ones((1, 1, 1))] * 4)
        task = Round("product", ("left",), [(np.ones((1, 1, 1)),)] * 4, (), ((1, 1, 1),), operations=1e6)
        assert cluster.run(task, Fastest(2)).elapsed_s == pytest.approx(1.0)
        assert cluster.run(task, all_of(4)).elapsed_s == pytest.approx(2.0)


@given(st.lists(st.sampled_from([1.0, 0.5, 2.0, 0.125, 10.0]), min_size=1, max_size=9))
def test_speeds_are_written_as_they_are_read(speeds: list[float]) -> None:
    assert list(parse_worker_speeds(show_worker_speeds(speeds))) == speeds


@pytest.mark.parametrize("text", ["", "10x", "x1", "0x1", "2x0", "2x-1", "2xnan", "1,,2", "2y1", "inf", "999999999x1"])
def test_speeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="worker speeds must be factors above 0 like"):
        parse_worker_speeds(text)


def test_a_real_worker_at_a_fraction_of_its_speed_takes_that_much_longer_and_drops_its_work_at_once() -> None:
    left = np.ones((1, 500, 1000))
    payload = (np.ones((1, 1000, 400)),)
    task = Round("product", ("left",), [payload] * 3, (), ((1, 500, 400),), operations=2e8, label="E")
    with LocalCluster(3, "slowdown-always:n=1,factor=100", seed=0) as cluster:
        log = EventLog()
        cluster.observers.append(log)
        cluster.store("left", [left] * 3)
        begun = time.perf_counter()
        cluster.run(task, Fastest(2))
        cluster.run(task, Fastest(2))
        two_s = time.perf_counter() - begun
        cluster.run(task, all_of(3))
    last = [event for event in log.events if event.round_index == 2]
    usual, slow = np.median([event.computed_s for event in last]), max(event.computed_s for event in last)
    assert slow > 5 * usual  # a hundred times, but for the cores that others keep busy
    assert two_s < slow  # nobody waited for the slow one, which was in the middle of its work


def run(delays: str, recorder: TraceRecorder, k: int, operations: float) -> float:
    task = Round("product", ("left", "right"), response_shapes=((1, 1, 1),), operations=operations)
    with SimulatedCluster(6, delays, seed=2, machine=FREE) as cluster:
        cluster.observers.append(recorder)
        for name in ("left", "right"):
            cluster.store(name, [np.ones((1, 1, 1))] * 6)
        for _ in range(8):
            cluster.run(task, Fastest(k))
        return cluster.seconds()


@pytest.mark.parametrize("k", [4, 6])
def test_a_replay_tells_slow_computing_from_waiting(tmp_path: Path, k: int) -> None:
    """A trace of rounds of 10 ms of work, replayed with ten times the work, takes what the same delays would have."""
    spec, recorder = "uniform:low=1ms,high=9ms+slowdown-always:n=2,factor=3", TraceRecorder()
    run(spec, recorder, 6, 1e4)
    recorder.save(tmp_path / "trace.csv")
    replay = f"trace:{tmp_path / 'trace.csv'}"
    assert slows(parse_delays(replay))
    assert slows(bootstrapped(parse_delays(replay)))
    for operations in (1e4, 1e5):
        expected = run(spec, TraceRecorder(), k, operations)
        assert run(replay, TraceRecorder(), k, operations) == pytest.approx(expected, rel=1e-9)


def test_a_task_that_did_not_finish_is_split_as_the_one_it_is_taken_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "worker,round,seconds,censored,start,slowness\n"
        "0,0,1.0,0,0.2,5.0\n1,0,0.5,1,0.5,1.0\n0,1,0.0,0,0.0,1.0\n1,1,0.0,0,0.0,1.0\n"
    )
    found = read_recording(path)
    assert found.slowness is not None
    assert (found.seconds[0, 1], found.slowness[0, 1]) == (0.2, 5.0)


def test_a_trace_without_types_is_all_delay(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("worker,round,seconds\n0,0,1.5\n")
    assert not slows(read_recording(path))
    assert read_recording(path).seconds == [[1.5]]


@pytest.mark.parametrize("row", ["0,0,1.0,0,-1,1", "0,0,1.0,0,1,0", "0,0,1.0,0,1,inf", "0,0,1.0,0,x,1"])
def test_types_of_a_trace_must_be_in_range(tmp_path: Path, row: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"worker,round,seconds,censored,start,slowness\n{row}\n")
    with pytest.raises(UsageError, match="start >= 0 and slowness > 0"):
        read_recording(path)
