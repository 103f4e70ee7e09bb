"""What a fit says of itself: decoding errors within the tolerance, the history's estimates, and where D is formed."""

from __future__ import annotations

import numpy as np
import pytest

from coded_als import CodedALS, CodedOperator, InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.codes import parse_code

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
