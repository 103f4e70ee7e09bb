"""Streaming encoding against combinations of padded blocks, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.codes import product as encoding
from coded_als.codes.product import row_blocks
from tests.strategies import seeds


def padded_blocks(matrix, row_parts, column_parts):
    """All blocks, row part first, from a padded copy."""
    height, width = -(-matrix.shape[0] // row_parts), -(-matrix.shape[1] // column_parts)
    padded = np.zeros((height * row_parts, width * column_parts))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return [
        padded[i * height : (i + 1) * height, j * width : (j + 1) * width]
        for i in range(row_parts)
        for j in range(column_parts)
    ]


@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 12)),
    parts=st.tuples(st.integers(1, 13), st.integers(1, 5)),
    planes=st.integers(1, 2),
    small=st.booleans(),
    turned=st.booleans(),
    seed=seeds,
)
@settings(max_examples=150)
def test_shares_are_combinations_of_padded_blocks(shape, parts, planes, small, turned, seed):
    """For parts that do not divide, more parts than rows, one worker at a time or all, and matrices in any layout."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal(shape[::-1]).T if turned else rng.standard_normal(shape)
    generator = rng.standard_normal((5, planes, parts[0] * parts[1]))
    blocks = padded_blocks(matrix, *parts)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(encoding, "STREAM_BYTES", 1)
            patch.setattr(encoding, "STREAM_PART", 0.0)
            patch.setattr(encoding, "PANEL_ENTRIES", 1)
        before = matrix.copy()
        shares = list(encoding.encoded(generator, matrix, *parts))
    assert len(shares) == 5
    np.testing.assert_array_equal(matrix, before)
    for share, coefficients in zip(shares, generator, strict=True):
        expected = [sum(c * block for c, block in zip(row, blocks, strict=True)) for row in coefficients]
        np.testing.assert_allclose(share, expected, atol=1e-12)


@given(rows=st.integers(1, 30), parts=st.integers(1, 13))
def test_parts_of_the_rows_are_views_where_they_are_whole(rows, parts):
    matrix = np.arange(2.0 * rows).reshape(rows, 2)
    blocks = list(row_blocks(matrix, parts))
    np.testing.assert_array_equal(blocks, padded_blocks(matrix, parts, 1))
    height = -(-rows // parts)
    assert all(np.shares_memory(block, matrix) for block in blocks[: rows // height])
