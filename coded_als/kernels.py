"""What a worker may be asked to compute: pure functions of real arrays.

A kernel is a generator: it yields between panels of some ten milliseconds, so that whoever drives it
can look at an inbox and drop the rest, and it returns the tuple of result arrays. Shares are stacks of
planes (`coded_als.cluster`): ``(1, rows, columns)`` at a real point, ``(2, rows, columns)`` with the real
and the imaginary part at a point of the unit circle.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Result = tuple[Array, ...]
Kernel = Callable[..., Generator[None, None, Result]]

# Multiplications in one panel: about 10 ms on one core at 10 to 20 GFLOP/s.
PANEL_OPERATIONS = 1.0e8


def product(left: Array, right: Array) -> Generator[None, None, Result]:
    """``left @ right`` of two shares: ``(s, a, b)`` and ``(s, b, c)`` or a real ``(1, b, c)`` give ``(s, a, c)``."""
    return ((yield from _panels(left, right, transpose=False)),)


def transposed_product(left: Array, right: Array) -> Generator[None, None, Result]:
    """``left^T right`` (transpose, not conjugate) of two shares: `product` for a ``left`` that is held transposed."""
    return ((yield from _panels(left, right, transpose=True)),)


def inner_product(left: Array, right: Array | None = None) -> Generator[None, None, Result]:
    """Real inner product over rows and planes: ``(s, a, b)`` and ``(s, a, c)`` give ``(1, b, c)``.

    Without ``right`` it is the Gram matrix of ``left``, a symmetric rank-k update.

    On the circle this is the real part of ``left^H right``, which is all that the decoding of
    ``B^T C`` needs: half the multiplications of the complex product, and a threshold of h.
    """
    yield
    return ((_flat(left).T @ _flat(left if right is None else right))[np.newaxis],)


def product_and_gram(stored: Array, right: Array, left: Array | None = None) -> Generator[None, None, Result]:
    """Round (a) of the paper: ``stored @ right`` and the inner product of ``left`` and ``right``.

    At real points ``left`` is a share of its own. On the circle it is left out: the share conjugate to
    ``right`` serves (the identity of f_L and f_R), and the product is a symmetric rank-k update.
    """
    result = yield from _panels(stored, right, transpose=False)
    (gram,) = yield from inner_product(right) if left is None else inner_product(left, right)
    return result, gram


def scaled(share: Array, matrix: Array) -> Generator[None, None, Result]:
    """``share @ matrix`` with one real matrix for all planes: ``(s, a, b)`` and ``(b, c)`` give ``(s, a, c)``."""
    yield
    planes, rows, columns = share.shape
    return ((share.reshape(planes * rows, columns) @ matrix).reshape(planes, rows, matrix.shape[1]),)


def solve_rows(
    indptr: Array, indices: Array, curvature: Array, target: Array, ridge: Array, fixed: Array, gram: Array
) -> Generator[None, None, Result]:
    """The exact half-step of sparse ALS for some rows: ``(G + sum a_j y_j y_j^T + ridge I) x = sum b_j y_j`` for each.

    Parameters
    ----------
    indptr, indices
        (rows + 1,) and (entries,) of a csr matrix, whole numbers in float64 as everything on the seam.
    curvature, target
        (entries,) a and b.
    ridge
        (rows,), greater than 0.
    fixed, gram
        (n, d) the other factor y, and (d, d) the form G that all rows share.
    """
    ends, columns, rank = indptr.astype(np.int64), indices.astype(np.int64), fixed.shape[1]
    solution = np.empty((ridge.size, rank))
    spent = PANEL_OPERATIONS
    for row in range(ridge.size):
        if spent >= PANEL_OPERATIONS:
            spent = 0.0
            yield
        part = slice(ends[row], ends[row + 1])
        chosen = fixed[columns[part]]
        normal = gram + (chosen.T * curvature[part]) @ chosen
        normal[np.diag_indices(rank)] += ridge[row]
        solution[row] = np.linalg.solve(normal, chosen.T @ target[part])
        # a small solve costs far more than its multiplications: some 10 microseconds of calls
        spent += len(chosen) * rank**2 + rank**3 / 3 + 1e5
    return (solution,)


KERNELS: dict[str, Kernel] = {
    kernel.__name__: kernel
    for kernel in (product, transposed_product, inner_product, product_and_gram, scaled, solve_rows)
}


def run_to_end(steps: Generator[None, None, Result]) -> Result:
    """Drive a kernel without looking up between its panels."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result


def _flat(share: Array) -> Array:
    """Planes and rows in one axis."""
    return share.reshape(-1, share.shape[-1])


def _panels(left: Array, right: Array, *, transpose: bool) -> Generator[None, None, Array]:
    """One, two or four real products, in panels of rows of the result."""
    if transpose:
        left = left.transpose(0, 2, 1)
    planes, rows, contraction = left.shape
    columns = right.shape[2]
    result = np.empty((planes, rows, columns))
    step = max(1, int(PANEL_OPERATIONS / (planes * len(right) * contraction * columns)))
    for start in range(0, rows, step):
        yield
        panel = slice(start, start + step)
        if len(right) == 1:
            for plane in range(planes):
                np.matmul(left[plane, panel], right[0], out=result[plane, panel])
        else:
            _complex_product(left[:, panel], right, result[:, panel])
    return result


def _complex_product(left: Array, right: Array, out: Array) -> None:
    """Complex product of planes by four real ones."""
    np.matmul(left[0], right[0], out=out[0])
    out[0] -= left[1] @ right[1]
    np.matmul(left[0], right[1], out=out[1])
    out[1] += left[1] @ right[0]
