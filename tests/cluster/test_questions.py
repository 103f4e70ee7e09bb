"""Rounds in pieces: when they can end, what is asked when, and rounds on the virtual clock beside whole shares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als import CodedALS, SimulatedCluster
from coded_als.cluster import AnyOfEach, Cluster, Fastest, Round, TaskEvent, WellConditioned
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import play
from coded_als.cluster.questions import EveryPiece, RoundProgress, decodable_s, next_question, pieces_for
from coded_als.cluster.recording import EventLog
from coded_als.cluster.rules import first_copies
from coded_als.cluster.waiting import RoundCost, pieces_waiting_s, waiting_s
from coded_als.codes import SystematicCode
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.delays import DelayStream, Disturbance
from coded_als.errors import NotEnoughWorkers, UsageError

FREE = Machine(1.0, np.inf, 0.0, 0.0)
MODELS = [
    "none",
    "exp:mean=400ms",
    "shifted-exp:shift=100ms,mean=400ms",
    "uniform:low=0s,high=2s",
    "pareto:scale=100ms,alpha=1.2",
    "lognormal:median=300ms,sigma=1",
    "normal-ops:mu=1e-1s,sigma=1e-1s",
    "bimodal:p=0.15,fast=0s,slow=20s",
    "markov:fast=0s,slow=5s,enter=0.05,leave=0.2",
    "slow:n=2,delay=5s",
    "dead:n=2",
    "slowdown:p=0.15,factor=5",
    "slowdown-always:n=1,factor=3",
    "slowdown-lognormal:sigma=0.5",
    "slowdown-markov:factor=5,enter=0.05,leave=0.2",
    "exp:mean=200ms+slowdown:p=0.15,factor=5",
]


def finished_s(layout: PieceLayout, drawn: Disturbance, work_s: float) -> np.ndarray:
    """When each worker has done each piece, (..., W, c), messages being free."""
    piece_s = work_s * drawn.slowness / layout.pieces
    return drawn.delays_s[..., None] + (layout.places + 1) * piece_s[..., None]


@pytest.mark.parametrize("draws", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spec", MODELS)
def test_never_later_than_whole_shares_nor_than_copies_in_pieces(spec: str, draws: int) -> None:
    """At the same share, on each of many draws; copies of w mod p, and pieces a multiple of the copies."""
    workers, p = 12, 6
    layout, stream = PieceLayout(workers, workers), DelayStream(spec, workers, 7)
    drawn = [stream.disturb(2.0) for _ in range(draws)]
    table = Disturbance(*(np.array([getattr(one, name) for one in drawn]) for name in ("delays_s", "slowness")))
    done_s = finished_s(layout, table, 2.0)
    with np.errstate(invalid="ignore"):
        coded_s = np.partition(done_s, p - 1, axis=1)[:, p - 1].max(axis=1)
        whole_s = np.partition(table.delays_s + 2.0 * table.slowness, p - 1, axis=1)[:, p - 1]
        copies_s = done_s.reshape(-1, workers // p, p, workers).min(axis=1).max(axis=(1, 2))
    assert (coded_s <= whole_s * (1 + 1e-12)).all()
    assert (coded_s <= copies_s).all()
    for draw in range(20):  # the closed form is what the rules say
        for rule, expected in ((Fastest(p), coded_s[draw]), (first_copies(workers, p), copies_s[draw])):
            assert decodable_s(done_s[draw], EveryPiece(rule, layout)) == expected


@pytest.mark.parametrize("spec", MODELS)
def test_a_round_on_the_virtual_clock_is_never_later_than_whole_shares(spec: str) -> None:
    """With the policy as it is, messages free; and no sooner than its pieces are done."""
    workers, p = 12, 6
    code, layout = SystematicCode(p, 1, workers), PieceLayout(workers, workers)
    stream, until = DelayStream(spec, workers, 3), EveryPiece(WellConditioned(code, 1e-11), layout)
    for _ in range(150):
        drawn = stream.disturb(2.0)
        played = play(RoundCost(2.0), until, drawn, FREE)
        order = np.argsort(drawn.delays_s + 2.0 * drawn.slowness, kind="stable")
        enough = next(k for k in range(p, workers + 1) if until.rule.satisfied(order[:k].tolist()))
        whole_s = np.sort(drawn.delays_s + 2.0 * drawn.slowness)[enough - 1]
        assert played.elapsed_s <= whole_s * (1 + 1e-9)
        assert played.elapsed_s >= decodable_s(finished_s(layout, drawn, 2.0), EveryPiece(Fastest(p), layout)) * (
            1 - 1e-9
        )
        assert until.decodable(played.done)
        assert played.messages <= 5 * workers


def test_an_undisturbed_round_takes_what_an_uncoded_one_takes() -> None:
    machine = Machine(1.0, np.inf, 1e-4, 1.5e-4)
    for p in (15, 22):
        until = EveryPiece(WellConditioned(SystematicCode(p, 1, 30), 1e-11), PieceLayout(30, 30))
        played = play(RoundCost(30 / p), until, Disturbance.late([0.0] * 30), machine)
        uncoded_s = RoundCost(1.0).response_s(np.zeros(30), machine).max()
        assert played.elapsed_s <= 1.03 * uncoded_s
        assert played.messages == 4 * 30


@pytest.mark.parametrize("spec", MODELS)
@pytest.mark.parametrize("copies", [False, True])
def test_what_is_drawn_for_a_plan_is_what_the_virtual_clock_takes(spec: str, copies: bool) -> None:
    workers, p, draws = 12, 6, 40
    machine = Machine(1.0, 1e6, 1e-4, 1.5e-4)
    rule = first_copies(workers, p) if copies else WellConditioned(SystematicCode(p, 1, workers), 1e-9)
    until, stream = EveryPiece(rule, PieceLayout(workers, workers)), DelayStream(spec, workers, 5)
    drawn = [stream.disturb(2.0) for _ in range(draws)]
    late, slow = (np.array([getattr(one, name) for one in drawn]) for name in ("delays_s", "slowness"))
    cost = RoundCost(2.0, 1e4, 1e4)
    played = np.array([play(cost, until, one, machine).elapsed_s for one in drawn])
    found = pieces_waiting_s(cost, late, machine, slow, until)
    assert np.isinf(found).tolist() == np.isinf(played).tolist()
    both = np.isfinite(found)
    np.testing.assert_allclose(found[both], played[both], rtol=0.06)
    assert not both.any() or found[both].mean() == pytest.approx(played[both].mean(), rel=0.02)


@pytest.mark.parametrize(("copies", "delays", "gain"), [(2, 0.0, 1.9), (3, 0.0, 2.8), (2, 0.3, 1.0), (3, 0.3, 1.0)])
def test_copies_in_pieces_end_sooner_than_whole_ones(copies: int, delays: float, gain: float) -> None:
    """Undisturbed as many times as there are copies, but for messages; never later otherwise."""
    workers, machine = 12, Machine(1.0, np.inf, 1e-5, 1e-5)
    rule = first_copies(workers, workers // copies)
    until, stream = EveryPiece(rule, PieceLayout(workers, workers)), DelayStream(f"exp:mean={delays}s", workers, 1)
    for _ in range(30):
        drawn = stream.disturb()
        played = play(RoundCost(1.0), until, drawn, machine)
        whole_s = waiting_s(RoundCost(1.0).response_s(drawn.delays_s[None], machine), rule)[0]
        assert played.elapsed_s * gain <= whole_s * 1.001


@settings(max_examples=150)
@given(st.integers(1, 6), st.integers(1, 5), st.data())
def test_the_moment_of_decodability_is_the_first_of_all_moments(workers: int, pieces: int, data: st.DataObject) -> None:
    layout = PieceLayout(workers, pieces)
    blocks = data.draw(st.integers(1, workers))
    groups = [frozenset(range(block, workers, blocks)) for block in range(blocks)]
    rule = data.draw(st.sampled_from([Fastest(data.draw(st.integers(1, workers))), AnyOfEach(tuple(groups))]))
    until = EveryPiece(rule, layout)
    steps = data.draw(st.lists(st.sampled_from([0.5, 1.0, 1.5, np.inf]), min_size=workers, max_size=workers))
    expected = (layout.places + 1) * np.array(steps)[:, None]

    def ends(moment_s: float) -> bool:
        has = expected <= moment_s
        return all(rule.satisfied(np.flatnonzero(has[:, piece]).tolist()) for piece in range(pieces))

    moments = [moment_s for moment_s in np.unique(expected) if np.isfinite(moment_s) and ends(moment_s)]
    assert decodable_s(expected, until) == (moments[0] if moments else np.inf)


def test_the_master_asks_a_little_before_it_can_decode_and_never_for_what_it_has() -> None:
    layout = PieceLayout(4, 4)
    until, progress = EveryPiece(Fastest(2), layout), RoundProgress(layout)
    assert next_question(0.0, progress, until, 0.1) is None
    progress.hear(0, 0.0, 1, 1.0)
    progress.hear(1, 0.0, 1, 1.0)
    progress.hear(2, 1.0, 1, 1.0)
    # pieces 0, 1, 2, 3 from workers (0, 2), (0, 1), (1, 2), (2, 0 or 1): the last is there at 4 s
    question = next_question(2.0, progress, until, 0.1)
    assert question is not None
    assert question.at_s == pytest.approx(3.9 - 0.0)
    assert dict(question.pieces) == {0: 4, 1: 4}  # and no worker of which nothing is needed
    for worker, pieces in question.pieces.items():
        progress.asked[worker] = pieces
    assert next_question(3.95, progress, until, 0.1) is None
    # nothing came of it: those whose answers are late have stalled, and are asked for what they have
    late = next_question(20.0, progress, until, 0.1)
    assert late is not None
    assert dict(late.pieces) == {0: 0, 1: 0}
    progress.hear(1, 1.0, 3, 19.0)
    assert not progress.stalled[1]


def test_short_rounds_have_one_piece() -> None:
    code, machine = SystematicCode(15, 1, 30), Machine(1e10, 1e9, 1e-4, 1.5e-4)
    assert pieces_for(code, 0.01, 100, machine) == 1
    assert pieces_for(code, 0.1, 100, machine) == 30
    assert pieces_for(code, 0.1, 7, machine) == 7
    assert pieces_for(SystematicCode(30, 1, 30), 10.0, 100, machine) == 1


@pytest.fixture(params=["virtual", "inline"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    spec = "exp:mean=20ms+slowdown:p=0.3,factor=4"
    if request.param == "virtual":
        return SimulatedCluster(7, spec, 2, Machine(1e4))
    cluster = InlineCluster(7, spec, 2)
    cluster.machine = Machine(1e4)
    return cluster


def stored(cluster: Cluster, p: int = 4) -> tuple[Round, EveryPiece, CodeInPieces, np.ndarray]:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((p * 9, 11)), rng.standard_normal((11, 3))
    code, layout = SystematicCode(p, 1, 7), PieceLayout(7, 7)
    cluster.store("left", list(code.encode_left(left)))
    task = Round("product", ("left",), [(right[None],)] * 7, (), ((1, 9, 3),), operations=9 * 11 * 3, label="E")
    return task, EveryPiece(WellConditioned(code, 1e-11), layout), CodeInPieces(code, layout), left @ right


def test_answers_of_slow_workers_count_and_decode(cluster: Cluster) -> None:
    log = EventLog()
    cluster.observers.append(log)
    with cluster:
        task, until, code, expected = stored(cluster)
        partial = 0
        for _ in range(12):
            responses = cluster.run(task, until)
            assert until.decodable(responses.done)
            partial += sum(pieces < 7 for pieces in responses.done.values())
            np.testing.assert_allclose(code.decode(responses.first(), responses.done, (36, 3)), expected, atol=1e-12)
    assert partial > 12
    assert len(log.events) == 7 * 12
    counted = [event for event in log.events if event.status == "counted"]
    assert all(event.pieces for event in counted)
    assert all(event.pieces is None for event in log.events if event.status != "counted")


def test_wrong_answers_do_not_count_and_name_their_worker(cluster: Cluster) -> None:
    with cluster:
        task, until, code, expected = stored(cluster)
        liars = {1, 5}
        responses = cluster.run(replace(task, check=lambda worker, arrays: worker not in liars), until)
        assert not liars & responses.done.keys()
        assert set(responses.left_out) <= liars
        np.testing.assert_allclose(code.decode(responses.first(), responses.done, (36, 3)), expected, atol=1e-12)
        with pytest.raises(NotEnoughWorkers):
            cluster.run(replace(task, check=lambda worker, arrays: worker < 3), until)


def test_only_one_product_of_rows_comes_in_pieces(cluster: Cluster) -> None:
    with cluster:
        _, until, _, _ = stored(cluster)
        for kernel, shapes in (("inner_product", ((1, 3, 3),)), ("product", ((1, 9, 3), (1, 3, 3)))):
            with pytest.raises(UsageError, match="a round in pieces must be one product"):
                cluster.run(Round(kernel, ("left",), [(np.ones((1, 11, 3)),)] * 7, (), shapes), until)


def test_a_fit_in_pieces_ends_sooner_with_the_same_factors() -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 48))
    seconds, products = [], []
    for pieces in (1, 12):
        with SimulatedCluster(12, "slowdown-lognormal:sigma=0.5", 1, Machine(1e4)) as cluster:
            model = CodedALS(rank=4, code=f"systematic:p=6,pieces={pieces}", precomputation="local").fit(
                ratings, cluster
            )
            seconds.append(cluster.seconds())
            products.append(model.user_factors_ @ model.item_factors_.T)
            assert model.converged_
            assert {entry.pieces for entry in model.history_} == {(min(pieces, 8),)}  # no piece without a row
            assert any(entry.partial[0] for entry in model.history_) == (pieces > 1)
    np.testing.assert_allclose(products[0], products[1], atol=1e-6)
    assert seconds[1] < 0.9 * seconds[0]


def test_a_fit_with_copies_in_pieces_has_the_factors_of_one_with_whole_copies() -> None:
    ratings = np.random.default_rng(0).standard_normal((60, 48))
    seconds, products = [], []
    for pieces in (1, 12):
        with SimulatedCluster(12, "slowdown-lognormal:sigma=0.5", 1, Machine(1e4)) as cluster:
            model = CodedALS(rank=4, code=f"replicated:copies=2,pieces={pieces}", precomputation="local")
            model.fit(ratings, cluster)
            seconds.append(cluster.seconds())
            products.append(model.user_factors_ @ model.item_factors_.T)
    np.testing.assert_allclose(products[0], products[1], atol=1e-6)
    assert seconds[1] < 0.9 * seconds[0]


def test_workers_at_the_edge() -> None:
    """One worker, one piece, and no work at all."""
    for workers, pieces, operations in ((1, 1, 1.0), (1, 3, 0.0), (3, 1, 1.0), (2, 9, 0.0)):
        until = EveryPiece(Fastest(1), PieceLayout(workers, pieces))
        played = play(RoundCost(operations), until, Disturbance.late([0.5] * workers), FREE)
        assert 0.5 <= played.elapsed_s <= 0.5 + operations
    dead = play(RoundCost(1.0), EveryPiece(Fastest(1), PieceLayout(2, 4)), Disturbance.late([np.inf] * 2), FREE)
    assert (dead.elapsed_s, dead.done) == (np.inf, {})


def test_events_of_whole_rounds_say_nothing_of_pieces() -> None:
    assert TaskEvent(0, "E", 0, "counted", 0.0, 1.0).pieces is None
