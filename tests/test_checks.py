"""Checks and seeds that all packages share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coded_als import CodedALS, InlineCluster, SimulatedCluster, load_model
from coded_als.checks import all_finite, seed_from
from coded_als.data import holdout, load_ratings
from coded_als.errors import UsageError

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
)


@given(st.lists(ARRAYS, max_size=3))
def test_arrays_are_finite_when_all_their_entries_are(arrays: list[np.ndarray]) -> None:
    assert all_finite(arrays) == all(np.isfinite(array).all() for array in arrays)


@pytest.mark.parametrize("value", [1.7e308, -1.7e308])
def test_entries_whose_sum_overflows_are_finite(value: float) -> None:
    assert all_finite([np.full(1000, value)])
    assert not all_finite([np.append(np.full(1000, value), np.nan)])


@pytest.mark.parametrize("source", [7, np.int64(7), np.random.SeedSequence(7), np.random.default_rng(7)])
def test_a_source_of_random_numbers_stands_in_place_of_a_seed(source: object) -> None:
    expected = 7 if isinstance(source, (int, np.integer)) else int(np.random.default_rng(7).integers(2**32))
    assert seed_from(None, source) == expected
    drawn_again = seed_from(None, source)
    assert (drawn_again == expected) is not isinstance(source, np.random.Generator)


def test_without_a_source_the_seed_is_the_number_or_0() -> None:
    assert (seed_from(None, None), seed_from(5, None)) == (0, 5)


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "7", np.random.RandomState(0)])
def test_another_source_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="rng must be a whole number"):
        seed_from(None, wrong)


@pytest.mark.parametrize(
    "make", [CodedALS, lambda **given: InlineCluster(3, **given), lambda **given: SimulatedCluster(3, **given)]
)
def test_a_seed_beside_a_source_is_an_error_that_names_both(make) -> None:
    with pytest.raises(UsageError, match="seed=0 and rng=1"):
        make(seed=0, rng=1)


def test_a_model_keeps_the_seed_that_it_drew(tmp_path) -> None:
    ratings = load_ratings("synthetic:m=30,n=20,d=2,noise=0.1")
    model = CodedALS(rank=2, rng=np.random.default_rng(3)).fit(ratings)
    assert model.get_params()["seed"] == model.seed != 0
    assert "rng" not in model.get_params()
    model.save(tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").seed == model.seed
    again = CodedALS(rank=2, seed=model.seed).fit(ratings)
    np.testing.assert_array_equal(again.item_factors_, model.item_factors_)
    assert repr(CodedALS(rank=2)) == "CodedALS(rank=2)"


def test_parts_are_equal_by_seed_and_by_source() -> None:
    ratings = load_ratings("synthetic:m=30,n=20,d=2,noise=0.1")
    (one, _), (other, _) = holdout(ratings, seed=4), holdout(ratings, rng=4)
    np.testing.assert_array_equal(one.triples()[2], other.triples()[2])
