"""Fits on virtual devices against the compiled models of one machine, and against the formulas."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import COUNTS, ODD, SETTINGS, fitted, ratings

from coded_als import ImplicitALS, RidgeALS, UsageError, load_model
from coded_als.models.checkpoint import Checkpoint
from coded_als.sharded import ShardedALS

EXPLICIT = {
    "loss": "explicit",
    "regularization": 2.0,
    "bias_regularization": 0.5,
    "regularization_scaling": "count",
    **ODD,
}


def same(model, reference, objective=1e-5, factors=1e-3):
    for mine, theirs in zip(model.history_, reference.history_, strict=True):
        assert mine.objective == pytest.approx(theirs.objective, rel=objective)
    assert np.abs(model.user_factors_ - reference.user_factors_).max() < factors
    assert np.abs(model.item_factors_ - reference.item_factors_).max() < factors


@pytest.mark.parametrize("devices", COUNTS)
def check_implicit_is_that_of_one_machine(devices):
    model = fitted(devices)
    same(model, ImplicitALS(6, iterations=4, seed=3).fit(ratings()))
    same(model, fitted(1), factors=1e-5)
    assert not model.user_factors_[7].any()
    assert not model.item_factors_[11].any()


def check_explicit_is_that_of_one_machine():
    model = fitted(8, **EXPLICIT)
    reference = RidgeALS(6, 2.0, 4, bias_regularization=0.5, regularization_scaling="count", seed=3).fit(ratings())
    same(model, reference)
    assert np.abs(model.item_biases_ - reference.item_biases_).max() < 1e-3
    assert model.global_mean_ == pytest.approx(reference.global_mean_)
    assert model.predict(3, 4) == pytest.approx(reference.predict(3, 4), abs=1e-4)


def check_few_gradient_steps_are_those_of_one_machine():
    # the compiled model takes steps on users without entries too, which here are zero after the first half-step
    reference = ImplicitALS(6, iterations=4, solver="cg", seed=3).fit(ratings())
    model = fitted(8, solver="cg", **ODD)
    some = np.diff(ratings().indptr) > 0
    assert model.history_[-1].objective == pytest.approx(reference.history_[-1].objective, rel=1e-4)
    assert np.abs(model.user_factors_ - reference.user_factors_)[some].max() < 1e-3


def check_many_gradient_steps_are_an_exact_solution():
    same(fitted(8, solver="cg", cg_steps=30, **ODD), fitted(2), factors=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def check_the_objective_is_that_of_the_stored_factors(dtype):
    model = fitted(8) if dtype == "float32" else fitted(8, table_dtype=dtype, **ODD)
    seen, scores = ratings().toarray() > 0, model.user_factors_.astype(float) @ model.item_factors_.T.astype(float)
    expected = np.sum((1 - scores[seen]) ** 2) + 0.1 * np.sum(scores**2)
    for factors, counts, others in (
        (model.user_factors_, seen.sum(1), seen.shape[1]),
        (model.item_factors_, seen.sum(0), seen.shape[0]),
    ):
        expected += 0.005 * np.sum((counts + 0.1 * others) * np.sum(factors.astype(float) ** 2, axis=1))
    assert model.history_[-1].objective == pytest.approx(expected, rel=1e-5)


def check_half_precision_is_near():
    model, exact = fitted(8, table_dtype="bfloat16", **ODD), fitted(8)
    assert model.history_[-1].objective == pytest.approx(exact.history_[-1].objective, rel=1e-3)
    rounded = model.user_factors_.view(np.uint32) & 0xFFFF
    assert not rounded.any()


def check_fold_in_is_one_more_half_step():
    model = fitted(2)
    assert np.abs(model.fold_in(ratings()).factors - model.user_factors_).max() < 1e-5
    explicit = fitted(8, **EXPLICIT)
    folded = explicit.fold_in(ratings())
    assert np.abs(folded.factors - explicit.user_factors_).max() < 1e-4
    assert np.abs(folded.biases - explicit.user_biases_).max() < 1e-4


def check_a_saved_model_comes_back(tmp_path):
    model = fitted(2)
    model.save(tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert isinstance(loaded, ShardedALS)
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_
    assert loaded.recommend(3).ids.tolist() == model.recommend(3).ids.tolist()
    assert np.array_equal(loaded.fold_in({1: 1.0}).factors, model.fold_in({1: 1.0}).factors)


def check_more_devices_than_there_are():
    with pytest.raises(UsageError, match="at most the 8 that JAX finds"):
        ShardedALS(devices=9).fit(ratings())


def check_what_is_told_while_fitting():
    model = fitted(1)
    assert model.told == model.history_
    assert [entry.index for entry in model.told] == [1, 2, 3, 4]
    values = [entry.objective for entry in model.told]
    assert sorted(values, reverse=True) == values


def check_a_fit_goes_on_from_its_checkpoint_on_other_devices(tmp_path):
    ShardedALS(devices=8, **{**SETTINGS, "iterations": 2}).fit(ratings(), checkpoint=Checkpoint(tmp_path))
    told = []
    resumed = ShardedALS(devices=1, **SETTINGS).fit(
        ratings(), callback=told.append, checkpoint=Checkpoint(tmp_path, resume=True)
    )
    assert [entry.index for entry in told] == [3, 4]
    same(resumed, fitted(1), factors=1e-5)
    with pytest.raises(UsageError, match="iterations must be at least the 4 that the checkpoint has"):
        ShardedALS(**{**SETTINGS, "iterations": 3}).fit(ratings(), checkpoint=Checkpoint(tmp_path, resume=True))
    for other in ({"rank": 5}, {"table_dtype": "bfloat16"}, {"seed": 4}):
        with pytest.raises(UsageError, match="must be of the same fit"):
            ShardedALS(**{**SETTINGS, **other}).fit(ratings(), checkpoint=Checkpoint(tmp_path, resume=True))
    with pytest.raises(UsageError, match="must be of the same fit"):
        ShardedALS(**SETTINGS).fit(2 * ratings(), checkpoint=Checkpoint(tmp_path, resume=True))


@pytest.mark.parametrize("loss", [{}, EXPLICIT], ids=["implicit", "explicit"])
def check_a_score_is_its_base_and_what_each_rating_adds(loss):
    model = fitted(1, **loss)
    rated = {2: 4.0, 9: 1.0, 5: 2.5}
    score = model.score_new(model.fold_in(rated))[0, 3]
    found = model.explain(rated, 3)
    assert found.score == pytest.approx(score, rel=1e-4, abs=1e-5)
    assert found.base + found.contributions.sum() == pytest.approx(found.score)
    # linear in the ratings: what one adds is what the score loses when its target falls by as much
    if loss:
        more = model.explain(rated | {9: 1.5}, 3)
        share = dict(zip(found.ids.tolist(), found.contributions, strict=True))[9]
        bias = model.item_biases_[9] + model.global_mean_
        assert more.score - found.score == pytest.approx(0.5 * share / (1.0 - bias), rel=1e-6)
    with pytest.raises(UsageError, match="a score must come from ratings"):
        model.explain({}, 3)
