"""Batched solvers against NumPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from coded_als.sharded.equations import solve_cholesky, solve_conjugate_gradients


def systems(order, count=12, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((count, 2 * order + 1, order)).astype(np.float32)
    return np.swapaxes(roots, 1, 2) @ roots, rng.standard_normal((count, order)).astype(np.float32)


# one column, blocks of one size and a rest, blocks that are cut themselves
@pytest.mark.parametrize("order", [1, 19, 70])
def check_cholesky(order):
    matrices, right = systems(order)
    solution, solved = jax.jit(solve_cholesky)(matrices, right)
    expected = np.linalg.solve(matrices.astype(float), right.astype(float)[..., None])[..., 0]
    assert np.abs(solution - expected).max() < 1e-4 * np.abs(expected).max()
    assert solved.all()


def check_what_is_not_positive_definite_is_told():
    matrices, right = systems(19)
    matrices[3, 4, 4], matrices[5, 17, 17] = -1, np.nan
    solution, solved = jax.jit(solve_cholesky)(matrices, right)
    assert np.flatnonzero(~np.asarray(solved)).tolist() == [3, 5]
    assert np.isfinite(np.asarray(solution)[np.asarray(solved)]).all()


def check_conjugate_gradients_stop_where_nothing_is_left():
    matrices, right = systems(5)
    right[2] = 0
    solve = jax.jit(lambda *operands: solve_conjugate_gradients(*operands, 40))
    solution = np.asarray(solve(matrices, right, np.zeros_like(right)))
    expected = np.linalg.solve(matrices.astype(float), right.astype(float)[..., None])[..., 0]
    assert np.abs(solution - expected).max() < 1e-4 * np.abs(expected).max()
    assert not solution[2].any()
