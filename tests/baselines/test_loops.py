"""The stochastic loops against plain Python and finite differences."""

import numpy as np
import pytest
from scipy import sparse

from coded_als.baselines.loops import bpr_epoch, squared_loss_epoch, warp_epoch


def splitmix_below(state, bound):
    mask = 2**64 - 1
    state[0] = (state[0] + 0x9E3779B97F4A7C15) & mask
    word = state[0]
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    word ^= word >> 31
    return ((word >> 32) * bound) >> 32


@pytest.fixture
def small():
    generator = np.random.default_rng(0)
    matrix = sparse.csr_array((generator.random((6, 12)) < 0.3).astype(float))
    users = np.repeat(np.arange(6, dtype=np.int32), np.diff(matrix.indptr))
    pointers, columns = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    return users, pointers, columns, generator.standard_normal((6, 3)), generator.standard_normal((12, 4))


def test_sgd_follows_the_gradient_of_its_loss():
    """One rating: the step must be minus half the rate times the numerical gradient."""
    generator = np.random.default_rng(1)
    user, item = generator.standard_normal((1, 4)), generator.standard_normal((1, 4))

    def loss(flat):
        u, v = flat[:4], flat[4:]
        return (3.0 - u[3] - v[3] - u[:3] @ v[:3]) ** 2 + 0.1 * (flat @ flat)

    start = np.concatenate((user[0], item[0]))
    gradient = [(loss(start + h) - loss(start - h)) / 2e-6 for h in 1e-6 * np.eye(8)]
    one = np.zeros(1, dtype=np.int32)
    value = squared_loss_epoch(np.zeros(1, dtype=np.int64), one, one, np.array([3.0]), user, item, 0.01, 0.1)
    assert value == pytest.approx(loss(start))
    np.testing.assert_allclose(np.concatenate((user[0], item[0])), start - 0.005 * np.array(gradient), atol=1e-8)


def reference_epoch(kind, small, order, rate, ridge, seed, max_samples):
    """BPR or WARP with row-wise Adagrad, written plainly."""
    users, indptr, indices, user_side, item_side = small
    squares = np.ones(len(user_side)), np.ones(len(item_side))
    state, total, count = [seed], 0.0, len(item_side)
    for entry in order:
        user, positive = users[entry], indices[entry]
        own = set(indices[indptr[user] : indptr[user + 1]].tolist())
        for sample in range(1, max_samples + 1):
            negative = splitmix_below(state, count)
            if negative in own:
                continue
            u, v, w = user_side[user], item_side[positive], item_side[negative]
            difference = u @ (v - w)[:3] + v[3] - w[3]
            if kind == "bpr":
                push, loss = 1 / (1 + np.exp(difference)), np.log(1 + np.exp(-difference))
            elif difference < 1:
                push = np.log(max(1, (count - 1) // sample))
                loss = push * (1 - difference)
            else:
                continue
            total += loss
            on_u = push * (v - w)[:3] - ridge * u
            on_v = np.append(push * u, push) - ridge * v
            on_w = np.append(-push * u, -push) - ridge * w
            for side, row, sums, step in (
                (user_side, user, squares[0], on_u),
                (item_side, positive, squares[1], on_v),
                (item_side, negative, squares[1], on_w),
            ):
                sums[row] += np.mean(step[:3] ** 2)
                side[row] = side[row] + rate / np.sqrt(sums[row]) * step
            break
    return total


@pytest.mark.parametrize("kind", ["bpr", "warp"])
def test_ranking_epochs_match_plain_python(kind, small):
    users, indptr, indices, user_side, item_side = small
    order = np.random.default_rng(2).permutation(len(users))
    copy = users, indptr, indices, user_side.copy(), item_side.copy()
    samples = 1 if kind == "bpr" else 8
    expected = reference_epoch(kind, copy, order, 0.1, 0.02, 77, samples)
    squares, state = (np.ones(6), np.ones(12)), np.array([77], dtype=np.uint64)
    common = (order, users, indptr, indices, user_side, item_side, squares, 0.1, 0.02, False, state)
    found = bpr_epoch(*common) if kind == "bpr" else warp_epoch(*common, samples)
    assert found == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(user_side, copy[3], rtol=1e-10)
    np.testing.assert_allclose(item_side, copy[4], rtol=1e-10)


@pytest.mark.parametrize("kind", ["bpr", "warp"])
def test_a_ranking_step_descends_its_own_loss(kind):
    """One pair, no memory in Adagrad yet to speak of: the step must be along minus the numerical gradient."""
    generator = np.random.default_rng(3)
    user, items = 0.1 * generator.standard_normal((1, 3)), 0.1 * generator.standard_normal((5, 4))
    weight = np.log(4)  # of the first of 5 - 1 others

    def loss(flat):
        u, v, w = flat[:3], flat[3:7], flat[7:]
        difference = u @ (v - w)[:3] + v[3] - w[3]
        pushed = np.log(1 + np.exp(-difference)) if kind == "bpr" else weight * (1 - difference)
        return pushed + 0.05 / 2 * (flat @ flat)

    before = items.copy()
    start_user = user[0].copy()
    squares = np.full(1, 1e20), np.full(5, 1e20)  # accumulators this large do not move: one rate for every row
    matrix = np.array([0, 1]), np.zeros(1, dtype=np.int32)
    common = (
        np.zeros(1, dtype=np.int64),
        np.zeros(1, dtype=np.int32),
        *matrix,
        user,
        items,
        squares,
        1e10,
        0.05,
        False,
    )
    seed = next(seed for seed in range(50) if splitmix_below([seed], 5))
    negative, state = splitmix_below([seed], 5), np.array([seed], dtype=np.uint64)
    bpr_epoch(*common, state) if kind == "bpr" else warp_epoch(*common, state, 1)

    start = np.concatenate((start_user, before[0], before[negative]))
    gradient = np.array([(loss(start + h) - loss(start - h)) / 2e-6 for h in 1e-6 * np.eye(11)])
    found = np.concatenate((user[0], items[0], items[negative]))
    np.testing.assert_allclose(found, start - gradient, atol=1e-6)


def test_frozen_items_do_not_move(small):
    users, indptr, indices, user_side, item_side = small
    before, squares = item_side.copy(), (np.ones(6), np.ones(12))
    order, state = np.arange(len(users)), np.array([5], dtype=np.uint64)
    warp_epoch(order, users, indptr, indices, user_side, item_side, squares, 0.1, 0.01, True, state, 5)
    np.testing.assert_array_equal(item_side, before)
