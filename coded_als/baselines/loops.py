"""The compiled loops of squared losses: one pass over observed entries in a given order.

A run that diverges ends in numbers that are not finite, or in a loss that is; it raises nothing here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.baselines.compiled import compiled, dot, inlined


@compiled
def squared_loss_epoch(
    order: Any, users: Any, items: Any, targets: Any, user_side: Any, item_side: Any, rate: float, ridge: float
) -> float:
    """Stochastic gradient steps on ``(r - u.v - b_u - b_i)^2 + ridge (|u|^2 + |v|^2 + b_u^2 + b_i^2)``.

    Rows hold the factors and, last, the bias. Returns the sum of that expression, each term as it was before its step.

    ``order``: entries in the order of their steps, (entries,); ``users, items``: row and column of each entry,
    (entries,); ``targets``: ratings, (entries,); ``user_side, item_side``: factors with the bias last, (m, d + 1)
    and (n, d + 1); changed in place.
    """
    rank = user_side.shape[1] - 1
    total = 0.0
    for entry in order:
        u, v = user_side[users[entry]], item_side[items[entry]]
        error = targets[entry] - u[rank] - v[rank]
        squares = u[rank] * u[rank] + v[rank] * v[rank]
        for k in range(rank):
            error -= u[k] * v[k]
            squares += u[k] * u[k] + v[k] * v[k]
        total += error * error + ridge * squares
        for k in range(rank):
            old = u[k]
            u[k] += rate * (error * v[k] - ridge * old)
            v[k] += rate * (error * old - ridge * v[k])
        u[rank] += rate * (error - ridge * u[rank])
        v[rank] += rate * (error - ridge * v[rank])
    return total


@compiled
def fold_in_steps(
    indptr: Any,
    indices: Any,
    curvature: Any,
    target: Any,
    fixed: Any,
    gram: Any,
    ridge: Any,
    penalty: Any,
    epochs: int,
    rate: float,
    out: Any,
) -> None:
    """Gradient steps on every row of ``out``, one entry at a time, for the problem of `coded_als.baselines.cholesky`.

    The part that all entries share is spread evenly over them. A step of pass e is ``rate / e`` over an upper bound
    of the curvature of its term: any rate up to 1 is stable, and the noise of single entries dies out.

    ``curvature, target``: weight and weighted rating of each entry, (entries,); ``fixed``: factor of the other
    side, (others, d); ``gram``: G, (d, d); ``ridge``: ridge weight of each row, (m,); ``penalty``: diagonal that
    the ridge weight multiplies, (d,); ``out``: the factor, (m, d); changed in place.
    """
    rank = fixed.shape[1]
    largest = np.sqrt(dot(gram.ravel(), gram.ravel()))
    for row in range(out.shape[0]):
        begin, end = indptr[row], indptr[row + 1]
        x = out[row]
        bound = 0.0
        for j in range(begin, end):
            y = fixed[indices[j]]
            bound = max(bound, curvature[j] * dot(y, y))
        share = 1.0 / max(end - begin, 1)
        bound += share * (largest + ridge[row] * penalty.max())
        step = rate / bound if bound > 0 else 0.0
        for epoch in range(epochs):
            shrunk = step / (1 + epoch)
            for j in range(begin, end):
                y = fixed[indices[j]]
                error = target[j] - curvature[j] * dot(x, y)
                common = np.dot(gram, x)
                for k in range(rank):
                    x[k] += shrunk * (error * y[k] - share * (common[k] + ridge[row] * penalty[k] * x[k]))


@inlined
def _below(state: Any, bound: Any) -> Any:
    """A random whole number in [0, bound)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    word = state[0]
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return np.int64((word >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32))


@inlined
def _contains(indices: Any, begin: Any, end: Any, item: Any) -> Any:
    """Whether a sorted run holds ``item``."""
    while begin < end:
        middle = (begin + end) // 2
        if indices[middle] < item:
            begin = middle + 1
        elif indices[middle] > item:
            end = middle
        else:
            return True
    return False


@inlined
def _difference(u: Any, v: Any, w: Any) -> Any:
    """Score of v minus score of w for user u; the items' biases stand last."""
    rank = u.size
    total = v[rank] - w[rank]
    for k in range(rank):
        total += u[k] * (v[k] - w[k])
    return total


@inlined
def _adaptive_rate(squares: Any, row: Any, square: Any, rate: Any) -> Any:
    """Adagrad with one accumulator per row: the rate over the root of all mean squared gradients so far."""
    squares[row] += square
    return rate / np.sqrt(squares[row])


@inlined
def _rank_step(
    u: Any,
    v: Any,
    w: Any,
    push: Any,
    ridge: Any,
    rate: Any,
    squares: Any,
    user: Any,
    positive: Any,
    negative: Any,
    frozen: Any,
) -> None:
    """Descend along ``-push (score of v - score of w) + ridge / 2 (all squares)``."""
    user_squares, item_squares = squares
    rank = u.size
    on_u, on_v, on_w = 0.0, 0.0, 0.0
    for k in range(rank):
        g = push * (v[k] - w[k]) - ridge * u[k]
        h, f = push * u[k] - ridge * v[k], -push * u[k] - ridge * w[k]
        on_u += g * g
        on_v += h * h
        on_w += f * f
    of_u = _adaptive_rate(user_squares, user, on_u / rank, rate)
    if frozen:
        for k in range(rank):
            u[k] += of_u * (push * (v[k] - w[k]) - ridge * u[k])
        return
    of_v = _adaptive_rate(item_squares, positive, on_v / rank, rate)
    of_w = _adaptive_rate(item_squares, negative, on_w / rank, rate)
    for k in range(rank):
        old, g = u[k], push * (v[k] - w[k]) - ridge * u[k]
        v[k] += of_v * (push * old - ridge * v[k])
        w[k] += of_w * (-push * old - ridge * w[k])
        u[k] += of_u * g
    v[rank] += of_v * (push - ridge * v[rank])
    w[rank] += of_w * (-push - ridge * w[rank])


@compiled
def bpr_epoch(
    order: Any,
    users: Any,
    indptr: Any,
    indices: Any,
    user_side: Any,
    item_side: Any,
    squares: Any,
    rate: float,
    ridge: float,
    frozen: bool,
    state: Any,
) -> float:
    """One sampled negative per entry; returns the sum of ``-log sigmoid(difference)``, each before its step.

    ``order``: entries in the order of their steps, (entries,); ``users``: row of each entry, (entries,); ``state``:
    of the random numbers, (1,); changed in place.
    """
    count = item_side.shape[0]
    total = 0.0
    for entry in order:
        user, positive = users[entry], indices[entry]
        negative = _below(state, count)
        if _contains(indices, indptr[user], indptr[user + 1], negative):
            continue
        u, v, w = user_side[user], item_side[positive], item_side[negative]
        difference = _difference(u, v, w)
        push = 1.0 / (1.0 + np.exp(difference))
        total += np.log1p(np.exp(-abs(difference))) + max(-difference, 0.0)
        _rank_step(u, v, w, push, ridge, rate, squares, user, positive, negative, frozen)
    return total


@compiled
def warp_epoch(
    order: Any,
    users: Any,
    indptr: Any,
    indices: Any,
    user_side: Any,
    item_side: Any,
    squares: Any,
    rate: float,
    ridge: float,
    frozen: bool,
    state: Any,
    max_samples: int,
) -> float:
    """Sample negatives until one violates the margin; returns the sum of ``log(rank estimate) (1 - difference)``.

    ``order``: entries in the order of their steps, (entries,); ``users``: row of each entry, (entries,); ``state``:
    of the random numbers, (1,); changed in place.
    """
    count = item_side.shape[0]
    total = 0.0
    for entry in order:
        user, positive = users[entry], indices[entry]
        u, v = user_side[user], item_side[positive]
        for sample in range(1, max_samples + 1):
            negative = _below(state, count)
            if _contains(indices, indptr[user], indptr[user + 1], negative):
                continue
            w = item_side[negative]
            difference = _difference(u, v, w)
            if difference < 1:
                push = np.log(max(1.0, (count - 1) // sample))
                total += push * (1 - difference)
                _rank_step(u, v, w, push, ridge, rate, squares, user, positive, negative, frozen)
                break
    return total
