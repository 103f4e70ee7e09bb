"""Cutting matrices into equal blocks and joining them again."""

from __future__ import annotations

import numpy as np

from coded_als.kernels import Array


def block_size(length: int, parts: int) -> int:
    """Length of one of ``parts`` equal blocks, the last one padded with zeros."""
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


def join(blocks: Array, shape: tuple[int, int]) -> Array:
    """Matrix of blocks (row_parts, column_parts, rows, columns) without its padding, of the given shape."""
    row_parts, column_parts, rows, columns = blocks.shape
    matrix = blocks.transpose(0, 2, 1, 3).reshape(row_parts * rows, column_parts * columns)
    return np.ascontiguousarray(matrix[: shape[0], : shape[1]])
