"""The half-step of every ALS, compiled: many small regularised least-squares problems that share one matrix.

Row u of the unknown factor, with the other factor Y (n, d) fixed, minimises

    sum_{i in row u} ( a_ui (x . y_i)^2 - 2 b_ui (x . y_i) ) + x^T G x + ridge_u sum_k penalty_k x_k^2

so it solves  (G + sum a_ui y_i y_i^T + ridge_u diag(penalty)) x = sum b_ui y_i.  Explicit ratings have a = 1,
b = rating, G = 0; implicit ones a = confidence - 1, b = confidence, G = Y^T Y (Hu, Koren, Volinsky 2008), or
a = b = 1, G = alpha0 Y^T Y (Rendle et al. 2022).

Both solvers also report ``2 b . x - x . A x`` of every row, which is minus the minimised form at the new x, so that
the objective comes for free.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.baselines.compiled import call_fortran, compiled, inlined

# Rows of Y that are gathered before one symmetric rank-k update; 256 rows of rank 256 fit a second-level cache.
_PANEL = 256
# Rows that go through conjugate gradients in lockstep, so that the product with G is a matrix product; measured.
_LOCKSTEP = 128
# Fortran's upper triangle, measured: OpenBLAS factorises it 2.5 times as fast as the lower one at rank 256.
_UPPER = ord("U")


@compiled
def cholesky_rows(
    rows: Any,
    indptr: Any,
    indices: Any,
    curvature: Any,
    target: Any,
    fixed: Any,
    diagonal: Any,
    ridge: Any,
    penalty: Any,
    routines: Any,
    out: Any,
    explained: Any,
) -> None:
    """Solve ``rows`` exactly, with G diagonal; a row whose matrix is not numerically positive definite stays as it is.

    With k ratings in a row and Z = sqrt(a) Y D^-1/2, D the diagonal part, a row is solved either from the (d, d)
    matrix D + Z^T Z or, where k < d, from the (k, k) matrix I + Z Z^T: k^2 d instead of k d^2 multiplications.
    """
    rank = fixed.shape[1]
    panel = np.empty((max(_PANEL, rank), rank), fixed.dtype)
    matrix = np.empty((rank, rank), fixed.dtype)
    right, solution, scale = np.empty(rank, fixed.dtype), np.empty(rank, fixed.dtype), np.empty(rank, fixed.dtype)
    for row in rows:
        begin, end = indptr[row], indptr[row + 1]
        if begin == end:
            out[row] = 0
            explained[row] = 0
            continue
        for k in range(rank):
            scale[k] = diagonal[k] + ridge[row] * penalty[k]
        if end - begin < rank:
            solved = _solve_dual(begin, end, indices, curvature, target, fixed, scale, routines, panel, right, solution)
        else:
            solved = _solve_primal(
                begin, end, indices, curvature, target, fixed, scale, routines, panel, matrix, right, solution
            )
        if solved:
            explained[row] = _dot(solution, right)
            out[row] = solution


@inlined
def _solve_primal(
    begin: Any,
    end: Any,
    indices: Any,
    curvature: Any,
    target: Any,
    fixed: Any,
    scale: Any,
    routines: Any,
    panel: Any,
    matrix: Any,
    right: Any,
    solution: Any,
) -> Any:
    """Solve the (d, d) normal equations."""
    rank = fixed.shape[1]
    matrix[:] = 0
    right[:] = 0
    for k in range(rank):
        matrix[k, k] = scale[k]
    for start in range(begin, end, _PANEL):
        stop = min(start + _PANEL, end)
        for j in range(start, stop):
            source, into = fixed[indices[j]], panel[j - start]
            root, weight = np.sqrt(curvature[j]), target[j]
            for k in range(rank):
                into[k] = root * source[k]
                right[k] += weight * source[k]
        _add_gram(routines, ord("N"), rank, stop - start, rank, panel, matrix)
    solution[:] = right
    return _solve_positive(routines, rank, matrix, solution)


@inlined
def _solve_dual(
    begin: Any,
    end: Any,
    indices: Any,
    curvature: Any,
    target: Any,
    fixed: Any,
    scale: Any,
    routines: Any,
    panel: Any,
    right: Any,
    solution: Any,
) -> Any:
    """Solve ``(I + Z Z^T) s = b / sqrt(a)``; the row is then ``D^-1/2 Z^T s`` (the push-through identity)."""
    rank, count = fixed.shape[1], end - begin
    matrix = np.zeros((count, count), fixed.dtype)
    weights = np.empty(count, fixed.dtype)
    right[:] = 0
    for k in range(rank):
        scale[k] = 1 / np.sqrt(scale[k])
    for j in range(begin, end):
        source, into = fixed[indices[j]], panel[j - begin]
        root, weight = np.sqrt(curvature[j]), target[j]
        for k in range(rank):
            into[k] = root * scale[k] * source[k]
            right[k] += weight * source[k]
        weights[j - begin] = weight / root
        matrix[j - begin, j - begin] = 1
    _add_gram(routines, ord("T"), count, rank, rank, panel, matrix)
    solved = _solve_positive(routines, count, matrix, weights)
    solution[:] = 0
    for j in range(count):
        weight, from_row = weights[j], panel[j]
        for k in range(rank):
            solution[k] += weight * from_row[k]
    for k in range(rank):
        solution[k] *= scale[k]
    return solved


@inlined
def _add_gram(routines: Any, transpose: Any, order: Any, inner: Any, width: Any, panel: Any, matrix: Any) -> None:
    """Add the Gram matrix of the panel's columns ("N" in Fortran's order of axes) or rows ("T") to ``matrix``."""
    upper, which = np.full(1, _UPPER, np.uint8), np.full(1, transpose, np.uint8)
    sizes = np.array([order, inner, width], np.int32)
    one = np.ones(1, panel.dtype)
    sizes_at = sizes.ctypes.data
    call_fortran(
        routines[0],
        (
            upper.ctypes.data,
            which.ctypes.data,
            sizes_at,
            sizes_at + 4,
            one.ctypes.data,
            panel.ctypes.data,
            sizes_at + 8,
            one.ctypes.data,
            matrix.ctypes.data,
            sizes_at,
        ),
        (upper, which, sizes, one),
    )


@inlined
def _solve_positive(routines: Any, order: Any, matrix: Any, solution: Any) -> Any:
    """Solve with a symmetric positive definite matrix in place; False where it is not."""
    upper = np.full(1, _UPPER, np.uint8)
    sizes = np.array([order, 1, 0], np.int32)
    sizes_at = sizes.ctypes.data
    call_fortran(
        routines[1],
        (
            upper.ctypes.data,
            sizes_at,
            sizes_at + 4,
            matrix.ctypes.data,
            sizes_at,
            solution.ctypes.data,
            sizes_at,
            sizes_at + 8,
        ),
        (upper, sizes),
    )
    return sizes[2] == 0


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
    out: Any,
    explained: Any,
) -> None:
    """Improve ``rows`` of ``out`` by ``steps`` of conjugate gradients from where they are; G is any symmetric matrix."""
    rank = fixed.shape[1]
    direction = np.empty((_LOCKSTEP, rank), fixed.dtype)
    image = np.empty((_LOCKSTEP, rank), fixed.dtype)
    residual = np.empty((_LOCKSTEP, rank), fixed.dtype)
    square = np.empty(_LOCKSTEP, np.float64)
    for first in range(0, rows.size, _LOCKSTEP):
        block = rows[first : first + _LOCKSTEP]
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
                    explained[row] = _dot(p, q)
                    explained[row] += _add_products(indices, curvature, target, 1, begin, end, fixed, p, q)
                    square[s] = _dot(q, q)
                    for k in range(rank):
                        r[k] = q[k]
                        p[k] = q[k]
                    continue
                last = step == steps - 1
                if last:
                    # nothing follows, so the residual is not needed: only the form at p is, half the work
                    bend = _form(indices, curvature, begin, end, fixed, p) - _dot(p, q)
                else:
                    _add_products(indices, curvature, target, 0, begin, end, fixed, p, q)
                    bend = np.float64(-_dot(p, q))
                if bend <= 0:
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
                following = np.float64(_dot(r, r))
                ratio = fixed.dtype.type(following / square[s])
                for k in range(rank):
                    p[k] = r[k] + ratio * p[k]
                square[s] = following


@inlined
def _dot(left: Any, right: Any) -> Any:
    total = left[0] * right[0]
    for k in range(1, left.size):
        total += left[k] * right[k]
    return total


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
        c0 = _dot(y0, p)
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
        c0 = _dot(fixed[indices[j]], p)
        value += curvature[j] * c0 * c0
    return value
