"""The d x d algebra against alternating least squares written out, and against the global optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.als.updates import objective, swept_coordinates, update_matrix
from coded_als.errors import UsageError
from tests.strategies import seeds


def sweep(matrix, factor, lam):
    """One textbook ALS sweep (2), (3) with ridge weight: the other factor, then this one."""
    ridge = lam * np.eye(factor.shape[1])
    other = np.linalg.solve(factor.T @ factor + ridge, factor.T @ matrix.T).T
    return other, np.linalg.solve(other.T @ other + ridge, other.T @ matrix).T


@given(seed=seeds, lam=st.sampled_from([0.0, 0.1, 3.0]), rank=st.integers(1, 4))
@settings(max_examples=60)
def test_one_update_is_one_sweep(seed, lam, rank):
    rng = np.random.default_rng(seed)
    matrix, factor = rng.standard_normal((12, 7)), rng.standard_normal((7, rank))
    image = matrix.T @ matrix @ factor
    weights = update_matrix(factor.T @ factor, factor.T @ image, lam, 0.0)
    expected = sweep(matrix, factor, lam)[1]
    assert np.linalg.norm(image @ weights - expected) <= 1e-7 * np.linalg.norm(expected)


@given(seed=seeds, lam=st.sampled_from([0.0, 0.1, 3.0]), rank=st.integers(1, 4))
@settings(max_examples=60)
def test_objective_is_that_of_the_best_other_factor(seed, lam, rank):
    rng = np.random.default_rng(seed)
    matrix, factor = rng.standard_normal((12, 7)), rng.standard_normal((7, rank))
    other = sweep(matrix, factor, lam)[0]
    direct = np.sum((matrix - other @ factor.T) ** 2) + lam * (np.sum(other**2) + np.sum(factor**2))
    basis = np.linalg.qr(factor)[0]
    values, rotation = np.linalg.eigh(basis.T @ matrix.T @ matrix @ basis)
    coordinates = (basis @ rotation).T @ factor
    assert objective(np.sum(matrix**2), values, coordinates, lam) == pytest.approx(direct, rel=1e-9)


@given(seed=seeds, lam=st.sampled_from([1e-3, 0.1, 3.0]), rank=st.integers(1, 4))
@settings(max_examples=60)
def test_an_update_in_ritz_coordinates_is_one_sweep(seed, lam, rank):
    rng = np.random.default_rng(seed)
    matrix, factor = rng.standard_normal((12, 7)), rng.standard_normal((7, rank))
    basis, data = np.linalg.qr(factor)[0], matrix.T @ matrix
    values, rotation = np.linalg.eigh(basis.T @ data @ basis)
    vectors = basis @ rotation
    found = (data @ vectors / values) @ swept_coordinates(vectors.T @ factor, values, lam)
    expected = sweep(matrix, factor, lam)[1]
    assert np.linalg.norm(found - expected) <= 1e-7 * np.linalg.norm(expected)


def test_rank_above_the_data_is_named():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 9))
    factor = rng.standard_normal((9, 5))
    projected = factor.T @ matrix.T @ matrix @ factor
    with pytest.raises(UsageError, match=r"rank must be at most the rank of the matrix, here 3 .*; got 5"):
        update_matrix(factor.T @ factor, projected, 0.0, 0.0)
    assert np.isfinite(update_matrix(factor.T @ factor, projected, 0.5, 0.0)).all()


def test_eigenvalues_below_the_error_of_the_products_say_nothing():
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    projected = (axes * [1.0, 0.5, 1e-9]) @ axes.T
    assert np.isfinite(update_matrix(np.eye(3), projected, 0.0, 1e-12)).all()
    with pytest.raises(UsageError, match=r"here 2 .*; got 3"):
        update_matrix(np.eye(3), projected, 0.0, 1e-6)
