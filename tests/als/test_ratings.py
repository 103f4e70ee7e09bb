"""Ratings in and out of `CodedALS`: sparse forms, weightings, folding in and explanations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from coded_als import CodedALS
from coded_als.errors import UsageError
from tests.als.test_coded_als import optimum

MATRIX = np.random.default_rng(0).standard_normal((12, 10))


@pytest.mark.parametrize("weighting", ["none", "binary", "centred", "log"])
@pytest.mark.parametrize("solver", ["als", "lobpcg"])
def test_fold_in_is_the_row_of_the_full_solve(weighting, solver):
    ratings = sparse.random_array((50, 30), density=0.4, rng=np.random.default_rng(1), format="csr") * 5
    model = CodedALS(4, weighting=weighting, solver=solver, regularization=0.3).fit(ratings)
    np.testing.assert_allclose(model.fold_in(ratings).factors, model.user_factors_, atol=1e-8)
    row = ratings.tocsr()[[7]]
    mapping = dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
    np.testing.assert_allclose(model.fold_in(mapping).factors[0], model.user_factors_[7], atol=1e-8)
    assert model.recommend_new(mapping, 5).ids.tolist() == model.recommend(7, 5).ids.tolist()


def test_a_user_without_ratings_has_no_factors():
    model = CodedALS(2).fit(MATRIX)
    np.testing.assert_array_equal(model.fold_in({}).factors, np.zeros((1, 2)))
    np.testing.assert_array_equal(model.fold_in(np.zeros((3, 10))).factors, np.zeros((3, 2)))


@pytest.mark.parametrize("weighting", ["none", "binary", "centred", "log"])
def test_a_score_is_its_base_and_what_each_rating_adds(weighting):
    ratings = sparse.random_array((50, 30), density=0.4, rng=np.random.default_rng(1), format="csr") * 5
    model = CodedALS(4, weighting=weighting, regularization=0.3).fit(ratings)
    given_ = {3: 4.0, 17: 1.0, 5: 2.5}
    score = model.score_new(model.fold_in(given_))[0, 8]
    found = model.explain(given_, 8)
    assert found.score == pytest.approx(score)
    assert found.base + found.contributions.sum() == pytest.approx(score)
    assert set(found.ids.tolist()) == set(given_)
    assert (np.diff(np.abs(found.contributions)) <= 0).all()
    assert model.explain(given_, 8, 1).ids.tolist() == found.ids[:1].tolist()
    assert model.explain(given_, 8, 1).score == pytest.approx(score)
    without = {item: rating for item, rating in given_.items() if item != found.ids[0]}
    if weighting != "centred":  # each is what the score would lose without it, as fold-in is linear
        lost = score - model.score_new(model.fold_in(without))[0, 8]
        assert lost == pytest.approx(found.contributions[0])


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok"])
def test_every_sparse_form_is_read(form):
    ratings = sparse.random_array((30, 20), density=0.4, rng=np.random.default_rng(1), format=form)
    assert CodedALS(3).fit(ratings).objective_ == pytest.approx(optimum(ratings.toarray(), 3), rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.int8])
def test_entries_of_one_place_are_summed(dtype):
    ratings = sparse.csr_array(
        (np.array([100, 100, 2, 3], dtype), np.array([0, 0, 1, 0]), np.array([0, 2, 3, 4])), shape=(3, 2)
    )
    model = CodedALS(1).fit(ratings)
    assert model.objective_ == pytest.approx(4.0)  # of [[200, 0], [0, 2], [3, 0]]
    assert ratings.nnz == 4


def test_a_matrix_that_its_weighting_makes_zero_is_refused():
    with pytest.raises(UsageError, match="got a zero matrix"):
        CodedALS(2, weighting="centred", regularization=1.0).fit(np.ones((9, 8)))


def test_fold_in_names_what_is_wrong():
    model = CodedALS(2).fit(MATRIX)
    with pytest.raises(UsageError, match="the item must be one of the 10"):
        model.fold_in({99: 1.0})
    with pytest.raises(UsageError, match="a column for each of 10 items; got 3"):
        model.fold_in([[1.0, 2.0, 3.0]])


def test_weightings_are_what_they_say():
    ratings = np.array([[5.0, 0.0, 3.0], [0.0, 1.0, 0.0], [4.0, 2.0, 0.0]])
    full = {"none": ratings, "binary": (ratings != 0) * 1.0, "log": np.log1p(ratings)}
    full["centred"] = np.where(ratings != 0, ratings - 3.0, 0.0)
    for weighting, expected in full.items():
        model = CodedALS(3, weighting=weighting, regularization=1e-9).fit(ratings)
        np.testing.assert_allclose(model.user_factors_ @ model.item_factors_.T, expected, atol=1e-6)
        assert model.global_mean_ == (3.0 if weighting == "centred" else 0.0)
