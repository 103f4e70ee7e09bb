"""Rounds in pieces with worker processes: answers that count, workers that die, and answers that cannot count."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from coded_als import CodedALS, SimulatedCluster
from coded_als.arrays import Array
from coded_als.cluster import Cluster, Round, WellConditioned
from coded_als.cluster.freivalds import PieceSketches, Secret, norms
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.recording import EventLog
from coded_als.cluster.verification import VerifiedCluster
from coded_als.codes import SystematicCode
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.master import LocalCluster
from coded_als.master.membership import WorkerState
from coded_als.master.rounds import Payloads, RunningRound
from coded_als.wire import Answer

WORKERS, P, HEIGHT = 7, 4, 60
# every multiplication takes so much longer that a share takes some 200 ms, nearly all of it asleep
SLOW = f"slowdown-always:n={WORKERS},factor=300+slowdown-lognormal:sigma=0.5"


def given(cluster: Cluster, spoilt: int | None = None) -> tuple[Round, EveryPiece, CodeInPieces, Array]:
    """A product that the workers hold, one of them perhaps with a share that is not finite."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((P * HEIGHT, 300)), rng.standard_normal((300, 40))
    code, layout = SystematicCode(P, 1, WORKERS), PieceLayout(WORKERS, WORKERS)
    shares = [np.array(share) for share in code.encode_left(left)]
    if spoilt is not None:
        shares[spoilt][0, -1, 0] = np.nan
    cluster.store("left", shares)
    task = Round(
        "product",
        ("left",),
        [(right[None],)] * WORKERS,
        (),
        ((1, HEIGHT, 40),),
        operations=HEIGHT * 300 * 40,
        label="E",
    )
    return task, EveryPiece(WellConditioned(code, 1e-9), layout), CodeInPieces(code, layout), left @ right


def test_answers_of_slow_workers_count_and_each_task_leaves_one_event() -> None:
    with LocalCluster(WORKERS, SLOW, seed=1) as cluster:
        log = EventLog()
        cluster.observers.append(log)
        task, until, code, expected = given(cluster)
        partial = 0
        for _ in range(5):
            responses = cluster.run(task, until)
            assert until.decodable(responses.done)
            partial += sum(pieces < WORKERS for pieces in responses.done.values())
            found = code.decode(responses.first(), responses.done, expected.shape, 1e-9)
            np.testing.assert_allclose(found, expected, atol=1e-9)
    assert partial > 0
    assert Counter((event.round_index, event.worker) for event in log.events) == dict.fromkeys(
        ((index, worker) for index in range(5) for worker in range(WORKERS)), 1
    )
    counted = [event for event in log.events if event.status == "counted"]
    assert all(event.pieces and event.received_s is not None and event.computed_s > 0 for event in counted)
    assert all(event.pieces is None for event in log.events if event.status != "counted")


def test_a_round_goes_on_without_a_worker_that_dies_and_keeps_what_it_had_sent() -> None:
    with LocalCluster(WORKERS, SLOW, seed=1) as cluster:
        log = EventLog()
        cluster.observers.append(log)
        task, until, code, expected = given(cluster)
        for victim in (2, 5, 6):
            timer = threading.Timer(0.05, os.kill, (cluster.process_ids[victim], signal.SIGKILL))
            timer.start()
            responses = cluster.run(task, until)
            timer.join()
            found = code.decode(responses.first(), responses.done, expected.shape, 1e-9)
            np.testing.assert_allclose(found, expected, atol=1e-9)
    assert max(Counter((event.round_index, event.worker) for event in log.events).values()) == 1


def test_too_few_workers_for_a_piece_are_an_error_at_once() -> None:
    with LocalCluster(WORKERS, "dead:n=4") as cluster:
        task, until, _, _ = given(cluster)
        with pytest.raises(NotEnoughWorkers, match="at least 4 workers must be able to respond; 3 are alive"):
            cluster.run(task, until)


def test_answers_that_are_not_finite_do_not_count() -> None:
    with LocalCluster(WORKERS, SLOW, seed=1) as cluster:
        task, until, code, expected = given(cluster, spoilt=1)
        for _ in range(3):
            responses = cluster.run(task, until)
            # the row of NaN is in the last of the pieces: those that were sent without it are right
            found = code.decode(responses.first(), responses.done, expected.shape, 1e-9)
            np.testing.assert_allclose(found, expected, atol=1e-9)
            assert set(responses.left_out) <= {1}


@pytest.mark.parametrize("kind", ["virtual", "inline", "local"])
def test_liars_are_named_by_their_pieces_and_left_out(kind: str) -> None:
    """A worker holds another share than the master gave it: one entry is off by a part in ten thousand."""
    opened = {
        "virtual": lambda: SimulatedCluster(WORKERS, "slowdown-lognormal:sigma=0.5", 1),
        "inline": lambda: InlineCluster(WORKERS, "exp:mean=1ms", 1),
        "local": lambda: LocalCluster(WORKERS, "exp:mean=2ms", seed=1),
    }
    with opened[kind]() as cluster, VerifiedCluster(cluster) as verified:
        task, until, code, expected = given(verified)
        lies = [np.array(share) for share in verified._sources["left"]]
        for liar in (1, 4):
            lies[liar][0, 7 * liar, 3] *= 1.0001
        cluster.store("left", lies)  # behind the back of the one that checks
        named: set[int] = set()
        for _ in range(12):
            responses = verified.run(task, until)
            named.update(responses.left_out)
            assert not {1, 4} & {w for w, done in responses.done.items() if done == WORKERS}
            found = code.decode(responses.first(), responses.done, expected.shape, 1e-9)
            np.testing.assert_allclose(found, expected, atol=1e-9)
        assert named <= {1, 4}
        assert named


def test_no_honest_piece_is_taken_for_a_lie() -> None:
    """Rows and columns over many decades, and pieces of any size."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        rows, inner, columns, pieces = rng.integers(1, 40, 4)
        layout = PieceLayout(3, int(pieces))
        share = rng.standard_normal((1, rows, inner)) * 10.0 ** rng.integers(-8, 8, (1, rows, 1))
        right = rng.standard_normal((1, inner, columns)) * 10.0 ** rng.integers(-8, 8, columns)
        sketches = PieceSketches.of(share, Secret(), 1, layout)
        first, last = sorted(rng.integers(0, pieces + 1, 2).tolist())
        if first == last:
            continue
        order = layout.order(1, int(rows), first, last)
        numbers = [(layout.start(1) + place) % layout.pieces for place in range(first, last)]
        answer = np.concatenate([(share @ right)[:, part] for part in order], axis=1)
        assert sketches.compare(numbers, order, sketches.times(right, numbers), norms(right[0]), answer).agrees
        if answer.size:
            place = tuple(int(rng.integers(0, side)) for side in answer.shape)
            answer[place] += 1e-6 * np.linalg.norm(share) * np.linalg.norm(right)
            assert not sketches.compare(numbers, order, sketches.times(right, numbers), norms(right[0]), answer).agrees


def test_a_check_of_whole_responses_is_refused() -> None:
    with LocalCluster(WORKERS) as cluster:
        task, until, _, _ = given(cluster)
        with pytest.raises(UsageError, match="a check must look at pieces where a round is in pieces"):
            cluster.run(replace(task, check=lambda worker, arrays: True), until)


def test_a_new_attempt_counts_once_it_has_more_than_the_one_before() -> None:
    layout = PieceLayout(2, 4)
    until = EveryPiece(WellConditioned(SystematicCode(1, 1, 2), 1e-9), layout)
    task = Round("product", response_shapes=((1, 4, 1),))
    running = RunningRound(task, until, 0, (), (), [0.0] * 2, [1.0] * 2, Payloads(task, None))
    running.place(WorkerState(1, b"", 0, 0.0), is_given=False)
    running.ask(1, 0.0)

    def answer(attempt: int, before: int, done: int) -> None:
        assert running.rows_of(1, attempt, done) == (1, done - before, 1)
        rows = 100.0 * attempt + np.arange(before, done).reshape(1, -1, 1)
        running.take_pieces(1, Answer(b"", 1, 0, attempt, done, arrays=(rows,)), 0.0)

    answer(0, 0, 2)
    answer(1, 0, 1)
    assert running.results[1][0].ravel().tolist() == [0, 1]
    answer(1, 1, 3)
    assert running.results[1][0].ravel().tolist() == [100, 101, 102]
    assert running.done_pieces == {1: 3}
    for done in (0, 3, 5):
        assert running.rows_of(1, 1, done) is None
    answer(1, 3, 4)
    assert running.done
    assert running.is_over(1)


def test_a_fit_in_pieces_on_worker_processes_has_the_factors_of_a_fit_with_whole_shares() -> None:
    ratings = np.random.default_rng(0).standard_normal((90, 84))
    products = []
    for pieces in (1, 7):
        with LocalCluster(WORKERS, "exp:mean=2ms", seed=1) as cluster:
            model = CodedALS(rank=4, code=f"systematic:p=4,pieces={pieces}").fit(ratings, cluster)
            assert model.converged_
            products.append(model.user_factors_ @ model.item_factors_.T)
    np.testing.assert_allclose(products[0], products[1], atol=1e-6)
