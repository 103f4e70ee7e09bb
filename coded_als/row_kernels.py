"""Kernels of sparse rows that a fit asks for a few times: the products and errors that judge its result."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from coded_als.arrays import Array, Places
from coded_als.kernels import Result, require_rows, row_panels
from coded_als.sparse_loops import add_transposed_product

# Entries of a block of rows that are written out at once.
WRITTEN_OUT = 2**21


def row_transposed_product(
    data: Array, indices: Places, indptr: Places, left: Array, extent: Array
) -> Generator[None, None, Result]:
    """``A_k^T left`` of a block A_k of sparse rows: csr (rows, l) and (rows, b) give (l, b).

    Parameters
    ----------
    data, indices, indptr
        The block.
    left
        (rows, b).
    extent
        (l, 0), which says how many columns there are.
    """
    require_rows(data, indices, indptr, len(extent))
    left = np.ascontiguousarray(left)
    product = np.zeros((len(extent), left.shape[1]))
    for rows, ends in row_panels(indptr, left.shape[1]):
        yield
        add_transposed_product(data, indices, ends, left[rows], product)
    return (product,)


def row_squared_error(
    data: Array, indices: Places, indptr: Places, left: Array, right: Array
) -> Generator[None, None, Result]:
    """``||A_k - left right^T||^2`` of a block A_k of sparse rows, (1, 1): entry by entry, so that nothing cancels.

    Parameters
    ----------
    data, indices, indptr
        The block, csr (rows, l).
    left, right
        (rows, b) and (l, b).
    """
    require_rows(data, indices, indptr, len(right))
    total = 0.0
    step = max(1, WRITTEN_OUT // len(right))
    for start in range(0, indptr.size - 1, step):
        yield
        ends = indptr[start : start + step + 1]
        residual = left[start : start + step] @ right.T
        part = slice(int(ends[0]), int(ends[-1]))
        rows = np.repeat(np.arange(len(residual)), np.diff(ends))
        residual[rows, indices[part]] -= data[part]
        total += float(np.vdot(residual, residual))
    return (np.array([[total]]),)
