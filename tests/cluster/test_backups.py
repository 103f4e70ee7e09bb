"""Second copies of late tasks: the policies, the virtual clock, and real workers."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als import CodedALS, SimulatedCluster
from coded_als.cluster import AnyOfEach, Cluster, TaskEvent
from coded_als.cluster.backups import Hedged, Speculative, backups_of
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import play
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.rules import first_copies
from coded_als.cluster.seam import Round
from coded_als.cluster.waiting import RoundCost, pieces_waiting_s
from coded_als.codes import parse_code
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.delays import DelayStream, Disturbance, Trace
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.master import LocalCluster

DELAYS = [
    "none",
    "exp:mean=400ms",
    "pareto:scale=100ms,alpha=1.2",
    "bimodal:p=0.15,fast=0s,slow=20s",
    "dead:n=2",
    "slowdown-always:n=1,factor=3",
    "exp:mean=200ms+slowdown:p=0.15,factor=5",
]
POLICIES = [Hedged(), Speculative(), Speculative(0.9, 3)]
COST = RoundCost(2.0, 1e4, 1e4)
MACHINE = Machine(1.0, 1e6, 1e-4, 1.5e-4)
PROBLEM = np.random.default_rng(0).normal(size=(60, 40))


def until(workers: int, policy: Any) -> EveryPiece:
    return EveryPiece(first_copies(workers, workers // 2), PieceLayout(workers, 2), backups=policy)


def rounds(spec: str, workers: int, draws: int = 40) -> tuple[Any, ...]:
    """Disturbances, and their delays and slowness as tables."""
    stream = DelayStream(spec, workers, 5)
    drawn = [stream.disturb(COST.operations) for _ in range(draws)]
    return drawn, *(np.array([getattr(one, name) for one in drawn]) for name in ("delays_s", "slowness"))


@pytest.mark.parametrize("spec", DELAYS)
@pytest.mark.parametrize("workers", [2, 12, 13])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_the_closed_form_is_the_virtual_clock_and_never_later_than_waiting_for_all(
    spec: str, workers: int, policy: Any
) -> None:
    drawn, late, slow = rounds(spec, workers)
    half = RoundCost(1.0, 1e4, 5e3)
    first_s = half.response_s(late, MACHINE, slow)
    found = pieces_waiting_s(COST, late, MACHINE, slow, until(workers, policy))
    learned = until(workers, policy.learned(first_s))
    played = np.array([play(COST, learned, one, MACHINE).elapsed_s for one in drawn])
    assert np.isinf(found).tolist() == np.isinf(played).tolist()
    np.testing.assert_allclose(found[np.isfinite(found)], played[np.isfinite(played)], rtol=0.02)
    assert (found <= first_s.max(axis=1)).all()


def test_policies_say_when_a_task_is_late() -> None:
    answered_s = np.array([1.0, 2.0, 3.0])
    assert Speculative().late_s(answered_s, 4) == 3.0
    assert Speculative(times=3).late_s(answered_s, 4) == 6.0
    assert Speculative().late_s(answered_s, 5) == np.inf
    assert Hedged().late_s(answered_s, 4) == np.inf
    assert Hedged().learned(np.arange(1.0, 101)).late_s(answered_s, 4) == 96.0
    assert Hedged().learned(np.array([1.0, 2.0, np.inf])).after_s == 2.0
    assert Hedged().learned(np.array([np.inf])) == Hedged()


def test_one_second_copy_is_sent_by_the_other_holder_and_only_of_what_is_late() -> None:
    """Of twelve workers the first is stuck: at 1.5 medians worker 6 does its task too; all others do their own alone."""
    played = play(COST, until(12, Speculative()), drawn_late(0, 12), Machine(1.0, np.inf, 0.0, 0.0))
    assert played.elapsed_s == pytest.approx(1.5 + 1.0)
    assert played.done == {**dict.fromkeys(range(1, 12), 1), 6: 2}
    assert played.messages == 12 + 12 + 1  # tasks, answers, and one question


def drawn_late(worker: int, workers: int) -> Any:
    delays = [0.0] * workers
    delays[worker] = 30.0
    (one,) = [DelayStream(Trace(np.array([delays])), workers).disturb(2.0)]
    return one


@pytest.mark.parametrize("code", ["hedged", "speculative", "speculative:after=0.9,times=3"])
def test_a_fit_gives_the_factors_of_one_that_waits_for_all(code: str) -> None:
    plain = CodedALS(rank=3, code="uncoded").fit(PROBLEM, SimulatedCluster(8))
    backed = CodedALS(rank=3, code=code).fit(PROBLEM, SimulatedCluster(8, "pareto:scale=10ms,alpha=1.1"))
    assert backed.converged_
    np.testing.assert_allclose(
        backed.user_factors_ @ backed.item_factors_.T, plain.user_factors_ @ plain.item_factors_.T, atol=1e-8
    )
    assert backed.objective_ == pytest.approx(plain.objective_, rel=1e-12)


def test_hedged_requests_learn_from_the_rounds_of_a_fit() -> None:
    """One worker is always slow: the first round waits for it, the others do not."""
    model = CodedALS(rank=3, code="hedged", solver="lobpcg")
    with SimulatedCluster(40, "slow:n=1,delay=30s", machine=Machine(1e6)) as cluster:
        model.fit(PROBLEM, cluster)
        assert 30 < cluster.seconds() < 31
    assert len(model.history_) > 3


@pytest.mark.parametrize("kind", [InlineCluster, SimulatedCluster, LocalCluster])
def test_nobody_waits_for_a_straggler_that_has_a_second_copy(kind: type[Cluster]) -> None:
    """Worker 1 is stuck: worker 3 does both tasks of their block; the workers that wait serve in the next round."""
    code = parse_code("speculative")
    product, policy = code.for_product(4), backups_of(code)
    layout = PieceLayout(4, 2)
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(12, 8)), rng.normal(size=(8, 3))
    started = time.perf_counter()
    with kind(4, Trace(np.array([[0.0, 30.0, 0.0, 0.0]]))) as cluster:
        events: list[TaskEvent] = []
        cluster.observers.append(events.append)
        cluster.store("A", list(product.encode_left(left)))
        for _ in range(3):
            round = Round(
                "product", ("A",), [(share,) for share in product.encode_right(right)],
                response_shapes=(product.response_shape((12, 3)),), operations=1.0,
            )  # fmt: skip
            responses = cluster.run(round, EveryPiece(AnyOfEach(product.groups), layout, backups=policy))
            assert responses.done == {0: 1, 2: 1, 3: 2}
            assert set(responses.answered_s) == {0, 2, 3}
            found = CodeInPieces(product, layout).decode(responses.first(), responses.done, (12, 3))
            np.testing.assert_allclose(found, left @ right, atol=1e-12)
    assert time.perf_counter() - started < 10
    counted = [(event.round_index, event.worker) for event in events if event.status == "counted"]
    assert sorted(counted) == [(round_index, worker) for round_index in range(3) for worker in (0, 2, 3)]
    assert len({(event.round_index, event.worker) for event in events}) == len(events) == 12


def test_too_few_workers_is_an_error_at_once() -> None:
    for kind in (InlineCluster, SimulatedCluster, LocalCluster):
        delays = Trace(np.array([[0.0, np.inf, 0.0, np.inf]]))
        with kind(4, delays) as cluster, pytest.raises(NotEnoughWorkers):
            CodedALS(rank=2, code="speculative").fit(PROBLEM, cluster)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hedged:quantile=0", "quantile must be above 0 and at most 1; got 0"),
        ("hedged:quantile=a", "quantile must be above 0 and at most 1; got 'a'"),
        ("speculative:after=1.1", "after must be above 0 and at most 1; got 1.1"),
        ("speculative:times=0.5", "times must be a number of at least 1; got 0.5"),
    ],
)
def test_parameters_out_of_range_are_refused(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_code(spec)


@settings(max_examples=150, deadline=None)
@given(st.integers(2, 9), st.sampled_from(POLICIES), st.data())
def test_a_round_ends_where_every_block_has_a_worker_and_no_later_than_all_own_tasks(
    workers: int, policy: Any, data: st.DataObject
) -> None:
    """Beside a model that looks at one task at a time; messages are free."""
    delays = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 4.0, np.inf]), min_size=workers, max_size=workers))
    slow = data.draw(st.lists(st.sampled_from([1.0, 2.0, 8.0]), min_size=workers, max_size=workers))
    drawn, after_s = Disturbance(np.array(delays), np.array(slow)), data.draw(st.sampled_from([0.5, 2.0, 6.0]))
    policy = replace(policy, after_s=after_s) if isinstance(policy, Hedged) else policy
    rule = until(workers, policy)
    played = play(COST, rule, drawn, Machine(1.0, np.inf, 0.0, 0.0))
    own_s = drawn.delays_s + drawn.slowness
    groups = [sorted(group) for group in first_copies(workers, workers // 2).groups]
    covered = all(np.isfinite(own_s[group]).any() for group in groups)
    assert np.isfinite(played.elapsed_s) == covered
    assert played.elapsed_s <= own_s.max() * (1 + 1e-12)
    if covered:
        assert rule.decodable(played.done)
        least_s = max(min(own_s[group]) for group in groups)
        assert played.elapsed_s >= least_s * (1 - 1e-12)
        assert sum(played.done.values()) <= 2 * workers


def test_the_task_of_a_worker_that_dies_is_sent_again_at_once() -> None:
    code = parse_code("speculative")
    product, policy, layout = code.for_product(4), backups_of(code), PieceLayout(4, 2)
    left, right = np.random.default_rng(2).normal(size=(2, 8, 8))
    with LocalCluster(4, Trace(np.array([[0.2, 0.2, 0.2, 30.0]])), restart=False) as cluster:
        cluster.store("A", list(product.encode_left(left)))
        round = Round(
            "product", ("A",), [(share,) for share in product.encode_right(right)],
            response_shapes=(product.response_shape((8, 8)),), operations=1.0,
        )  # fmt: skip
        os.kill(cluster.process_ids[0], signal.SIGKILL)
        started = time.perf_counter()
        responses = cluster.run(
            round, EveryPiece(AnyOfEach(product.groups), layout, backups=replace(policy, after=0.5))
        )
        assert time.perf_counter() - started < 10
        assert responses.done == {1: 2, 2: 2}
        found = CodeInPieces(product, layout).decode(responses.first(), responses.done, (8, 8))
        np.testing.assert_allclose(found, left @ right, atol=1e-12)
