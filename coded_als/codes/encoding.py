"""Streaming encoding: each worker's linear combinations of the blocks of a matrix, a batch of workers at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg.blas import daxpy

from coded_als.codes.partition import block_size, cut
from coded_als.kernels import Array

# Shares encoded at once: they bound what the master holds beside the matrix, ...
STREAM_BYTES = 64 * 2**20
# ... and may be this part of it, as the whole matrix is read once for each batch.
STREAM_PART = 0.5


def encoded(generator: Array, matrix: Array, row_parts: int, column_parts: int) -> Iterator[Array]:
    """Linear combinations of the blocks of a matrix, one worker's planes after the other.

    Parameters
    ----------
    generator
        (W, planes, row_parts * column_parts), blocks in the order of `coded_als.codes.partition.cut`.
    matrix
        (M, N), as if padded with zeros where the parts do not divide it.
    row_parts, column_parts
        How it is cut.

    Returns
    -------
    W arrays (planes, M / row_parts, N / column_parts), encoded some 64 MB, or half the size of the matrix, at a time.
    """
    count, planes = row_parts * column_parts, generator.shape[1]
    shape = block_size(matrix.shape[0], row_parts), block_size(matrix.shape[1], column_parts)
    whole, rest = _blocks(matrix, row_parts, column_parts)
    bytes_at_once = max(STREAM_BYTES, STREAM_PART * matrix.nbytes)
    batch = max(1, int(bytes_at_once / max(1, planes * whole[0].nbytes)))
    for start in range(0, len(generator), batch):
        rows = generator[start : start + batch].reshape(-1, count)
        shares = rows[:, : len(whole)] @ whole
        if rest.size:
            for share, coefficient in zip(shares, rows[:, len(whole)], strict=True):
                daxpy(rest, share, a=coefficient)  # in place, without a product of the size of the shares
        yield from shares.reshape(-1, planes, *shape)


def _blocks(matrix: Array, row_parts: int, column_parts: int) -> tuple[Array, Array]:
    """The whole blocks (count, entries), and the entries of the one that is cut short; views where rows alone are cut."""
    if column_parts > 1:
        blocks = cut(matrix, row_parts, column_parts)
        return np.ascontiguousarray(blocks).reshape(row_parts * column_parts, -1), np.empty(0)
    height = block_size(matrix.shape[0], row_parts)
    last = matrix.shape[0] // height * height
    return matrix[:last].reshape(last // height, -1), matrix[last:].reshape(-1)
