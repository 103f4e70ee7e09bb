"""A fit's word: decoding errors within the tolerance, told in the history and counted in what it claims; where D is formed."""

from __future__ import annotations

import numpy as np
import pytest

from coded_als import CodedALS, CodedOperator, InlineCluster
from coded_als.als.convergence import Stopping
from coded_als.als.history import CodedIteration, Recorder
from coded_als.als.problem import Problem
from coded_als.als.products import RoundLog, RoundRecord
from coded_als.als.ritz import RitzPairs
from coded_als.cluster.machine import Machine
from coded_als.codes import parse_code
from coded_als.models.training import FitRecorder

MATRIX = np.random.default_rng(0).standard_normal((60, 60))


def products(tolerance=None):
    """The rounds of twenty products by an operator at h = 6, for which 21 of 30 workers are enough."""
    operator = CodedOperator(
        MATRIX, InlineCluster(30, "exp:mean=1ms"), code="entangled:h=6", decoding_tolerance=tolerance
    )
    for _ in range(20):
        operator @ MATRIX[:, :2]
    return operator.rounds


def test_an_operator_keeps_to_its_tolerance_and_waits_for_no_more():
    for tolerance in (1e-14, 1e-13):
        rounds = products(tolerance)
        assert max(record.error_estimate for record in rounds) <= tolerance
        assert any(record.responses > 21 for record in rounds)
    assert {record.responses for record in products(1e-3)} == {21}


def test_products_on_the_circle_are_exact_to_1e_12_unless_asked_otherwise():
    rounds = products()
    assert max(record.error_estimate for record in rounds) <= 1e-12
    assert any(record.responses > 21 for record in rounds)
    assert parse_code("systematic").tolerance <= 1e-11


def test_every_round_of_a_fit_keeps_to_the_tolerance_of_its_code():
    model = CodedALS(2, code="entangled:h=6", precomputation="local", iterations=20, tolerance=0.0)
    model.fit(MATRIX, InlineCluster(30, "exp:mean=1ms"))
    assert max(record.error_estimate for record in model.rounds_) <= 1e-12
    assert any(record.responses > 21 for record in model.rounds_)


def wrong_pairs():
    """A problem, and pairs with guards whose residuals a coarse product has made vanish: the vectors are off by 1e-3."""
    values = np.r_[3.0, 2.0, 1.0, np.full(27, 0.1)]
    vectors = np.linalg.qr(np.eye(30)[:, :7] + 1e-3 * np.random.default_rng(0).standard_normal((30, 7)))[0]
    return Problem(np.diag(values), False), RitzPairs(values[:7] ** 2, vectors, np.zeros(7), guards=5)


@pytest.mark.parametrize(("error", "outcome"), [(0.0, "converged"), (1e-6, "undecided")])
def test_residuals_below_the_decoding_error_prove_nothing(error, outcome):
    problem, pairs = wrong_pairs()
    log = RoundLog(InlineCluster(2))
    log.records.append(RoundRecord("E = D X", 2, 0.0, error))
    stopping = Stopping(problem, 2, 0.0, 1e-9)
    stopping._judged = 1  # guards of the random start itself would not be believed
    recorder = Recorder(
        FitRecorder(lambda entry, standing: False, log.cluster.seconds, kind=CodedIteration), log, stopping, 1.0
    )
    assert recorder.finish(pairs)
    assert recorder.history[-1].outcome == outcome


def test_the_factors_themselves_have_the_last_word():
    problem, pairs = wrong_pairs()
    stopping = Stopping(problem, 2, 0.0, 1e-9)
    stopping._judged = 1
    stopping.judge(pairs, 0.0)
    best = stopping.certificate.optimum
    assert stopping.conclude(best, 0.0) == "converged"
    assert stopping.conclude(1.001 * best, 0.0) == stopping.conclude(best, 1e-3 * best) == "undecided"


@pytest.mark.parametrize(("solver", "protocol", "rounds"), [("lobpcg", "fused", 1), ("als", "paper", 3)])
def test_the_history_tells_the_errors_of_its_rounds(solver, protocol, rounds):
    model = CodedALS(3, code="entangled:h=3", solver=solver, protocol=protocol, precomputation="local", iterations=6)
    model.fit(MATRIX, InlineCluster(12, "exp:mean=1ms"))
    estimates = [record.error_estimate for record in model.rounds_]
    for position, entry in enumerate(model.history_):
        assert entry.error_estimate == max(estimates[position * rounds : (position + 1) * rounds]) > 0


@pytest.mark.parametrize(("bandwidth", "where"), [(1e12, "coded"), (1e6, "local")])
def test_a_gram_matrix_is_formed_on_the_workers_where_the_link_carries_it_in_time(bandwidth, where):
    """By counting: nothing of this size is stored."""
    ratings = np.broadcast_to(np.zeros(1), (200_000, 20_000))
    spread = CodedALS(20, code="systematic:p=20").plan(ratings, 30, machine=Machine(1e10, bandwidth))
    assert spread.precomputation == where


def test_a_slow_update_is_not_given_up_while_its_residuals_fall():
    """A fast start makes the rate, and so the loss that it promises, look better than all that follows."""
    stopping = Stopping(Problem(np.diag(np.linspace(3, 1, 30)), False), 2, 0.0, 1e-9)
    sizes = np.r_[1.0, 0.5, 0.5 * 0.99 ** np.arange(1, 12)]
    for size in sizes:
        pairs = RitzPairs(np.array([8.0, 7.0]), np.eye(30)[:, :2], np.full(2, size))
        assert stopping.judge(pairs, 1.0).outcome == "running"
