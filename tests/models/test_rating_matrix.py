"""Rating matrices at the entrance: one meaning for each way of giving them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import BPR, SGD, WARP, CodedALS, ImplicitALS, RidgeALS
from coded_als.data import load_ratings
from coded_als.errors import UsageError
from coded_als.evaluation import held_out_auc
from coded_als.models.rating_matrix import as_matrix, checked_ratings, rating_matrix, seen_pattern
from tests.strategies import seeds


def with_duplicates(seed: int) -> tuple[sparse.csr_array, np.ndarray]:
    """A csr matrix, not canonical, and what it is the matrix of, summed by hand."""
    rng = np.random.default_rng(seed)
    rows, columns, values = rng.integers(5, size=30), rng.integers(4, size=30), rng.integers(1, 6, size=30)
    order = np.argsort(rows, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=5))))
    dense = np.zeros((5, 4))
    for row, column, value in zip(rows, columns, values, strict=True):
        dense[row, column] += value
    return sparse.csr_array((values.astype(float), columns, indptr), shape=(5, 4)), dense


@settings(max_examples=40)
@given(seed=seeds)
def test_several_values_in_one_place_are_their_sum(seed: int) -> None:
    stored, dense = with_duplicates(seed)
    before = stored.data.copy(), stored.indices.copy(), stored.indptr.copy()
    for matrix in (as_matrix(stored), checked_ratings(stored), rating_matrix(stored, np.float64)):
        np.testing.assert_array_equal(matrix.toarray(), dense)
        assert matrix.nnz == np.count_nonzero(dense)
    seen = seen_pattern(stored)
    assert seen is not None
    np.testing.assert_array_equal(seen.toarray(), dense != 0)
    for array, kept in zip((stored.data, stored.indices, stored.indptr), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("weighting", ["none", "binary", "log", "centred"])
def test_duplicates_change_no_fit(weighting: Any) -> None:
    stored, dense = with_duplicates(3)
    split, whole = (
        CodedALS(2, partitions=2, weighting=weighting).fit(sparse.csr_array(given)) for given in (stored, dense)
    )
    assert split.objective_ == pytest.approx(whole.objective_, rel=1e-9)
    assert split.objective_ > 0
    np.testing.assert_allclose(split.user_factors_, whole.user_factors_, atol=1e-6)


@pytest.mark.parametrize("model", [CodedALS(1), RidgeALS(1), ImplicitALS(1)])
@pytest.mark.parametrize("shape", [(3, 2**31), (2**31 + 7, 3), (2, 3_000_000_000)])
def test_more_columns_than_can_be_numbered_are_refused(model: Any, shape: tuple[int, int]) -> None:
    last = [np.array([0, size - 1]) for size in shape]
    with pytest.raises(
        UsageError, match=r"at most 2147483647 rows and as many columns; got shape \(\d+, \d+\)\. Number"
    ):
        model.fit(sparse.coo_array((np.ones(2), tuple(last)), shape=shape))


def test_sums_of_small_integers_do_not_wrap() -> None:
    entries = sparse.coo_array((np.array([100, 100], np.int8), ([0, 0], [1, 1])), shape=(2, 2))
    assert rating_matrix(entries, np.float32).data.tolist() == [200.0]


def test_what_is_masked_is_missing_and_nothing_else_is() -> None:
    values = np.array([[0.0, 5.0, np.nan], [3.0, 1e9, 2.0]])
    masked = np.ma.masked_array(values, mask=[[False, False, True], [False, True, False]])
    matrix = rating_matrix(masked, np.float64)
    assert (matrix.indptr.tolist(), matrix.indices.tolist()) == ([0, 2, 4], [0, 1, 0, 2])
    assert matrix.data.tolist() == [0, 5, 3, 2]
    assert checked_ratings(masked).nnz == 4
    seen = seen_pattern(masked)
    assert seen is not None
    assert seen.toarray().tolist() == [[1, 1, 0], [1, 0, 1]]
    assert as_matrix(np.ma.masked_array(np.ones((2, 2)))).nnz == 4


@pytest.mark.parametrize("model", [CodedALS(1, partitions=2), RidgeALS(1), ImplicitALS(1)])
def test_masked_entries_are_neither_learned_nor_hidden(model: Any) -> None:
    values = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 1e9], [3.0, 6.0, 9.0]])
    masked = np.ma.masked_array(values, mask=values > 1e6)
    model.fit(masked)
    assert np.abs(model.user_factors_ @ model.item_factors_.T).max() < 20
    assert model.recommend(1).ids.tolist() == [2]


@pytest.mark.parametrize(
    ("indices", "indptr"),
    [([0, 9], [0, 1, 2]), ([0, -1], [0, 1, 2]), ([0, 1], [0, 2, 1]), ([0, 1], [0, 1, 5])],
)
def test_unsound_sparse_matrices_are_refused_and_never_read_out_of_bounds(indices: Any, indptr: Any) -> None:
    matrix = sparse.csr_array((np.ones(2), [0, 1], [0, 1, 2]), shape=(2, 3))
    matrix.indices, matrix.indptr = np.array(indices), np.array(indptr)
    for check in (checked_ratings, seen_pattern, lambda given: rating_matrix(given, np.float32)):
        with pytest.raises(UsageError, match="sound sparse matrix"):
            check(matrix)


@pytest.mark.parametrize(
    "ratings",
    [
        np.ones((2, 2)) * 1j,
        sparse.csr_array(np.ones((2, 2)) * 1j),
        np.ma.masked_array(np.ones((2, 2)) * 1j, mask=[[1, 0], [0, 0]]),
        np.array([["1", "2"]]),
        np.array([[1, None]]),
        np.ones(3),
        np.ones((2, 2, 2)),
    ],
)
def test_what_is_no_real_matrix_is_refused(ratings: Any) -> None:
    for check in (checked_ratings, seen_pattern, lambda given: rating_matrix(given, np.float32)):
        with pytest.raises(UsageError, match="must be a real matrix"):
            check(ratings)


@settings(max_examples=30)
@given(row=st.integers(0, 3), column=st.integers(0, 4), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_is_found(row: int, column: int, bad: float) -> None:
    dense = np.ones((4, 5))
    dense[row, column] = bad
    for given_ in (dense, sparse.csr_array(dense), sparse.csc_array(dense)):
        with pytest.raises(UsageError, match=f"got -?(nan|inf) at row {row}, column {column}"):
            checked_ratings(given_)


PADDED = {
    "bsr 5x5": lambda matrix: sparse.bsr_array(matrix, blocksize=(5, 5)),
    "bsr 2x1": lambda matrix: sparse.bsr_array(matrix, blocksize=(2, 1)),
    "bsr 1x1": lambda matrix: sparse.bsr_array(matrix, blocksize=(1, 1)),
    "bsr matrix": lambda matrix: sparse.bsr_matrix(matrix, blocksize=(2, 5)),
    "dia": sparse.dia_array,
}


@pytest.mark.parametrize("pad", PADDED.values(), ids=PADDED)
@settings(max_examples=20)
@given(seed=seeds)
def test_zeros_that_fill_up_blocks_and_diagonals_are_no_ratings(
    pad: Any, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((20, 10)) < 0.3, rng.integers(-1, 6, (20, 10)), 0)
    plain, padded = sparse.csr_array(dense), pad(sparse.csr_array(dense))
    data = padded.data.copy()
    for matrix in (as_matrix(padded), checked_ratings(padded), seen_pattern(padded)):
        assert matrix is not None
        assert (matrix != 0).nnz == matrix.nnz == plain.nnz
        np.testing.assert_array_equal(matrix.toarray() != 0, dense != 0)
    np.testing.assert_array_equal(as_matrix(padded).toarray(), dense)
    np.testing.assert_array_equal(padded.data, data)
    path = tmp_path_factory.mktemp("padded") / "r.npz"
    if plain.nnz:
        sparse.save_npz(path, padded)
        read = load_ratings(path)
        assert read.entries == plain.nnz
        np.testing.assert_array_equal(read.matrix.toarray(), dense)


@pytest.mark.parametrize("make", [RidgeALS, ImplicitALS, BPR, WARP, SGD, CodedALS], ids=lambda make: make.kind)
def test_models_of_padded_matrices_are_those_of_csr(make: Any) -> None:
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((40, 25)) < 0.3, rng.integers(1, 6, (40, 25)), 0.0)
    plain = make(2).fit(sparse.csr_array(dense))
    new = sparse.csr_array(dense[:4])
    for padded in (sparse.bsr_array(dense, blocksize=(5, 5)), sparse.dia_array(dense)):
        model = make(2).fit(padded)
        np.testing.assert_array_equal(model.user_factors_, plain.user_factors_)
        assert model.global_mean_ == plain.global_mean_
        assert model.seen_.nnz == plain.seen_.nnz
        folded = model.fold_in(sparse.bsr_array(new, blocksize=(2, 5))).factors
        np.testing.assert_array_equal(folded, plain.fold_in(new).factors)
        if make is not CodedALS:
            assert held_out_auc(model, padded) == held_out_auc(plain, dense)


def test_zeros_of_other_formats_are_ratings_and_several_values_for_one_place_are_refused(tmp_path: Path) -> None:
    stored = sparse.coo_array(([0.0, 2.0], ([0, 1], [1, 0])), shape=(2, 2))
    for form in ("csr", "csc", "coo"):
        assert as_matrix(stored.asformat(form)).nnz == 2
    assert as_matrix(sparse.bsr_array(stored.tocsr(), blocksize=(1, 1))).nnz == 2
    twice = sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 2))
    sparse.save_npz(tmp_path / "r.npz", twice)
    with pytest.raises(UsageError, match="several values for one place"):
        load_ratings(tmp_path / "r.npz")
