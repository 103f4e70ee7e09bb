"""The kernels of sparse rows: SciPy's results on honest input, an error on hostile input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import kernels
from coded_als.baselines.half_step import Reading
from coded_als.kernels import KERNELS, cached_columns, find_kernel, run_to_end


def random_rows(seed: int, rows: int, columns: int, density: float) -> sparse.csr_array:
    matrix = sparse.random_array((rows, columns), density=density, rng=np.random.default_rng(seed), format="csr")
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(0, 30),
    st.integers(1, 20),
    st.integers(0, 4),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
)
def test_products_with_sparse_rows_are_those_of_dense_ones(
    seed: int, rows: int, columns: int, width: int, density: float, many_panels: bool, many_groups: bool
) -> None:
    matrix = random_rows(seed, rows, columns, density)
    right = np.random.default_rng(seed + 1).standard_normal((columns, width))
    left, extent = np.random.default_rng(seed + 2).standard_normal((rows, width)), np.zeros((columns, 0))
    stored = (matrix.data, matrix.indices, matrix.indptr)
    dense = matrix.toarray()
    with pytest.MonkeyPatch.context() as patch:
        if many_panels:
            patch.setattr(kernels, "PANEL_OPERATIONS", 0.0)
        if many_groups:
            patch.setattr(kernels, "CACHE_BYTES", 0)
            patch.setattr(kernels, "CACHE_LINE", 8)
        (product,) = run_to_end(KERNELS["row_product"](*stored, right))
        (gram_product,) = run_to_end(KERNELS["row_gram_product"](*stored, right))
        (back,) = run_to_end(KERNELS["row_transposed_product"](*stored, left, extent))
    assert all(found.flags.c_contiguous for found in (product, gram_product, back))
    np.testing.assert_allclose(product, dense @ right, atol=1e-12)
    np.testing.assert_allclose(gram_product, dense.T @ (dense @ right), atol=1e-12)
    np.testing.assert_allclose(back, dense.T @ left, atol=1e-12)


@given(st.integers(0, 10**7), st.integers(0, 300))
def test_columns_come_in_even_groups_that_a_cache_holds(length: int, width: int) -> None:
    groups = list(cached_columns(length, width))
    held = max(8, 2**18 // max(1, length))
    assert np.array_equal(np.concatenate([np.arange(width)[group] for group in groups]), np.arange(width))
    widths = [group.stop - group.start for group in groups]
    assert max(widths) - min(widths) <= 1
    assert max(widths) <= 1.5 * held + 1
    assert len(groups) <= max(1, -(-width // held))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
@pytest.mark.parametrize("panel", [0.0, 1e3, 1e8])
def test_products_with_dense_rows_form_no_gram_matrix(
    dtype: type, panel: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PANEL_OPERATIONS", panel)
    rng = np.random.default_rng(0)
    matrix, right = rng.integers(-9, 9, (31, 7)).astype(dtype), rng.standard_normal((7, 3))
    for rows in (matrix, np.asfortranarray(matrix), matrix[:0]):
        (product,) = run_to_end(KERNELS["gram_product"](rows, right))
        exact = rows.astype(np.float64)
        np.testing.assert_allclose(product, exact.T @ (exact @ right), atol=1e-10)
        assert product.dtype == np.float64


def test_a_large_product_looks_up_between_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PANEL_OPERATIONS", 0.0)
    matrix = random_rows(0, 50, 4, 1.0)
    steps = KERNELS["row_gram_product"](matrix.data, matrix.indices, matrix.indptr, np.ones((4, 2)))
    assert sum(1 for _ in steps) == 50


DATA, INDICES, INDPTR = np.ones(3), np.array([0, 2, 1], np.int32), np.array([0, 1, 3], np.int32)


@pytest.mark.parametrize("kernel", ["row_product", "row_gram_product"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: np.array([0, 3, 1], np.int32)}, "from 0 to 2"),
        ({1: np.array([0, -1, 1], np.int32)}, "from 0 to 2"),
        ({1: INDICES.astype(np.float64)}, "int32"),
        ({2: INDPTR.astype(np.int64)}, "int32"),
        ({2: np.array([0, 2**31 - 1, 3], np.int32)}, "ascend"),
        ({2: np.array([0, 3, 1, 3], np.int32)}, "ascend"),
        ({2: np.array([-1, 1, 3], np.int32)}, "ascend"),
        ({2: np.array([0, 1, 4], np.int32)}, "ascend"),
        ({2: np.array([], np.int32)}, "ascend"),
        ({0: np.ones(4)}, "ascend"),
        ({0: np.ones((3, 1))}, "one axis"),
        ({3: np.ones((2, 2))}, "from 0 to 1"),
    ],
)
def test_places_out_of_bounds_are_refused(kernel: str, change: dict[int, Any], message: str) -> None:
    operands = [DATA, INDICES, INDPTR, np.ones((3, 2))]
    for position, value in change.items():
        operands[position] = value
    with pytest.raises(ValueError, match=message):
        run_to_end(KERNELS[kernel](*operands))


def test_the_exact_half_step_checks_its_rows_too() -> None:
    payload = np.ones((3, 2)), np.eye(2), np.ones(2), np.empty(0), Reading().as_array()
    with pytest.raises(ValueError, match="from 0 to 2"):
        run_to_end(find_kernel("solve_block")(INDPTR, INDICES + 1, DATA, np.ones(2), *payload))
