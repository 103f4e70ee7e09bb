"""The half-step of every ALS, compiled: many small regularised least-squares problems that share one matrix.

Row u of the unknown factor, with the other factor Y (n, d) fixed, minimises

    sum_{i in row u} ( a_ui (x . y_i)^2 - 2 b_ui (x . y_i) ) + x^T G x + ridge_u sum_k penalty_k x_k^2

so it solves  (G + sum a_ui y_i y_i^T + ridge_u diag(penalty)) x = sum b_ui y_i.  Explicit ratings have a = 1,
b = rating, G = 0; implicit ones a = confidence - 1, b = confidence, G = Y^T Y (Hu, Koren, Volinsky 2008), or
a = b = 1, G = alpha0 Y^T Y (Rendle et al. 2022).

Solved here by Cholesky factors, and in `coded_als.baselines.conjugate_gradients` by conjugate gradients. Both report ``2 b . x - x . A x`` of every row, which is minus the minimised form at the new x, so that
the objective comes for free.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.baselines.compiled import call_fortran, compiled, dot, inlined

# Rows of Y that are gathered before one symmetric rank-k update; 256 rows of rank 256 fit a second-level cache.
_PANEL = 256
# Fortran's lower triangle, measured: with OpenBLAS a half-step is a tenth quicker than with the upper one.
_TRIANGLE = ord("L")
_LEAST_DUAL_PENALTY = 1e-3


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
    failed: Any,
) -> None:
    """Solve ``rows`` exactly, with G diagonal.

    If the matrix of a row is not numerically positive definite, the row stays as it is and is marked in ``failed``.

    With k ratings in a row and Z = sqrt(a) Y D^-1/2, D the diagonal part, a row is solved either from the (d, d)
    matrix D + Z^T Z or, where k < d, from the (k, k) matrix I + Z Z^T: k^2 d instead of k d^2 multiplications.
    The small form loses as many digits as Z Z^T has, so it is not for a bias that is hardly regularised.

    ``rows``: which rows to solve, (k,); ``curvature, target``: weight a and weighted rating of each entry,
    (entries,); ``fixed``: Y, the factor of the other side, (others, d); ``diagonal``: diagonal of G, (d,);
    ``ridge``: ridge weight of each row, (m,); ``penalty``: diagonal that the ridge weight multiplies, (d,);
    ``out``: the factor to solve for, (m, d); rows are overwritten; ``explained``: the part of the objective that
    each row explains, (m,); overwritten; ``failed``: marks of rows that could not be solved, (m,).
    """
    work = workspace(fixed, penalty)
    right, solution = work[3], work[4]
    for row in rows:
        begin, end = indptr[row], indptr[row + 1]
        if begin == end:
            out[row] = 0
            explained[row] = 0
            continue
        if solve_row(begin, end, indices, curvature, target, fixed, diagonal, ridge[row], penalty, routines, work):
            explained[row] = dot(solution, right)
            out[row] = solution
        else:
            failed[row] = True


@inlined
def workspace(fixed: Any, penalty: Any) -> Any:
    """Panel, matrix, scale, right-hand side, solution, and the longest row that takes the small form."""
    rank = fixed.shape[1]
    return (
        np.empty((max(_PANEL, rank), rank), fixed.dtype),
        np.empty((rank, rank), fixed.dtype),
        np.empty(rank, fixed.dtype),
        np.empty(rank, fixed.dtype),
        np.empty(rank, fixed.dtype),
        rank - 1 if penalty.min() >= _LEAST_DUAL_PENALTY else 0,
    )


@inlined
def solve_row(
    begin: Any,
    end: Any,
    indices: Any,
    curvature: Any,
    target: Any,
    fixed: Any,
    diagonal: Any,
    ridge: Any,
    penalty: Any,
    routines: Any,
    work: Any,
) -> Any:
    """Solve one row into the workspace, in the smaller of the two forms; False where Cholesky cannot."""
    panel, matrix, scale, right, solution, longest_dual = work
    for k in range(scale.size):
        scale[k] = diagonal[k] + ridge * penalty[k]
    if end - begin <= longest_dual:
        return _solve_dual(begin, end, indices, curvature, target, fixed, scale, routines, panel, right, solution)
    return _solve_primal(begin, end, indices, curvature, target, fixed, scale, routines, panel, matrix, right, solution)


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
    triangle, which = np.full(1, _TRIANGLE, np.uint8), np.full(1, transpose, np.uint8)
    sizes = np.array([order, inner, width], np.int32)
    one = np.ones(1, panel.dtype)
    sizes_at = sizes.ctypes.data
    call_fortran(
        routines[0],
        (
            triangle.ctypes.data,
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
        (triangle, which, sizes, one),
    )


@inlined
def _solve_positive(routines: Any, order: Any, matrix: Any, solution: Any) -> Any:
    """Solve with a symmetric positive definite matrix in place; False where it is not."""
    triangle = np.full(1, _TRIANGLE, np.uint8)
    sizes = np.array([order, 1, 0], np.int32)
    sizes_at = sizes.ctypes.data
    call_fortran(
        routines[1],
        (
            triangle.ctypes.data,
            sizes_at,
            sizes_at + 4,
            matrix.ctypes.data,
            sizes_at,
            solution.ctypes.data,
            sizes_at,
            sizes_at + 8,
        ),
        (triangle, sizes),
    )
    return sizes[2] == 0
