"""Streaming encoding: each worker's linear combinations of the blocks of a matrix, a batch of workers at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.linalg.blas import daxpy

from coded_als.arrays import Array
from coded_als.codes.partition import block_size, cut

# Shares encoded at once: they bound what the master holds beside the matrix, ...
STREAM_BYTES = 64 * 2**20
# ... and may be this part of it, as the whole matrix is read once for each batch.
STREAM_PART = 0.5
# Entries of all blocks brought together at a time: what a core's cache holds, so that the blocks are read but once.
PANEL_ENTRIES = 2**17


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
    planes = generator.shape[1]
    shape = block_size(matrix.shape[0], row_parts), block_size(matrix.shape[1], column_parts)
    bytes_at_once = max(STREAM_BYTES, STREAM_PART * matrix.nbytes)
    batch = max(1, int(bytes_at_once / max(1, planes * math.prod(shape) * matrix.itemsize)))
    combine = _by_rows(matrix, row_parts) if column_parts == 1 else _by_blocks(cut(matrix, row_parts, column_parts))
    for start in range(0, len(generator), batch):
        shares = combine(generator[start : start + batch].reshape(-1, row_parts * column_parts))
        yield from shares.reshape(-1, planes, *shape)


def _by_rows(matrix: Array, parts: int) -> Callable[[Array], Array]:
    """Combinations of parts of the rows, which are taken where they lie; the last may be cut short."""
    height = block_size(matrix.shape[0], parts)
    last = matrix.shape[0] // height * height
    whole, rest = matrix[:last].reshape(last // height, -1), matrix[last:].reshape(-1)

    def combine(coefficients: Array) -> Array:
        shares: Array = coefficients[:, : len(whole)] @ whole
        if rest.size:
            for share, coefficient in zip(shares, coefficients[:, len(whole)], strict=True):
                daxpy(rest, share, a=coefficient)  # in place, without a product of the size of the shares
        return shares

    return combine


def _by_blocks(blocks: Array) -> Callable[[Array], Array]:
    """Combinations of blocks (row_parts, column_parts, rows, columns), brought together a few rows of each at a time."""
    rows, columns = blocks.shape[2:]
    count = blocks.shape[0] * blocks.shape[1]
    step = max(1, PANEL_ENTRIES // (count * columns))

    def combine(coefficients: Array) -> Array:
        shares = np.empty((len(coefficients), rows * columns))
        for start in range(0, rows, step):
            panel = blocks[:, :, start : start + step].reshape(count, -1)
            np.matmul(coefficients, panel, out=shares[:, start * columns : start * columns + panel.shape[1]])
        return shares

    return combine
