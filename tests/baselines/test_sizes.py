"""Laws of the ALS models at sizes of ratings far from 1: a right result or a refusal, never NaN."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als.baselines import SGD, ImplicitALS, RidgeALS
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import power_of_four
from tests.baselines.test_als import implicit_objective, ratings, ridge_objective


def refusal_of(model, matrix):
    """Fit; the message of a refusal, empty where there is none."""
    try:
        model.fit(matrix)
    except UsageError as refusal:
        return str(refusal)
    return ""


@given(st.floats(1e-300, 1e300))
def test_units_are_powers_of_four_just_below(size):
    unit = power_of_four(size)
    assert unit <= size < 4 * unit
    assert np.log2(unit) % 2 == 0


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    exponent=st.sampled_from([-60, -20, 1, 12, 33, 55]),
    solver=st.sampled_from(["cholesky", "cg"]),
    biases=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_ratings_in_other_units_give_the_same_model_in_those_units(seed, exponent, solver, biases, dtype):
    """c times the ratings and the regularisation: sqrt(c) times the factors, bit for bit where c is a power of four."""
    matrix, c = ratings(seed), 4.0**exponent
    given_ = {"biases": biases, "bias_regularization": 0.7, "solver": solver, "dtype": dtype, "threads": 1}
    one = RidgeALS(3, 0.5, 4, **given_).fit(matrix)
    other = RidgeALS(3, 0.5 * c, 4, **given_).fit(matrix * c)
    np.testing.assert_array_equal(other.user_factors_, one.user_factors_ * 2.0**exponent)
    np.testing.assert_array_equal(other.item_factors_, one.item_factors_ * 2.0**exponent)
    if biases:
        np.testing.assert_array_equal(other.item_biases_, one.item_biases_ * c)
    assert [entry.objective / c / c for entry in other.history_] == [entry.objective for entry in one.history_]
    new, more = one.fold_in({0: 3.0, 2: 5.0}), other.fold_in({0: 3.0 * c, 2: 5.0 * c})
    np.testing.assert_array_equal(more.factors, new.factors * 2.0**exponent)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    size=st.floats(-30, 30),
    regularization=st.floats(-12, 6),
    rank=st.integers(1, 8),
    biases=st.booleans(),
    solver=st.sampled_from(["cholesky", "cg"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_the_reported_objective_is_that_of_the_model(seed, size, regularization, rank, biases, solver, dtype):
    matrix = ratings(seed) * 10.0**size
    model = RidgeALS(
        rank, 10.0**regularization, 5, biases=biases, solver=solver, dtype=dtype, threads=1, seed=seed % 100
    )
    refusal = refusal_of(model, matrix)
    if refusal:
        assert dtype == "float32"
        assert "float64" in refusal or "scale the ratings" in refusal
        return
    objectives = [iteration.objective for iteration in model.history_]
    digits = 1e-8 if dtype == "float64" else 2e-3
    errors = np.square(matrix.data - model.global_mean_).sum()
    # what the objective is at the random start, whose rounding it cannot be better than
    start = errors + model.regularization * np.abs(matrix.data).max() * matrix.shape[0]
    assert objectives[-1] == pytest.approx(ridge_objective(model, matrix), rel=digits, abs=digits * errors)
    assert all(after <= before + digits * start for before, after in itertools.pairwise(objectives))


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_that_the_regularisation_makes_zero_are_zero(solver, dtype):
    matrix = ratings(3, rows=60, columns=40)
    for model in (
        ImplicitALS(10, 10.0, solver=solver, dtype=dtype),
        RidgeALS(10, 100.0, solver=solver, dtype=dtype),
        RidgeALS(10, 1e12, solver=solver, dtype=dtype),
    ):
        model.fit(matrix)
        np.testing.assert_allclose(model.user_factors_, 0, atol=1e-6)
        assert np.isfinite([entry.objective for entry in model.history_]).all()


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_ratings_that_are_all_equal_are_their_mean(solver):
    matrix = ratings(3)
    matrix.data[:] = 3.0
    model = RidgeALS(4, 1.0, solver=solver).fit(matrix)
    assert model.predict(0, 0) == 3.0
    assert model.history_[-1].objective == 0


@pytest.mark.parametrize("offset", [1e6, 1e8, 1e12])
def test_a_large_mean_does_not_cost_the_digits_of_what_is_around_it(offset):
    matrix = ratings(5)
    shifted = matrix.copy()
    shifted.data += offset
    plain, far = (RidgeALS(3, 0.5, 6, threads=1).fit(given) for given in (matrix, shifted))
    np.testing.assert_allclose(far.user_factors_, plain.user_factors_, atol=2e-3)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("size", [1e20, 1e30, 1e37, 1e50])
def test_a_confidence_beyond_the_arithmetic_is_refused_or_right(solver, size):
    matrix = ratings(6) * size
    model = ImplicitALS(3, 1.0, 5, alpha=1.0, solver=solver, threads=1)
    if not refusal_of(model, matrix):
        assert model.history_[-1].objective == pytest.approx(implicit_objective(model, matrix), rel=1e-2)
    model = ImplicitALS(3, 1.0, 5, alpha=1.0, solver=solver, threads=1, dtype="float64").fit(matrix)
    assert np.isfinite(model.user_factors_).all()


@pytest.mark.parametrize("model", [RidgeALS(2, 1.0), RidgeALS(2, 1.0, biases=False, dtype="float64")])
def test_squares_that_overflow_are_refused(model):
    with pytest.raises(UsageError, match="squares are finite"):
        model.fit(ratings(0) * 1e160)


@pytest.mark.parametrize("model", [RidgeALS(3, 1.0), SGD(3), ImplicitALS(3)])
def test_users_and_items_without_ratings_have_no_factors(model):
    dense = ratings(2).toarray()
    dense[4], dense[:, 7] = 0, 0
    for solver in ("cholesky", "cg") if hasattr(model, "solver") else ("",):
        model.solver = solver
        model.fit(sparse.csr_array(dense))
        assert not model.user_factors_[4].any()
        assert not model.item_factors_[7].any()
        for biases, place in ((model.user_biases_, 4), (model.item_biases_, 7)):
            assert biases is None or biases[place] == 0
