"""Sparse rows on a cluster: SciPy's products, whoever is slow, and the count that decides whether D is formed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.als.problem import Problem, in_unit, product_of, transposed_product_of
from coded_als.als.products import RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.spread import extent_of
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.kernels import cached_columns
from coded_als.planner.schemes import forming_pays


def random_matrix(seed: int, rows: int, columns: int, density: float) -> sparse.csr_array:
    return sparse.random_array((rows, columns), density=density, rng=np.random.default_rng(seed), format="csr")


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    columns=st.integers(1, 20),
    width=st.integers(1, 4),
    workers=st.integers(1, 9),
    copies=st.integers(1, 9),
    density=st.floats(0, 1),
    kind=st.sampled_from(["csr", "csc", "coo"]),
)
def test_products_are_scipys_whoever_is_slow(
    seed: int, rows: int, columns: int, width: int, workers: int, copies: int, density: float, kind: str
) -> None:
    matrix, copies = random_matrix(seed, rows, columns, density), min(copies, workers)
    right = np.random.default_rng(seed + 1).standard_normal((columns, width))
    seen = []
    for order in range(2):
        log = RoundLog(InlineCluster(workers, "exp:mean=1ms", seed=order))
        held = SparseRows.given_out(matrix.asformat(kind), log, copies)
        seen.append((held.product(right), held.gram_product(right)))
        assert all(workers // copies <= record.responses <= workers for record in log.records)
    dense = matrix.toarray()
    np.testing.assert_allclose(seen[0][0], dense @ right, atol=1e-12)
    np.testing.assert_allclose(seen[0][1], dense.T @ (dense @ right), atol=1e-11)
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)  # to the last bit


def test_the_last_copy_of_a_block_can_be_lost_and_no_more() -> None:
    matrix, right = random_matrix(0, 30, 8, 0.3), np.eye(8)
    held = SparseRows.given_out(matrix, RoundLog(InlineCluster(4, "dead:n=1")), copies=2)
    np.testing.assert_allclose(held.gram_product(right), (matrix.T @ matrix).toarray(), atol=1e-12)
    held = SparseRows.given_out(matrix, RoundLog(InlineCluster(4, "dead:n=1")), copies=1)
    with pytest.raises(NotEnoughWorkers, match="No copy is left"):
        held.gram_product(right)


def test_a_popular_row_does_not_weigh_down_one_block() -> None:
    lengths = (1000 / np.arange(1, 201) ** 0.5).astype(int)
    matrix = sparse.csr_array(np.ones((200, 1000)) * (np.arange(1000) < lengths[:, np.newaxis]))
    held = SparseRows.given_out(matrix, RoundLog(InlineCluster(4)), copies=1)
    assert held._entries < 1.2 * matrix.nnz / 4


@pytest.mark.parametrize(("copies", "message"), [(0, "at least 1; got 0"), (5, "at least copies=5; got 4")])
def test_copies_that_cannot_be_are_refused(copies: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SparseRows.given_out(random_matrix(0, 5, 4, 0.5), RoundLog(InlineCluster(4)), copies)


@pytest.mark.parametrize(
    ("rows", "columns", "entries", "pays"),
    [
        (1_000, 500, 20_000, True),  # a few hundred items: D is small
        (200_000, 300, 5_000_000, True),  # many users and few items
        (41_000, 30_000, 720_000, False),  # a check-in set: D would have 7 GB
        (100_000, 50_000, 5_000_000, False),
    ],
)
def test_the_count_forms_what_is_small(rows: int, columns: int, entries: int, pays: bool) -> None:
    indptr = np.linspace(0, entries, rows + 1).astype(np.int64)
    # a pattern is enough to count
    matrix: Any = sparse.csr_array((np.ones(entries), np.zeros(entries, np.int32), indptr), shape=(rows, columns))
    extent = extent_of(Problem.of(matrix))
    assert forming_pays(extent, workers=16, copies=2, share=1 / 12, columns=25, machine=Machine()) is pays


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_masters_own_products_of_sparse_rows_are_those_of_dense_ones(dtype):
    """With so many columns that a block is multiplied by groups of its columns."""
    matrix = sparse.random_array((40, 40_000), density=0.01, format="csr", dtype=dtype, rng=np.random.default_rng(0))
    right, left = np.random.default_rng(1).standard_normal((40_000, 25)), np.ones((40, 25)) * np.arange(25)
    dense = matrix.toarray().astype(float)
    assert len(list(cached_columns(*right.shape))) > 1
    np.testing.assert_allclose(product_of(matrix, right), dense @ right, atol=1e-12)
    np.testing.assert_allclose(transposed_product_of(matrix, left), dense.T @ left, atol=1e-12)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_matrix_in_its_unit_shares_its_places_with_the_one_given(form, dtype):
    matrix = form(sparse.random_array((9, 7), density=0.4, dtype=dtype, rng=np.random.default_rng(0)) * dtype(50))
    before = matrix.copy()
    scaled, unit = in_unit(matrix)
    assert type(scaled) is form
    assert (scaled.dtype, unit, np.abs(scaled.data).max() < 1) == (dtype, 64.0, True)
    assert np.shares_memory(scaled.indices, matrix.indices)
    assert (abs(scaled * unit - before)).max() == abs(matrix - before).max() == 0
