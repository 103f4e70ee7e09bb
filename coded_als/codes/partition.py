"""Cutting matrices into equal blocks and joining them again, and sparse ones into shards of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array


def block_size(length: int, parts: int) -> int:
    """Length of one of ``parts`` equal blocks, the last one padded with zeros.

    Parameters
    ----------
    length
        Rows or columns to cut.
    parts
        Number of blocks.
    """
    return -(-length // parts)


def cut(matrix: Array, row_parts: int, column_parts: int) -> Array:
    """Blocks of a matrix, (M, N) into (row_parts, column_parts, M / row_parts, N / column_parts).

    Parameters
    ----------
    matrix
        Padded with zeros where the parts do not divide it.
    row_parts, column_parts
        Block [i, j] is part i of the rows and part j of the columns.

    Returns
    -------
    A view, where nothing is padded and rows alone are cut.
    """
    rows, columns = block_size(matrix.shape[0], row_parts), block_size(matrix.shape[1], column_parts)
    padding = (rows * row_parts - matrix.shape[0], columns * column_parts - matrix.shape[1])
    if any(padding):
        matrix = np.pad(matrix, ((0, padding[0]), (0, padding[1])))
    return matrix.reshape(row_parts, rows, column_parts, columns).transpose(0, 2, 1, 3)


def row_blocks(matrix: Array, parts: int) -> Iterator[Array]:
    """Parts of the rows, (M / parts, N) each: views, but for those that are cut short and padded with zeros.

    Parameters
    ----------
    matrix
        (rows, columns).
    parts
        Number of blocks.
    """
    rows = block_size(matrix.shape[0], parts)
    for start in range(0, rows * parts, rows):
        block = matrix[start : start + rows]
        yield block if len(block) == rows else np.pad(block, ((0, rows - len(block)), (0, 0)))


def join(blocks: Array, shape: tuple[int, int]) -> Array:
    """Matrix of blocks (row_parts, column_parts, rows, columns) without its padding, of the given shape.

    Parameters
    ----------
    blocks
        (row_parts, column_parts, rows, columns).
    shape
        Rows and columns of the matrix.

    Returns
    -------
    The matrix, of ``shape``.
    """
    row_parts, column_parts, rows, columns = blocks.shape
    matrix = blocks.transpose(0, 2, 1, 3).reshape(row_parts * rows, column_parts * columns)
    return np.ascontiguousarray(matrix[: shape[0], : shape[1]])


def deal(lengths: NDArray[Any], shards: int) -> list[NDArray[np.int64]]:
    """Row numbers of each shard of a sparse matrix: equally many in each, and about equally many entries.

    The rows, longest first, are dealt like cards, forth and back.

    Parameters
    ----------
    lengths
        (rows,) entries of each row.
    shards
        How many.

    Returns
    -------
    One array for each shard, of one length; -1 in its last place where the rows do not go up.
    """
    height = block_size(len(lengths), shards)
    order = np.full(height * shards, -1, dtype=np.int64)
    order[: len(lengths)] = np.argsort(-lengths, kind="stable")
    table = order.reshape(height, shards)
    table[1::2] = table[1::2, ::-1].copy()
    return [np.ascontiguousarray(table[:, shard]) for shard in range(shards)]
