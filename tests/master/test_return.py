"""Workers that die, stop and come back while a cluster works: noticed, restarted, given their shares again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import repeat

import numpy as np
import pytest

from coded_als import CodedALS, CodedOperator, LocalCluster
from coded_als.cluster import Fastest, Round, TaskEvent, all_of
from coded_als.errors import NotEnoughWorkers, RoundTimeout
from coded_als.master.events import WorkerEvent
from coded_als.worker.forks import FIRST_RESTART_S, GROWN_UP_S, LAST_RESTART_S, Restarts

RATINGS = np.random.default_rng(0).standard_normal((60, 40))


def listen_until(cluster: LocalCluster, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        cluster._membership.step(0.01)


def test_a_worker_that_dies_is_started_again_and_takes_part() -> None:
    with LocalCluster(4) as cluster:
        news: list[WorkerEvent] = []
        events: list[TaskEvent] = []
        cluster.worker_observers.append(news.append)
        cluster.observers.append(events.append)
        operator = CodedOperator(RATINGS, cluster, code="systematic:p=2")
        dead = cluster.process_ids[1]
        os.kill(dead, signal.SIGKILL)
        listen_until(cluster, lambda: cluster.process_ids[1] != dead)
        cluster.store("one", [np.ones((1, 1, 1))] * 4)
        round = Round("product", ("one",), [(np.ones((1, 1, 1)),)] * 4, response_shapes=((1, 1, 1),))
        assert set(cluster.run(round, all_of(4)).workers) == {0, 1, 2, 3}
        np.testing.assert_allclose(operator @ RATINGS.T, RATINGS @ RATINGS.T, atol=1e-11)
    assert [(event.worker, event.status) for event in news] == [(1, "lost"), (1, "joined")]
    tasks = [(event.round_index, event.worker) for event in events]
    assert len(tasks) == len(set(tasks))


def test_a_round_that_needs_everybody_waits_for_the_shares_of_one_that_came_back() -> None:
    with LocalCluster(3) as cluster:
        for name in "abcdefghijkl":  # more than one may leave without an acknowledgement
            cluster.store(name, [np.full((1, 1, 1), 2.0)] * 3)
        dead = cluster.process_ids[2]
        os.kill(dead, signal.SIGKILL)
        listen_until(cluster, lambda: cluster.process_ids[2] != dead)
        round = Round("product", ("a", "l"), response_shapes=((1, 1, 1),))
        assert {arrays[0].item() for arrays in cluster.run(round, all_of(3)).results.values()} == {4.0}


def test_a_fit_survives_the_death_of_everybody_one_after_the_other() -> None:
    expected = CodedALS(rank=3, code="systematic:p=4", solver="lobpcg").fit(RATINGS)
    with LocalCluster(6) as cluster:
        victims = iter(range(6))

        def kill_the_next(*_: object) -> None:
            worker = next(victims, None)
            if worker is not None:
                dead = cluster.process_ids[worker]
                os.kill(dead, signal.SIGKILL)
                deadline = time.monotonic() + 10
                while cluster.process_ids[worker] == dead and time.monotonic() < deadline:
                    cluster.drop(())
                    cluster._membership.step(0.01)

        model = CodedALS(rank=3, code="systematic:p=4", solver="lobpcg").fit(RATINGS, cluster, callback=kill_the_next)
        assert next(victims, None) is None
    assert model.objective_ == pytest.approx(expected.objective_, rel=1e-8)


def test_what_is_dropped_is_not_given_to_those_that_come_back() -> None:
    with LocalCluster(2) as cluster:
        cluster.store("a", [np.ones((1, 1, 1))] * 2)
        cluster.drop(["a"])
        assert cluster._stores._again == {}


def test_a_stopped_worker_is_told_of_and_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.master.membership.ASK_AFTER_S", 0.05)
    monkeypatch.setattr("coded_als.master.membership.SILENT_AFTER_S", 0.1)
    monkeypatch.setattr("coded_als.master.rounds.ASK_AFTER_S", 0.05)
    with LocalCluster(2, "slow:n=0,delay=1s", round_timeout_s=20) as cluster:
        news: list[WorkerEvent] = []

        def tell(event: WorkerEvent) -> None:
            news.append(event)
            if event.status == "silent":
                os.kill(cluster.process_ids[1], signal.SIGCONT)

        cluster.worker_observers.append(tell)
        cluster.store("one", repeat(np.ones((1, 1, 1)), 2))
        round = Round("product", ("one",), [(np.ones((1, 1, 1)),)] * 2, response_shapes=((1, 1, 1),))
        cluster.run(round, all_of(2))
        os.kill(cluster.process_ids[1], signal.SIGSTOP)
        assert set(cluster.run(round, all_of(2)).workers) == {0, 1}
    # on a busy machine worker 0, which is late, may have been asked too
    assert [event.status for event in news if event.worker == 1] == ["silent", "heard"]


def test_who_is_at_work_is_not_called_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.master.membership.ASK_AFTER_S", 0.05)
    monkeypatch.setattr("coded_als.master.rounds.ASK_AFTER_S", 0.05)
    with LocalCluster(3, "slow:n=1,delay=30s", round_timeout_s=20) as cluster:
        round = Round("inner_product", (), [(np.ones((1, 1, 1)),)] * 3, response_shapes=((1, 1, 1),))
        responded = set(cluster.run(round, Fastest(2)).workers)
        (slow,) = {0, 1, 2} - responded
        (stopped, _) = sorted(responded)
        os.kill(cluster.process_ids[stopped], signal.SIGSTOP)
        cluster.round_timeout_s = 1.5  # within which a busy machine lets the third respond
        with pytest.raises(RoundTimeout, match=rf"Silent: {stopped} \(for \d+ s\)\. At work: {slow}\.") as caught:
            cluster.run(round, all_of(3))
        assert caught.value.at_work == (slow,)


def test_a_worker_that_dies_young_is_started_later_and_later() -> None:
    plan, now_s, waits = Restarts(), 100.0, []
    for _ in range(10):
        plan.died(now_s)
        waits.append(plan.due_in(now_s))
        now_s += waits[-1]
        plan.started(now_s)
        assert plan.due_in(now_s) == float("inf")
    assert waits[0] == pytest.approx(FIRST_RESTART_S)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LAST_RESTART_S)
    now_s += GROWN_UP_S
    plan.died(now_s)
    assert plan.due_in(now_s) == pytest.approx(FIRST_RESTART_S)


def test_a_round_waits_for_those_that_died_where_it_cannot_end_without_them() -> None:
    with LocalCluster(4) as cluster:
        cluster.store("one", [np.ones((1, 1, 1))] * 4)
        round = Round("product", ("one",), [(np.ones((1, 1, 1)),)] * 4, response_shapes=((1, 1, 1),))
        dead = [cluster.process_ids[worker] for worker in (1, 2)]
        for process_id in dead:
            os.kill(process_id, signal.SIGKILL)
        listen_until(cluster, lambda: len(cluster._membership.alive) == 2)
        assert set(cluster.run(round, all_of(4)).workers) == {0, 1, 2, 3}


def test_nobody_is_waited_for_who_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.master.local.RETURN_WITHIN_S", 0.3)
    with LocalCluster(2) as cluster:
        cluster.store("one", [np.ones((1, 1, 1))] * 2)
        round = Round("product", ("one",), [(np.ones((1, 1, 1)),)] * 2, response_shapes=((1, 1, 1),))
        os.kill(cluster._fleet.process_id, signal.SIGSTOP)  # who would start it again
        os.kill(cluster.process_ids[1], signal.SIGKILL)
        with pytest.raises(NotEnoughWorkers, match="worker 1 held"):
            cluster.run(round, all_of(2))
        os.kill(cluster._fleet.process_id, signal.SIGCONT)
