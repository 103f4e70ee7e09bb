"""The paper's formulas against brute force and against simulated order statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coded_als.cluster import Fastest
from coded_als.cluster.waiting import waiting_s
from coded_als.codes import iteration_threshold, largest_partitions
from coded_als.delays import DelayStream
from coded_als.experiments.table1 import paper_table
from tests.experiments.table1 import closed_forms


@pytest.mark.parametrize(("h", "real", "circle"), [(2, 5, 3), (3, 11, 6), (4, 19, 10), (5, 29, 15), (6, 41, 21)])
def test_thresholds(h: int, real: int, circle: int) -> None:
    assert (iteration_threshold(h, "real"), iteration_threshold(h, "circle")) == (real, circle)


@given(st.integers(1, 60), st.integers(1, 5000))
def test_theorem_1_restates_the_threshold(h: int, workers: int) -> None:
    mu = workers / h**2  # the storage redundancy
    assert closed_forms.threshold_from_redundancy(workers, mu) == pytest.approx(iteration_threshold(h, "real"))


def test_best_partitions_is_the_largest_that_fits() -> None:
    for alive in range(1, 3000):
        largest = max(h for h in range(1, 56) if iteration_threshold(h, "real") <= alive)
        assert largest_partitions(alive, "real") == largest


def test_the_papers_remark_3_overshoots() -> None:
    assert int(np.sqrt(10 + 0.75)) == 3
    assert iteration_threshold(3, "real") == 11
    assert largest_partitions(10, "real") == 2


def order_statistics(spec: str, k: int, workers: int, rounds: int = 4000) -> tuple[float, float]:
    """Mean of the k-th delay and its standard error."""
    stream = DelayStream(spec, workers, seed=11)
    waits = waiting_s(np.array([stream.next_round(1e8) for _ in range(rounds)]), Fastest(k))
    return float(waits.mean()), float(waits.std(ddof=1) / np.sqrt(rounds))


@pytest.mark.parametrize(("k", "workers"), [(1, 1), (1, 20), (11, 20), (20, 20), (29, 40)])
def test_order_statistics_have_their_closed_forms(k: int, workers: int) -> None:
    cases = {
        "exp:mean=20ms": closed_forms.exponential_order_mean(k, workers, 0.02),
        "shifted-exp:shift=5ms,mean=20ms": closed_forms.exponential_order_mean(k, workers, 0.02, 0.005),
        "uniform:low=1s,high=3s": closed_forms.uniform_order_mean(k, workers, 1.0, 3.0),
    }
    for spec, expected in cases.items():
        mean, error = order_statistics(spec, k, workers)
        assert abs(mean - expected) < 3 * error, spec


@pytest.mark.parametrize(("h", "alive"), [(2, 10), (3, 20), (4, 40), (6, 50)])
def test_formula_46_is_the_simulated_mean(h: int, alive: int) -> None:
    """Blom's approximation is good to a few thousandths of a standard deviation, which the tolerance covers."""
    columns, rank, iterations = 300, 20, 3000
    operations = columns**2 * rank / h**2
    mu, sigma = 1e-9, 2e-8
    stream = DelayStream(f"normal-ops:mu={mu}s,sigma={sigma}s", alive, seed=3)
    waits = waiting_s(
        np.array([stream.next_round(operations) for _ in range(iterations)]), Fastest(iteration_threshold(h, "real"))
    )
    expected = paper_table.expected_seconds(paper_table.OperationTime(mu, sigma), columns, rank, h, alive)
    spread_s = sigma * np.sqrt(operations)
    assert abs(waits.mean() - expected) < 3 * waits.std() / np.sqrt(iterations) + 0.01 * spread_s
