"""The inner product B^T C and the interpolation of a factor, from shares of h parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.codes import EntangledPolynomialCode, FactorCode, InnerProductCode
from coded_als.kernels import inner_product, run_to_end, scaled
from tests.strategies import seeds


def shares(parts, workers, points, matrix, side):
    if side == "right" or points == "circle":
        return list(EntangledPolynomialCode(1, parts, 1, workers, points).encode_right(matrix))
    return list(EntangledPolynomialCode(parts, 1, 1, workers, points).encode_left(matrix))


@pytest.mark.parametrize("points", ["circle", "real"])
@given(parts=st.integers(1, 6), spare=st.integers(0, 5), rows=st.integers(1, 20), seed=seeds)
@settings(max_examples=60)
def test_inner_product_from_any_threshold_workers(points, parts, spare, rows, seed):
    rng = np.random.default_rng(seed)
    threshold = parts if points == "circle" else 2 * parts - 1
    workers = threshold + spare
    code = InnerProductCode(parts, workers, points)
    assert code.recovery_threshold == threshold
    left, right = rng.standard_normal((rows, 3)), rng.standard_normal((rows, 4))
    chosen = rng.permutation(workers)[:threshold]
    pairs = (shares(parts, workers, points, left, "left"), shares(parts, workers, points, right, "right"))
    responses = {int(w): run_to_end(inner_product(pairs[0][w], pairs[1][w]))[0] for w in chosen}
    bound = 20 * code.error_estimate(responses) * np.linalg.norm(left) * np.linalg.norm(right)
    assert np.linalg.norm(code.decode(responses) - left.T @ right) <= bound


@pytest.mark.parametrize("points", ["circle", "real"])
@pytest.mark.parametrize("side", ["left", "right"])
@given(parts=st.integers(1, 6), spare=st.integers(0, 5), rows=st.integers(1, 20), seed=seeds)
@settings(max_examples=40)
def test_a_scaled_factor_is_interpolated(points, side, parts, spare, rows, seed):
    """Workers scale their shares; what is interpolated is the scaled factor (24), (30)."""
    if points == "circle":
        side = "right"  # on the circle there is only this share
    rng = np.random.default_rng(seed)
    workers = 2 * parts - 1 + spare
    code = FactorCode(parts, workers, points, side=side)
    factor, matrix = rng.standard_normal((rows, 3)), rng.standard_normal((3, 3))
    sent = shares(parts, workers, points, factor, side)
    chosen = rng.permutation(workers)[: code.recovery_threshold]
    responses = {int(w): run_to_end(scaled(sent[w], matrix))[0] for w in chosen}
    found = code.decode(responses, (rows, 3))
    bound = 20 * code.error_estimate(responses) * np.linalg.norm(factor) * np.linalg.norm(matrix)
    assert np.linalg.norm(found - factor @ matrix) <= bound
