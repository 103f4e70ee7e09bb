"""The half-step of every ALS by warm-started conjugate gradients, for the problem of `coded_als.baselines.cholesky`."""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.baselines.compiled import compiled, dot, inlined

# Rows that go through conjugate gradients in lockstep, so that the product with G is a matrix product; measured.
# Blocks of other sizes round differently: callers that divide rows over threads cut them at multiples of it.
LOCKSTEP = 128


@compiled
def conjugate_gradient_rows(
    rows: Any,
    indptr: Any,
    indices: Any,
    curvature: Any,
    target: Any,
    fixed: Any,
    gram: Any,
    ridge: Any,
    penalty: Any,
    steps: int,
    least: float,
    out: Any,
    explained: Any,
) -> None:
    """Improve ``rows`` of ``out`` by ``steps`` of conjugate gradients from where they are; G is any symmetric matrix.

    A squared residual of at most ``least``, which is the smallest normal number of the arithmetic, counts as none.

    ``rows``: which rows to improve, (k,); ``curvature, target``: weight a and weighted rating of each entry,
    (entries,); ``fixed``: Y, the factor of the other side, (others, d); ``gram``: G, (d, d); ``ridge``: ridge
    weight of each row, (m,); ``penalty``: diagonal that the ridge weight multiplies, (d,); ``out``: the factor to
    improve, (m, d); ``explained``: the part of the objective that each row explains, (m,); overwritten.
    """
    rank = fixed.shape[1]
    direction = np.empty((LOCKSTEP, rank), fixed.dtype)
    image = np.empty((LOCKSTEP, rank), fixed.dtype)
    residual = np.empty((LOCKSTEP, rank), fixed.dtype)
    square = np.empty(LOCKSTEP, np.float64)
    for first in range(0, rows.size, LOCKSTEP):
        block = rows[first : first + LOCKSTEP]
        for s in range(block.size):
            direction[s] = out[block[s]]
        for step in range(-1, steps):
            np.dot(direction[: block.size], gram, image[: block.size])
            for s in range(block.size):
                row = block[s]
                begin, end = indptr[row], indptr[row + 1]
                p, q, r = direction[s], image[s], residual[s]
                # q becomes minus the image of p; before the first step the right-hand side comes on top
                for k in range(rank):
                    q[k] = -q[k] - ridge[row] * penalty[k] * p[k]
                if step < 0:
                    explained[row] = dot(p, q)
                    explained[row] += _add_products(indices, curvature, target, 1, begin, end, fixed, p, q)
                    square[s] = dot(q, q)
                    for k in range(rank):
                        r[k] = q[k]
                        p[k] = q[k]
                    continue
                last = step == steps - 1
                if last:
                    # nothing follows, so the residual is not needed: only the form at p is, half the work
                    bend = _form(indices, curvature, begin, end, fixed, p) - dot(p, q)
                else:
                    _add_products(indices, curvature, target, 0, begin, end, fixed, p, q)
                    bend = np.float64(-dot(p, q))
                # a row that is solved, or bent by rounding alone, stays as it is
                if bend <= least or square[s] <= least:
                    continue
                length = fixed.dtype.type(square[s] / bend)
                explained[row] += square[s] * square[s] / bend
                if last:
                    for k in range(rank):
                        out[row, k] += length * p[k]
                    continue
                for k in range(rank):
                    out[row, k] += length * p[k]
                    r[k] += length * q[k]
                following = np.float64(dot(r, r))
                ratio = fixed.dtype.type(following / square[s])
                for k in range(rank):
                    p[k] = r[k] + ratio * p[k]
                square[s] = following


@inlined
def _add_products(
    indices: Any, curvature: Any, target: Any, shift: Any, begin: Any, end: Any, fixed: Any, p: Any, q: Any
) -> Any:
    """Add ``sum (shift b_j - a_j y_j . p) y_j`` to q and return ``sum (2 shift b_j - a_j y_j . p) y_j . p``.

    Six rows at a time (measured against one, four and eight): p and q are then read once for six.
    """
    rank = p.size
    value = 0.0
    for start in range(begin, end - 5, 6):
        y0 = fixed[indices[start + 0]]
        y1 = fixed[indices[start + 1]]
        y2 = fixed[indices[start + 2]]
        y3 = fixed[indices[start + 3]]
        y4 = fixed[indices[start + 4]]
        y5 = fixed[indices[start + 5]]
        c0, c1, c2, c3, c4, c5 = y0[0] * p[0], y1[0] * p[0], y2[0] * p[0], y3[0] * p[0], y4[0] * p[0], y5[0] * p[0]
        for k in range(1, rank):
            c0 += y0[k] * p[k]
            c1 += y1[k] * p[k]
            c2 += y2[k] * p[k]
            c3 += y3[k] * p[k]
            c4 += y4[k] * p[k]
            c5 += y5[k] * p[k]
        b0 = shift * target[start + 0]
        w0 = b0 - curvature[start + 0] * c0
        value += (w0 + b0) * c0
        b1 = shift * target[start + 1]
        w1 = b1 - curvature[start + 1] * c1
        value += (w1 + b1) * c1
        b2 = shift * target[start + 2]
        w2 = b2 - curvature[start + 2] * c2
        value += (w2 + b2) * c2
        b3 = shift * target[start + 3]
        w3 = b3 - curvature[start + 3] * c3
        value += (w3 + b3) * c3
        b4 = shift * target[start + 4]
        w4 = b4 - curvature[start + 4] * c4
        value += (w4 + b4) * c4
        b5 = shift * target[start + 5]
        w5 = b5 - curvature[start + 5] * c5
        value += (w5 + b5) * c5
        for k in range(rank):
            q[k] += w0 * y0[k] + w1 * y1[k] + w2 * y2[k] + w3 * y3[k] + w4 * y4[k] + w5 * y5[k]
    for j in range(end - (end - begin) % 6, end):
        y0 = fixed[indices[j]]
        c0 = dot(y0, p)
        w0 = shift * target[j] - curvature[j] * c0
        value += (w0 + shift * target[j]) * c0
        for k in range(rank):
            q[k] += w0 * y0[k]
    return value


@inlined
def _form(indices: Any, curvature: Any, begin: Any, end: Any, fixed: Any, p: Any) -> Any:
    """Return ``sum a_j (y_j . p)^2``, four rows at a time."""
    rank = p.size
    value = 0.0
    for start in range(begin, end - 3, 4):
        y0 = fixed[indices[start + 0]]
        y1 = fixed[indices[start + 1]]
        y2 = fixed[indices[start + 2]]
        y3 = fixed[indices[start + 3]]
        c0, c1, c2, c3 = y0[0] * p[0], y1[0] * p[0], y2[0] * p[0], y3[0] * p[0]
        for k in range(1, rank):
            c0 += y0[k] * p[k]
            c1 += y1[k] * p[k]
            c2 += y2[k] * p[k]
            c3 += y3[k] * p[k]
        value += curvature[start + 0] * c0 * c0 + curvature[start + 1] * c1 * c1
        value += curvature[start + 2] * c2 * c2 + curvature[start + 3] * c3 * c3
    for j in range(end - (end - begin) % 4, end):
        c0 = dot(fixed[indices[j]], p)
        value += curvature[j] * c0 * c0
    return value
