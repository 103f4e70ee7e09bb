"""Centring: the factors, means and certificate of R less its means, beside `numpy.linalg.svd` of that matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from coded_als import CodedALS, CodedOperator, InlineCluster, load_model
from coded_als.als.centring import centred_problem
from coded_als.als.problem import Problem
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint

CENTERS = ["columns", "rows", "both"]
SHAPES = [(40, 25), (25, 40)]


def centred(matrix, center):
    """The oracle: each mean subtracted, one after the other, until nothing is left of them."""
    matrix = np.array(matrix, dtype=np.float64)
    for _ in range(3):
        if center != "columns":
            matrix = matrix - matrix.mean(axis=1, keepdims=True)
        if center != "rows":
            matrix = matrix - matrix.mean(axis=0)
    return matrix


def best(matrix, rank):
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    return (left[:, :rank] * sigma[:rank]) @ right[:rank], float(np.sum(sigma[rank:] ** 2))


def whole(model):
    rows, columns = np.indices((len(model.user_factors_), len(model.item_factors_)))
    return model.predict_pairs(rows.ravel(), columns.ravel()).reshape(rows.shape)


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_a_dense_fit_is_the_svd_of_the_centred_matrix(center, shape, offset):
    matrix = np.random.default_rng(0).standard_normal(shape) + offset
    model = CodedALS(4, center=center).fit(matrix, InlineCluster(6))
    product, optimum = best(centred(matrix, center), 4)
    assert model.outcome_ == "converged"
    assert model.objective_ == pytest.approx(optimum, rel=1e-8)
    np.testing.assert_allclose(model.user_factors_ @ model.item_factors_.T, product, atol=2e-4)
    np.testing.assert_allclose(whole(model), matrix - centred(matrix, center) + product, atol=2e-4)


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.1, 0.9])
@pytest.mark.parametrize(
    "spread", [{}, {"precomputation": "local"}, {"code": "systematic:p=4"}, {"precomputation": "coded"}]
)
def test_sparse_rows_are_centred_as_they_are(center, shape, density, spread):
    ratings = sparse.random_array(shape, density=density, rng=np.random.default_rng(1), format="csr") * 5
    model = CodedALS(3, center=center, **spread).fit(ratings, InlineCluster(6))
    product, optimum = best(centred(ratings.toarray(), center), 3)
    assert model.outcome_ == "converged"
    assert model.objective_ == pytest.approx(optimum, rel=1e-8)
    np.testing.assert_allclose(model.user_factors_ @ model.item_factors_.T, product, atol=1e-3)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_an_offset_of_a_full_sparse_matrix_is_lost_once_and_not_twice(offset):
    matrix = np.random.default_rng(0).standard_normal((60, 30)) + offset
    model = CodedALS(4, center="columns", precomputation="none").fit(sparse.csr_array(matrix))
    _, optimum = best(centred(matrix, "columns"), 4)
    assert model.objective_ == pytest.approx(optimum, rel=offset * 1e-12)
    assert model.outcome_ == "converged"


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.05, 0.3, 0.6, 1.0])
def test_an_implicit_problem_is_the_explicit_one(center, shape, density):
    rng = np.random.default_rng(3)
    ratings = sparse.random_array(shape, density=density, rng=rng, format="csr") * 3
    problem, _ = centred_problem(ratings, center)
    explicit = Problem.of(centred(ratings.toarray(), center))
    right, left = rng.standard_normal((25, 3)), rng.standard_normal((40, 3))
    assert problem.is_sparse
    assert problem.length == 25
    assert problem.squared_norm == pytest.approx(explicit.squared_norm, rel=1e-13)
    np.testing.assert_allclose(problem.image(right), explicit.image(right), atol=1e-12)
    np.testing.assert_allclose(problem.adjoint(left), explicit.adjoint(left), atol=1e-12)
    np.testing.assert_allclose(problem.dense(), explicit.matrix, atol=1e-13)
    assert problem.squared_error(left, right) == pytest.approx(explicit.squared_error(left, right))


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_fold_in_is_the_row_of_the_full_solve(center, form):
    ratings = form(np.where(np.random.default_rng(1).random((50, 30)) < 0.4, 3.0, 0.0) * np.arange(1, 31))
    model = CodedALS(4, center=center, regularization=0.3).fit(ratings)
    folded = model.fold_in(ratings)
    np.testing.assert_allclose(folded.factors, model.user_factors_, atol=1e-7)
    np.testing.assert_allclose(model.score_new(folded), whole(model), atol=1e-6)


@pytest.mark.parametrize("center", CENTERS)
def test_a_score_is_its_base_and_the_parts_of_the_ratings(center):
    ratings = sparse.random_array((50, 30), density=0.4, rng=np.random.default_rng(1), format="csr") * 5
    model = CodedALS(4, center=center, regularization=0.3).fit(ratings)
    given_ = {3: 4.0, 17: 1.0, 5: 2.5}
    score, nothing = (model.score_new(model.fold_in(one))[0, 8] for one in (given_, {}))
    found = model.explain(given_, 8)
    assert found.score == pytest.approx(score)
    assert found.base == pytest.approx(nothing)
    assert found.base + found.contributions.sum() == pytest.approx(score)


def test_a_saved_model_is_as_centred(tmp_path):
    model = CodedALS(3, center="both").fit(np.random.default_rng(0).standard_normal((20, 15)) + 7)
    model.save(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert loaded.center == "both"
    np.testing.assert_array_equal(whole(loaded), whole(model))
    row = np.random.default_rng(1).standard_normal((1, 15)) + 7
    np.testing.assert_array_equal(loaded.fold_in(row).factors, model.fold_in(row).factors)
    assert loaded.recommend(2, 5, filter_seen=False).ids.tolist() == np.argsort(-whole(model)[2])[:5].tolist()


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("matrix", "center"),
    [
        (np.full((9, 7), 0.1), "columns"),
        (np.full((9, 7), 0.1), "rows"),
        (np.tile(np.random.default_rng(0).random(7), (9, 1)), "columns"),
        (np.random.default_rng(0).random((1, 7)), "columns"),
        (np.random.default_rng(0).random((7, 1)), "rows"),
        (np.add.outer(np.random.default_rng(0).random(9), np.arange(1.0, 8.0)) * 1e6, "both"),
    ],
)
def test_a_matrix_of_which_its_means_leave_nothing_is_refused(form, matrix, center):
    with pytest.raises(UsageError, match=f"center='{center}' leaves nothing"):
        CodedALS(1, center=center).fit(form(matrix))


def test_a_constant_column_has_no_part_in_the_factors():
    matrix = np.random.default_rng(0).standard_normal((30, 8))
    matrix[:, 3] = 1e6 / 3
    for form in (np.asarray, sparse.csr_array):
        model = CodedALS(2, center="columns").fit(form(matrix))
        assert model.item_biases_[3] == matrix[0, 3]
        np.testing.assert_allclose(model.item_factors_[3], 0.0, atol=1e-8)


def test_one_row_is_centred_by_its_own_mean():
    row = np.random.default_rng(0).random((1, 7))
    model = CodedALS(1, center="rows").fit(row)
    np.testing.assert_allclose(whole(model), row)
    assert model.user_biases_[0] == pytest.approx(row.mean())


def test_the_rank_is_that_of_the_centred_matrix():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 9)) + 1e5
    with pytest.raises(UsageError, match="here 2 as far as rounding"):
        CodedALS(4, center="columns").fit(sparse.csr_array(matrix))


def test_a_weighting_comes_before_the_means():
    ratings = sparse.random_array((40, 20), density=0.3, rng=np.random.default_rng(1), format="csr") * 5
    model = CodedALS(3, weighting="centred", center="rows").fit(ratings)
    matrix = ratings.toarray()
    matrix[matrix != 0] -= ratings.data.mean()
    assert model.objective_ == pytest.approx(best(centred(matrix, "rows"), 3)[1], rel=1e-8)
    np.testing.assert_allclose(model.fold_in(ratings).factors, model.user_factors_, atol=1e-6)


def test_a_checkpoint_of_another_centring_is_refused(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((20, 15))
    CodedALS(3, center="rows", iterations=2).fit(matrix, checkpoint=Checkpoint(tmp_path))
    with pytest.raises(UsageError, match="center = 'rows' where this fit has 'columns'"):
        CodedALS(3, center="columns", iterations=2).fit(matrix, checkpoint=Checkpoint(tmp_path, resume=True))


def test_other_words_are_refused():
    with pytest.raises(UsageError, match="center must be"):
        CodedALS(1, center="cols").fit(np.eye(3))


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("gram", [False, True])
def test_an_operator_multiplies_with_the_centred_matrix(center, form, gram):
    matrix = np.random.default_rng(0).standard_normal((12, 9)) + 100
    operator = CodedOperator(form(matrix), InlineCluster(6), center=center, gram=gram)
    expected = centred(matrix, center)
    expected = expected.T @ expected if gram else expected
    np.testing.assert_allclose(operator @ np.eye(9), expected, atol=1e-9)
    np.testing.assert_allclose(operator.H @ np.eye(len(expected)), expected.T, atol=1e-9)


def test_an_undecided_fit_of_an_offset_converges_once_centred():
    matrix = np.random.default_rng(0).standard_normal((80, 50)) + 1e6
    undecided = CodedALS(5).fit(matrix)
    assert undecided.outcome_ == "undecided"
    assert "center='columns'" in undecided.remedy_
    assert CodedALS(5, center="columns").fit(matrix).outcome_ == "converged"
