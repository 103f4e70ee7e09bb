"""Weights of ratings, and negative evidence: the last half-step against dense normal equations, and the objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import BPR, SGD, Checkpoint, ImplicitALS, RidgeALS, UsageError
from tests.strategies import seeds

MODES: dict[str, Any] = {"rendle": {"unobserved_weight": 0.4}, "hu": {"alpha": 2.0, "regularization": 0.7}}


def drawn(seed: int, shape: tuple[int, int] = (13, 9)) -> tuple[sparse.csr_array, np.ndarray]:
    """Ratings, some negative, and weights, some zero."""
    generator = np.random.default_rng(seed)
    values = generator.integers(-2, 5, shape) + 0.5
    stored = generator.random(shape) < 0.4
    stored[0, 0] = True
    weights = np.where(generator.random(shape) < 0.3, 0.0, generator.exponential(1.0, shape))
    return sparse.csr_array(np.where(stored, values, 0.0)), weights


@given(seeds, st.sampled_from([*MODES]), st.sampled_from(["cholesky", "cg"]))
@settings(max_examples=25)
def test_confidences_are_those_of_the_dense_loss(seed: int, mode: str, solver: str) -> None:
    ratings, weights = drawn(seed)
    model = ImplicitALS(3, iterations=4, dtype="float64", solver=solver, cg_steps=20, **MODES[mode])
    model.fit(ratings, weights=weights)
    stored, unknown = ratings.toarray() != 0, 1.0 if mode == "hu" else 0.4
    confidence = np.where(stored, weights, unknown)
    wanted = np.where(stored, ratings.toarray() > 0, 0.0)
    users, items = model.user_factors_, model.item_factors_
    counts = [stored.sum(axis=axis) + unknown * stored.shape[axis] for axis in (1, 0)]
    if mode == "hu":
        counts = [np.ones_like(one) for one in counts]
    for row in range(len(users)):
        matrix = items.T @ (confidence[row][:, np.newaxis] * items) + model.regularization * counts[0][row] * np.eye(3)
        exact = np.linalg.solve(matrix, items.T @ (confidence[row] * wanted[row]))
        np.testing.assert_allclose(users[row], exact if stored[row].any() else 0.0, atol=1e-8)
    loss = (confidence * (wanted - users @ items.T) ** 2).sum()
    ridge = sum((count * (side**2).sum(axis=1)).sum() for count, side in zip(counts, (users, items), strict=True))
    objectives = [entry.objective for entry in model.history_]
    assert objectives[-1] == pytest.approx(loss + model.regularization * ridge, rel=1e-9)
    assert (np.diff(objectives) <= 1e-9 * objectives[0]).all()


@given(seeds, st.booleans(), st.booleans())
@settings(max_examples=25)
def test_weights_of_explicit_ratings_are_those_of_the_dense_loss(seed: int, biases: bool, counted: bool) -> None:
    ratings, weights = drawn(seed)
    scaling = "count" if counted else "none"
    model = RidgeALS(3, 0.6, 4, biases=biases, regularization_scaling=scaling, dtype="float64").fit(
        ratings, weights=sparse.csr_array(weights + 1e-300)
    )
    weights = weights + 1e-300
    stored = ratings.toarray() != 0
    users, items = (
        np.column_stack([side, np.ones(len(side))]) if biases else side
        for side in (model.user_factors_, model.item_factors_)
    )
    of_users, of_items = model.user_biases_, model.item_biases_
    rest = ratings.toarray() - model.global_mean_
    if of_users is not None and of_items is not None:
        rest, users = rest - of_items, np.column_stack([model.user_factors_, of_users])
    lengths = [
        np.maximum(stored.sum(axis=axis), 1) if counted else np.ones(len(side))
        for axis, side in ((1, users), (0, items))
    ]
    for row in np.flatnonzero(stored.any(axis=1)):
        held, weight = items[stored[row]], weights[row][stored[row]]
        matrix = held.T @ (weight[:, np.newaxis] * held) + 0.6 * lengths[0][row] * np.eye(items.shape[1])
        exact = np.linalg.solve(matrix, held.T @ (weight * rest[row][stored[row]]))
        np.testing.assert_allclose(users[row], exact, atol=1e-8)
    scores = users @ items.T
    loss = (weights * (rest - scores) ** 2)[stored].sum()
    sides = users, items if of_items is None else np.column_stack([model.item_factors_, of_items])
    ridge = 0.6 * sum((length * (side**2).sum(axis=1)).sum() for length, side in zip(lengths, sides, strict=True))
    assert model.history_[-1].objective == pytest.approx(loss + ridge, rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_weights_change_nothing(dtype: str) -> None:
    ratings = abs(drawn(1)[0])
    ones = np.ones(ratings.shape)
    plain, weighted = (RidgeALS(3, dtype=dtype).fit(ratings, weights=given) for given in (None, ones))
    np.testing.assert_array_equal(plain.user_factors_, weighted.user_factors_)
    confidences = 1 + 2 * ratings.toarray()
    plain, weighted = (
        ImplicitALS(3, alpha=2.0, dtype=dtype).fit(ratings, weights=given) for given in (None, confidences)
    )
    np.testing.assert_allclose(plain.user_factors_, weighted.user_factors_, rtol=1e-3, atol=1e-5)


def test_large_weights_scale_the_objective() -> None:
    ratings, _ = drawn(7)
    usual, large = (
        RidgeALS(3, iterations=4, regularization=scale, biases=False, solver="cholesky", dtype="float64").fit(
            ratings, weights=np.full(ratings.shape, scale)
        )
        for scale in (1.0, 1e200)
    )
    found, expected = ([entry.objective for entry in model.history_] for model in (large, usual))
    np.testing.assert_allclose(np.array(found) / 1e200, expected, rtol=1e-6)


def test_a_rating_of_weight_zero_is_not_there() -> None:
    ratings, weights = drawn(2)
    kept = ratings.toarray() * (weights > 0)
    settings: Any = {"rank": 3, "regularization": 0.5, "dtype": "float64"}
    with_zeros = RidgeALS(**settings).fit(ratings, weights=weights)
    without = RidgeALS(**settings).fit(sparse.csr_array(kept), weights=weights)
    np.testing.assert_allclose(with_zeros.history_[-1].objective, without.history_[-1].objective, rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((2, 2)), "shape"),
        (-np.ones((13, 9)), "not convex"),
        (np.full((13, 9), np.nan), "finite"),
        (sparse.csr_array((13, 9)), "each rating"),
        (np.full((13, 9), "a"), "finite"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RidgeALS(2).fit(drawn(0)[0], weights=weights)


@pytest.mark.parametrize("model", [SGD(2), BPR(2)])
def test_other_methods_refuse_weights(model: Any) -> None:
    with pytest.raises(UsageError, match="weights are for RidgeALS and ImplicitALS"):
        model.fit(abs(drawn(0)[0]), weights=np.ones((13, 9)))


def test_a_fit_with_other_weights_does_not_go_on(tmp_path: Path) -> None:
    ratings, weights = drawn(0)
    RidgeALS(2, iterations=2).fit(ratings, weights=weights, checkpoint=Checkpoint(tmp_path))
    with pytest.raises(UsageError, match="weights"):
        RidgeALS(2, iterations=4).fit(ratings, weights=weights + 1, checkpoint=Checkpoint(tmp_path, resume=True))
