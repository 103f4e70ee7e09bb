"""Laws of both ALS: the objective never rises, each row is optimal, new users fit in."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.baselines import ImplicitALS, RidgeALS


def ratings(seed, rows=12, columns=9, density=0.4):
    generator = np.random.default_rng(seed)
    mask = generator.random((rows, columns)) < density
    mask[0, 0] = True
    return sparse.csr_array(np.where(mask, generator.integers(1, 6, (rows, columns)), 0).astype(float))


def ridge_objective(model, matrix):
    """Straight from the definition, over a dense loop."""
    total = 0.0
    dense = matrix.toarray()
    users, items = model.user_factors_.astype(float), model.item_factors_.astype(float)
    bu = np.zeros(len(users)) if model.user_biases_ is None else model.user_biases_.astype(float)
    bi = np.zeros(len(items)) if model.item_biases_ is None else model.item_biases_.astype(float)
    for u, i in np.argwhere(dense):
        total += (dense[u, i] - model.global_mean_ - bu[u] - bi[i] - users[u] @ items[i]) ** 2
    rho = 1.0 if model.bias_regularization is None else model.bias_regularization / model.regularization
    for side, bias, counts in ((users, bu, (dense != 0).sum(1)), (items, bi, (dense != 0).sum(0))):
        weight = counts if model.regularization_scaling == "count" else np.ones(len(side))
        total += model.regularization * (weight * ((side**2).sum(1) + rho * bias**2)).sum()
    return total


def implicit_objective(model, matrix):
    """Straight from the definition, the defaults of the weights included."""
    dense = matrix.toarray()
    scores = model.user_factors_.astype(float) @ model.item_factors_.T.astype(float)
    observed = dense != 0
    squares = (model.user_factors_**2).sum(1), (model.item_factors_**2).sum(1)
    if model.alpha is not None:
        confidence = 1 + model.alpha * dense
        return (confidence * (observed - scores) ** 2).sum() + model.regularization * sum(map(np.sum, squares))
    w = 0.1 if model.unobserved_weight is None else model.unobserved_weight
    nu = 1.0 if model.frequency_exponent is None else model.frequency_exponent
    total = ((1 - scores) ** 2)[observed].sum() + w * (scores**2).sum()
    for axis in (0, 1):
        ridge = model.regularization * (observed.sum(1 - axis) + w * dense.shape[1 - axis]) ** nu
        total += (ridge * squares[axis]).sum()
    return total


ridges = st.builds(
    RidgeALS,
    rank=st.integers(1, 6),
    regularization=st.floats(1e-3, 20),
    iterations=st.just(6),
    biases=st.booleans(),
    bias_regularization=st.none() | st.floats(1e-2, 5),
    regularization_scaling=st.sampled_from(["none", "count"]),
    solver=st.sampled_from(["cholesky", "cg"]),
    seed=st.integers(0, 99),
    threads=st.just(1),
    dtype=st.just("float64"),
)
common = {
    "rank": st.integers(1, 6),
    "regularization": st.floats(1e-3, 5),
    "iterations": st.just(6),
    "solver": st.sampled_from(["cholesky", "cg"]),
    "seed": st.integers(0, 99),
    "threads": st.just(1),
    "dtype": st.just("float64"),
}
implicits = st.builds(
    ImplicitALS,
    unobserved_weight=st.none() | st.floats(0.01, 1),
    frequency_exponent=st.none() | st.floats(0, 1.5),
    **common,
) | st.builds(ImplicitALS, alpha=st.floats(0.1, 40), **common)


@settings(max_examples=40)
@given(ridges | implicits, st.integers(0, 2**32), st.floats(0.05, 0.9))
# equal ratings: the mean is exact, and of the objective rounding alone is left
@example(RidgeALS(1, regularization=1.0, iterations=6, solver="cg", threads=1, dtype="float64"), 12647, 0.0546875)
def test_the_objective_never_rises_and_is_exact(model, seed, density):
    matrix = ratings(seed, density=density)
    model.fit(matrix)
    objectives = [iteration.objective for iteration in model.history_]
    assert len(objectives) == 6
    # a difference of sums of squares
    rounding = 1e-15 * float(np.square(matrix.data).sum())
    for before, after in itertools.pairwise(objectives):
        assert after <= before + 1e-9 * abs(before) + rounding
    direct = ridge_objective if isinstance(model, RidgeALS) else implicit_objective
    assert objectives[-1] == pytest.approx(direct(model, matrix), rel=1e-8, abs=1e-8)


@settings(max_examples=25)
@given(ridges | implicits, st.integers(0, 2**32))
def test_folding_a_training_user_in_gives_that_users_row(model, seed):
    model.solver = "cholesky"
    matrix = ratings(seed)
    model.fit(matrix)
    new = model.fold_in(matrix)
    rated = np.diff(matrix.indptr) > 0
    np.testing.assert_allclose(new.factors[rated], model.user_factors_[rated], rtol=1e-8, atol=1e-8)
    if model.biases:
        np.testing.assert_allclose(new.biases[rated], model.user_biases_[rated], rtol=1e-8, atol=1e-8)
    row = int(np.flatnonzero(rated)[-1])
    one = {int(i): float(matrix[row, i]) for i in matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]}
    np.testing.assert_allclose(model.fold_in(one).factors[0], model.user_factors_[row], rtol=1e-8, atol=1e-8)


@example(RidgeALS(6, regularization=1.0, iterations=6, biases=False, seed=2, threads=1, dtype="float64"), 6441, 1e7)
@settings(max_examples=40)
@given(ridges | implicits, st.integers(0, 2**32), st.sampled_from([1.0, 1e-9, 1e7]))
def test_a_score_is_its_base_and_what_each_rating_adds(model, seed, size):
    matrix = ratings(seed)
    if isinstance(model, RidgeALS):
        matrix = matrix * size
    model.fit(matrix)
    given_ = {2: 4.0 * size, 5: 1.0 * size, 7: 2.5 * size}
    for item in (0, 5):
        score = model.score_new(model.fold_in(given_))[0, item]
        found = model.explain(given_, item)
        assert found.score == pytest.approx(score, rel=1e-6, abs=1e-8)
        assert found.base + found.contributions.sum() == pytest.approx(found.score, rel=1e-9, abs=1e-12)
        assert set(found.ids.tolist()) == set(given_)
        assert (np.diff(np.abs(found.contributions)) <= 0).all()
        assert model.explain(given_, item, 2).ids.tolist() == found.ids[:2].tolist()
    bias = 0.0 if model.item_biases_ is None else model.item_biases_[5]
    assert found.base == model.global_mean_ + bias


def test_no_perturbation_of_a_users_row_lowers_the_objective():
    matrix = ratings(1)
    model = RidgeALS(3, 0.5, 8, dtype="float64", threads=1).fit(matrix)
    least = ridge_objective(model, matrix)
    generator = np.random.default_rng(0)
    for _ in range(20):
        step = 1e-3 * generator.standard_normal(model.user_factors_.shape)
        model.user_factors_ += step
        assert ridge_objective(model, matrix) > least
        model.user_factors_ -= step


def test_a_fully_observed_matrix_of_full_rank_is_recovered():
    dense = np.random.default_rng(2).standard_normal((8, 5)) + 4
    model = RidgeALS(5, 1e-9, 60, biases=False, dtype="float64").fit(sparse.csr_array(dense))
    np.testing.assert_allclose(model.user_factors_ @ model.item_factors_.T, dense, atol=1e-5)


def test_full_observation_and_small_ridge_reach_the_best_low_rank_approximation():
    dense = np.random.default_rng(3).standard_normal((10, 7)) + 3
    model = RidgeALS(2, 1e-8, 400, biases=False, dtype="float64").fit(sparse.csr_array(dense))
    optimum = (np.linalg.svd(dense, compute_uv=False)[2:] ** 2).sum()  # Eckart-Young
    assert ((dense - model.user_factors_ @ model.item_factors_.T) ** 2).sum() == pytest.approx(optimum, rel=1e-6)


def test_the_gradient_of_the_confidence_weighted_loss_vanishes_at_the_users():
    matrix = ratings(4)
    model = ImplicitALS(3, 0.1, 30, alpha=2.0, dtype="float64").fit(matrix)
    dense = matrix.toarray()
    confidence, wanted = 1 + 2.0 * dense, (dense != 0).astype(float)
    error = confidence * (wanted - model.user_factors_ @ model.item_factors_.T)
    gradient = error @ model.item_factors_ - 0.1 * model.user_factors_
    np.testing.assert_allclose(gradient, 0, atol=1e-9)


def test_many_gradients_are_as_good_as_cholesky():
    matrix = ratings(6)
    exact = ImplicitALS(4, 0.05, 5, dtype="float64").fit(matrix)
    close = ImplicitALS(4, 0.05, 5, solver="cg", cg_steps=30, dtype="float64").fit(matrix)
    np.testing.assert_allclose(close.user_factors_, exact.user_factors_, atol=1e-8)


def test_single_precision_agrees_with_double():
    matrix = ratings(7)
    double = RidgeALS(3, 1.0, 5, dtype="float64").fit(matrix)
    single = RidgeALS(3, 1.0, 5, dtype="float32").fit(matrix)
    assert single.user_factors_.dtype == np.float32
    np.testing.assert_allclose(single.user_factors_, double.user_factors_, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(
    "model",
    [RidgeALS(3, 1.0, 5, dtype="float64"), ImplicitALS(3, 0.05, 5, dtype="float64")],
    ids=["ridge", "implicit"],
)
def test_many_small_steps_approach_the_exact_fold_in(model):
    matrix = ratings(9, density=0.7)
    model.fit(matrix)
    few, many = (model.drift(matrix, epochs=epochs, learning_rate=0.5) for epochs in (2, 400))
    assert np.median(many) < 0.1
    assert np.median(many) < np.median(few)
