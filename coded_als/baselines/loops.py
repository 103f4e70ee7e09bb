"""The compiled loops of squared losses: one pass over observed entries in a given order.

A run that diverges ends in numbers that are not finite, or in a loss that is; it raises nothing here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.baselines.compiled import compiled, dot


@compiled
def squared_loss_epoch(
    order: Any, users: Any, items: Any, targets: Any, user_side: Any, item_side: Any, rate: float, ridge: float
) -> float:
    """Stochastic gradient steps on ``(r - u.v - b_u - b_i)^2 + ridge (|u|^2 + |v|^2 + b_u^2 + b_i^2)``.

    Rows hold the factors and, last, the bias. Returns the sum of that expression, each term as it was before its step.

    Parameters
    ----------
    order
        Entries in the order of their steps, (entries,).
    users, items
        Row and column of each entry, (entries,).
    targets
        Ratings, (entries,).
    user_side, item_side
        Factors with the bias last, (m, d + 1) and (n, d + 1); changed in place.
    rate
        Learning rate.
    ridge
        Ridge weight.
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

    Parameters
    ----------
    indptr, indices
        Pattern of the ratings by rows, as in csr.
    curvature, target
        Weight and weighted rating of each entry, (entries,).
    fixed
        Factor of the other side, (others, d).
    gram
        G, (d, d).
    ridge
        Ridge weight of each row, (m,).
    penalty
        Diagonal that the ridge weight multiplies, (d,).
    epochs
        Passes over the entries of a row.
    rate
        Step, relative to the largest stable one.
    out
        The factor, (m, d); changed in place.
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
