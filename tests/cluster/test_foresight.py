"""What earlier rounds make likely: when answers are due, where workers begin, and how many messages that spares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als import CodedALS, SimulatedCluster
from coded_als.cluster import WellConditioned
from coded_als.cluster.foresight import FEWEST, Foresight
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import play
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.rules import first_copies
from coded_als.cluster.waiting import RoundCost
from coded_als.codes import SystematicCode
from coded_als.codes.pieces import PieceLayout, arcs
from coded_als.delays import DelayStream, Disturbance
from coded_als.master import LocalCluster
from tests.cluster.test_questions import MODELS
from tests.master.test_answers import SLOW, WORKERS
from tests.master.test_answers import given as given_product

W, P = 30, 15
MACHINE = Machine(1.0, np.inf, 1e-4, 1.5e-4)
CODED = EveryPiece(WellConditioned(SystematicCode(P, 1, W), 1e-11), PieceLayout(W, W))


def course(until: EveryPiece, spec: str, share_s: float, rounds: int, machine: Machine = MACHINE) -> np.ndarray:
    """Seconds, messages, and whether workers began in arcs, of some rounds of one product; share_s: of 1/W of it."""
    stream, foresight, found = DelayStream(spec, W, 3), Foresight(), []
    cost = RoundCost(share_s * W / P)
    for _ in range(rounds):
        drawn = stream.disturb(cost.operations)
        one = foresight.foreseen(until, cost.operations)
        played = play(cost, one, Disturbance(drawn.delays_s * share_s, drawn.slowness), machine)
        foresight.learn(played, one, cost.operations)
        found.append((played.elapsed_s, played.messages, bool(one.layout.starts)))
    return np.array(found).T


@pytest.mark.parametrize("share_s", [1.0, 0.05])
def test_a_cluster_that_stays_the_same_needs_two_messages_of_each_worker(share_s: float) -> None:
    for spec in ("none", "slowdown-always:n=15,factor=0.5"):
        _, messages, _ = course(CODED, spec, share_s, 8)
        assert messages[:FEWEST].tolist() == [4 * W] * FEWEST or spec != "none"
        assert messages[-1] == 2 * W


@pytest.mark.parametrize("spec", ["exp:mean=400ms", "slowdown-lognormal:sigma=0.25", "slowdown:p=0.15,factor=5"])
def test_random_rounds_take_few_messages_and_hardly_longer(spec: str) -> None:
    rounds = 20
    seconds, messages, begun = course(CODED, spec, 1.0, rounds)
    stream, asked_s = DelayStream(spec, W, 3), []
    for _ in range(rounds):
        drawn = stream.disturb(W / P)
        asked_s.append(play(RoundCost(W / P), CODED, drawn, MACHINE).elapsed_s)
    assert messages[FEWEST:].mean() < 2.5 * W
    assert seconds.mean() < 1.04 * np.mean(asked_s)
    assert not begun.any()  # a random speed foretells nothing


def test_arcs_by_speed_are_taken_where_speeds_persist_and_end_rounds_sooner() -> None:
    for spec, pieces, pooled_s in (
        ("slowdown-always:n=15,factor=0.5", 30, 2 / 3),
        ("slowdown-always:n=1,factor=3", 60, 1.0227),
    ):
        until = replace(CODED, layout=PieceLayout(W, pieces))
        seconds, _, begun = course(until, spec, 1.0, 8)
        assert begun.tolist() == [0.0] * 3 + [1.0] * 5
        assert seconds[-1] < 0.975 * seconds[0]
        assert seconds[-1] < 1.03 * pooled_s


@pytest.mark.parametrize("spec", MODELS)
@pytest.mark.parametrize("copies", [False, True])
def test_a_foreseen_round_is_never_later_than_whole_shares(spec: str, copies: bool) -> None:
    """Messages free, on every draw, whatever has been foreseen; copies begin in arcs of their own blocks."""
    free, cost = Machine(1.0, np.inf, 0.0, 0.0), RoundCost(2.0)
    rule = first_copies(12, 6) if copies else WellConditioned(SystematicCode(6, 1, 12), 1e-11)
    until, stream, foresight = EveryPiece(rule, PieceLayout(12, 12)), DelayStream(spec, 12, 3), Foresight()
    for _ in range(60):
        drawn = stream.disturb(2.0)
        one = foresight.foreseen(until, 2.0)
        played = play(cost, one, drawn, free)
        foresight.learn(played, one, 2.0)
        ends_s = drawn.delays_s + 2.0 * drawn.slowness
        order = np.argsort(ends_s, kind="stable")
        enough = next(k for k in range(6, 13) if rule.satisfied(order[:k].tolist()))
        assert played.elapsed_s <= ends_s[order[enough - 1]] * (1 + 1e-9)
        assert one.decodable(played.done)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.integers(1, 40))
def test_arcs_cover_every_piece_as_often_as_it_is_needed(done: list[int], pieces: int) -> None:
    counts = np.minimum(done, pieces)
    turns = int(counts.sum()) // pieces
    if turns:
        layout = PieceLayout(len(done), pieces, tuple(arcs(counts, turns, pieces).tolist()))
        answered = layout.counts({worker: int(count) for worker, count in enumerate(counts)})
        assert answered.min() >= turns
        assert answered.sum() == counts.sum()


@pytest.mark.parametrize("fast", [0, 10, 15])
def test_a_worker_that_fails_is_not_missed_by_all_of_an_arc(fast: int) -> None:
    """Arcs laid end to end alone would begin at two or three pieces only, and one dead worker would cost three quarters."""
    piece_s = np.full(W, 1 / W)
    piece_s[np.random.default_rng(0).permutation(W)[:fast]] /= 2
    done_s = np.sort(np.concatenate([one * np.arange(1, W + 1) for one in piece_s]))[P * W - 1]
    starts = arcs(np.minimum(W, (done_s / piece_s * (1 + 1e-9)).astype(int)), P, W)
    places = PieceLayout(W, W, tuple(starts.tolist())).places + 1
    ends_s = []
    for dead in range(W):
        finished_s = np.delete(places * piece_s[:, np.newaxis], dead, axis=0)
        ends_s.append(np.partition(finished_s, P - 1, axis=0)[P - 1].max())
    assert max(ends_s) <= 1.35 * done_s


def test_real_workers_answer_when_they_are_due_and_late_answers_tell_their_paces() -> None:
    with LocalCluster(WORKERS, SLOW, seed=1) as cluster:
        task, until, code, expected = given_product(cluster)
        first = cluster.run(task, until)
        assert first.paces.keys() >= first.done.keys()
        due = replace(until, due_s=2 * first.elapsed_s)
        responses = cluster.run(task, due)
        found = code.decode(responses.first(), responses.done, expected.shape, 1e-9)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert all(waited_s >= 0 and piece_s > 0 for waited_s, piece_s in responses.paces.values())


def test_a_fit_learns_from_its_rounds() -> None:
    """With half of the machines at double speed, and the same factors as with whole shares."""
    ratings = np.random.default_rng(0).standard_normal((120, 120))
    found = []
    for pieces in (1, 12):
        with SimulatedCluster(12, "slowdown-always:n=6,factor=0.5", 2, Machine(1e4)) as cluster:
            code = f"systematic:p=6,pieces={pieces}"
            model = CodedALS(rank=4, code=code, precomputation="local").fit(ratings, cluster)
            found.append((model.user_factors_ @ model.item_factors_.T, [one.elapsed_s for one in model.rounds_]))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    later = found[1][1][4:]
    assert len(later) > 2
    assert np.median(later) < 0.92 * found[1][1][0]
