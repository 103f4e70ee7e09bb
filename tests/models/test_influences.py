"""Influences of ratings on a score, against the inverse written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coded_als.models.recommending import influences
from coded_als.sharded.objectives import Explicit, HostItems
from tests.strategies import seeds


@given(seeds, st.integers(1, 7), st.integers(1, 5), st.booleans())
def test_an_influence_is_that_of_the_inverse(seed: int, count: int, rank: int, common: bool) -> None:
    rng = np.random.default_rng(seed)
    rated, wanted, root = rng.standard_normal((count, rank)), rng.standard_normal(rank), rng.standard_normal((3, rank))
    curvature, penalty = rng.random(count) * (rng.random(count) < 0.7), 0.1 + rng.random(rank)
    gram = root.T @ root if common else None
    system = (rated.T * curvature) @ rated + np.diag(penalty) + (0 if gram is None else gram)
    expected = rated @ np.linalg.inv(system) @ wanted
    np.testing.assert_allclose(influences(rated, curvature, penalty, gram, wanted), expected, rtol=1e-8, atol=1e-10)


def test_a_small_ridge_weight_costs_no_digits() -> None:
    rng = np.random.default_rng(0)
    rated, wanted = rng.standard_normal((3, 6)) * [[1e5], [1e4], [1.0]], rng.standard_normal(6)
    # the same by the (k, k) system, which is well conditioned
    expected = np.linalg.solve(rated @ rated.T + 1e-6 * np.eye(3), rated @ wanted)
    found = influences(rated, np.ones(3), np.full(6, 1e-6), None, wanted)
    assert found == pytest.approx(expected, rel=1e-8)


def test_items_on_the_host_explain_with_small_ridge_weights() -> None:
    rng = np.random.default_rng(1)
    items = rng.standard_normal((6, 6)) * [[1e5], [1e4], [1.0], [1.0], [1.0], [1.0]]
    columns, values = np.arange(3), rng.standard_normal(3)
    host = HostItems(items, None, Explicit(1e-6, by_count=False, biases=False, bias_regularization=1.0))
    rated = items[columns]
    expected = values * np.linalg.solve(rated @ rated.T + 1e-6 * np.eye(3), rated @ items[4])
    assert host.contributions(columns, values, 4) == pytest.approx(expected, rel=1e-8)
