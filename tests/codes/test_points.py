"""Evaluation points: distinct, spread over the workers, and exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coded_als.codes import EvaluationPoints
from coded_als.codes.entangled import spread_order
from coded_als.errors import UsageError

FAMILIES = ("circle", "real", "equispaced")


@pytest.mark.parametrize("family", FAMILIES)
@given(workers=st.integers(1, 300))
def test_points_are_distinct(family, workers):
    powers = EvaluationPoints(family, workers).powers(np.array([1]))
    assert len({tuple(point) for point in powers[:, :, 0]}) == workers


@given(workers=st.integers(1, 300))
def test_spread_order_is_a_permutation(workers):
    assert sorted(spread_order(workers)) == list(range(workers))


def test_neighbouring_workers_are_far_apart():
    positions = spread_order(64)
    assert np.abs(np.diff(positions)).min() >= 16


@given(workers=st.integers(1, 60), exponent=st.integers(0, 500))
def test_circle_powers_are_exact(workers, exponent):
    """High powers keep full accuracy: (z^e)^(4W) is 1, and z^e follows from whole numbers of half steps."""
    points = EvaluationPoints("circle", workers)
    real, imaginary = points.powers(np.array([exponent]))[:, :, 0].T
    half_steps = (2 * spread_order(workers) + 1) * exponent
    quarter_turns, rest = np.divmod(half_steps, workers)  # pi e (2j+1) / (2W) is quarter_turns * pi / 2 and a rest
    expected = np.array([1, 1j, -1, -1j])[quarter_turns % 4] * np.exp(1j * np.pi * rest / (2 * workers))
    assert np.abs(real + 1j * imaginary - expected).max() < 1e-15


def test_real_nodes_lie_in_the_unit_interval():
    for family in ("real", "equispaced"):
        nodes = EvaluationPoints(family, 17).real_nodes
        assert np.abs(nodes).max() <= 1
        assert abs(nodes.sum()) < 1e-12


def test_unknown_family_is_refused():
    with pytest.raises(UsageError, match="points must be one of circle, real, equispaced; got 'square'"):
        EvaluationPoints("square", 3)
    with pytest.raises(UsageError, match="workers must be at least 1; got 0"):
        EvaluationPoints("circle", 0)
