"""One new user, by the shortcut for one and by the way of many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import BPR, SGD, WARP, CodedALS, ImplicitALS, RidgeALS, UsageError
from coded_als.models.rating_matrix import rating_matrix, sound_row
from coded_als.sklearn import Factorization
from tests.strategies import seeds

MODELS = [
    RidgeALS(3, 0.5, 3, dtype="float64", threads=1),
    RidgeALS(9, 2.0, 3, biases=False, regularization_scaling="count", dtype="float64", threads=1),
    ImplicitALS(3, iterations=3, dtype="float64", threads=1),
    ImplicitALS(9, iterations=3, alpha=4.0, dtype="float64", threads=1),
    SGD(3, iterations=3, dtype="float64"),
]


def some_ratings(rng: np.random.Generator, rows: int, size: float = 1.0) -> sparse.csr_array:
    dense = (rng.random((rows, 12)) < 0.4) * rng.integers(1, 6, (rows, 12)) * size
    dense[0, 0] = size
    return sparse.csr_array(dense)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.kind} rank {model.rank}")
@settings(max_examples=10)
@given(seed=seeds, size=st.sampled_from([1e-6, 1.0, 1e5]))
def test_one_user_folds_in_as_one_of_many_does(model: Any, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    size = 1.0 if model.kind == "sgd" else size  # whose steps do not scale
    model.fit(some_ratings(rng, 15, size))
    new = some_ratings(rng, 4, size)
    together = model.fold_in(new)
    for row in range(4):
        one = new[[row]]
        mapping = dict(zip(one.indices.tolist(), one.data.tolist(), strict=True))
        backwards = dict(reversed(mapping.items()))
        for given_ in (one, sparse.csr_matrix(one), mapping, backwards):
            alone = model.fold_in(given_)
            np.testing.assert_allclose(alone.factors[0], together.factors[row], rtol=1e-9, atol=1e-12)
            if together.biases is not None:
                assert alone.biases[0] == pytest.approx(together.biases[row], rel=1e-9, abs=1e-12)


def test_a_user_with_nothing_is_zero_by_every_way() -> None:
    model = ImplicitALS(2, iterations=1).fit(np.eye(4))
    for nothing in (sparse.csr_array((1, 4)), {}, np.zeros((1, 4))):
        assert not model.fold_in(nothing).factors.any()


def test_interactions_below_zero_are_refused_by_every_way() -> None:
    model = ImplicitALS(2, iterations=1, alpha=1.0).fit(np.eye(4))
    for wrong in (sparse.csr_array([[0.0, -1, 0, 0]]), {1: -1.0}, np.array([[0.0, -1, 0, 0]] * 2)):
        with pytest.raises(UsageError, match="interactions must be greater than 0 with alpha; got -1"):
            model.fold_in(wrong)


ENTRIES = st.lists(st.tuples(st.integers(-1, 5), st.sampled_from([1.0, 0.0, -2.5, np.nan, np.inf, 3.0])), max_size=5)


@settings(max_examples=200)
@given(ENTRIES, st.sampled_from([np.float32, np.float64, np.int64, np.complex128]), st.integers(0, 6))
def test_a_sound_row_is_what_the_careful_reader_reads(
    entries: list[tuple[int, float]], dtype: Any, pointer: int
) -> None:
    """Damaged rows are left to it: unsorted, twice, out of range, not finite, or with other pointers."""
    row = sparse.csr_array((1, 5), dtype=dtype)
    with np.errstate(invalid="ignore"):
        row.data = np.array([value for _, value in entries], dtype=np.complex128).real.astype(dtype)
    row.indices = np.array([place for place, _ in entries], dtype=np.int32)
    row.indptr = np.array([0, pointer], dtype=np.int32)
    before = row.indices.copy(), row.data.copy()
    found = sound_row(row, 5)
    assert sound_row(row, 4) is None
    if found is None:
        return
    expected = rating_matrix(row, np.float64, columns=5)
    np.testing.assert_array_equal(found[0], expected.indices)
    np.testing.assert_array_equal(found[1], expected.data)
    found[0][:], found[1][:] = 0, 0
    np.testing.assert_array_equal(row.indices, before[0])
    np.testing.assert_array_equal(row.data, before[1])


@pytest.mark.parametrize("given_", [{0: 1.0}, [[1.0, 0.0]], sparse.csc_array([[1.0, 0.0]]), sparse.eye_array(2), None])
def test_what_is_not_one_compressed_row_is_left_to_the_careful_reader(given_: Any) -> None:
    assert sound_row(given_, 2) is None


@pytest.mark.parametrize("make", [BPR, WARP, SGD, ImplicitALS, RidgeALS, CodedALS], ids=lambda make: make.kind)
def test_users_without_ratings_get_zeros_alone_and_beside_others(make: Any) -> None:
    some = some_ratings(np.random.default_rng(0), 15)
    model = make(2).fit(some)
    both = sparse.csr_array(np.vstack((some.toarray()[:1], np.zeros((2, 12)))))
    for empty in (np.zeros((1, 12)), sparse.csr_array((3, 12))):
        folded = model.fold_in(empty)
        assert folded.factors.shape == (empty.shape[0], 2)
        assert not folded.factors.any()
        ids, scores = model.recommend_new(empty, 3)
        assert ids.shape == scores.shape == (empty.shape[0], 3)
    beside = model.fold_in(both).factors
    assert beside[0].any()
    assert not beside[1:].any()
    assert not Factorization(make.kind, 2).fit(some).transform(sparse.csr_array((3, 12))).any()
