"""Sparse fits that were interrupted and go on, here and on workers: the same factors, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from coded_als import BPR, SGD, WARP, Checkpoint, ImplicitALS, InlineCluster, RidgeALS, SimulatedCluster, UsageError
from coded_als.baselines import fit_on_cluster
from coded_als.baselines.distributed import FirstCopy, Partial, StragglerPolicy, WaitForAll
from coded_als.models.training import Iteration

RATINGS = sparse.random_array((40, 30), density=0.3, rng=np.random.default_rng(0), format="csr")
MODELS: dict[str, tuple[type, dict[str, Any]]] = {
    "ridge": (RidgeALS, {}),
    "ridge, cg": (RidgeALS, {"solver": "cg"}),
    "implicit": (ImplicitALS, {"dtype": "float64"}),
    "sgd": (SGD, {}),
    "bpr": (BPR, {"dtype": "float64"}),
    "warp": (WARP, {}),
}


class Killed(Exception):
    """Ends a fit."""


class At:
    """A callback that ends a fit at an iteration."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, entry: Iteration) -> None:
        if entry.index == self.index:
            raise Killed


def assert_same(fitted: Any, whole: Any) -> None:
    assert np.array_equal(fitted.user_factors_, whole.user_factors_)
    assert np.array_equal(fitted.item_factors_, whole.item_factors_)
    assert [entry.objective for entry in fitted.history_] == [entry.objective for entry in whole.history_]
    assert [entry.index for entry in fitted.history_] == list(range(1, len(whole.history_) + 1))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("at", "every"), [(1, 1), (4, 1), (4, 3), (6, 5)])
def test_an_interrupted_fit_reaches_the_same_factors(tmp_path: Path, name: str, at: int, every: int) -> None:
    kind, options = MODELS[name]
    whole = kind(rank=4, iterations=6, **options).fit(RATINGS)
    with pytest.raises(Killed):
        kind(rank=4, iterations=6, **options).fit(
            RATINGS, callback=At(at), checkpoint=Checkpoint(tmp_path, every=every)
        )
    checkpoint, told = Checkpoint(tmp_path, every=every, resume=True), []
    fitted = kind(rank=4, iterations=6, **options).fit(RATINGS, callback=told.append, checkpoint=checkpoint)
    assert_same(fitted, whole)
    # the iteration whose end could not be told of is done again, and no other
    assert len(told) == 6 - (at - 1)


@pytest.mark.parametrize("policy", [WaitForAll(), FirstCopy(2)])
def test_a_fit_on_workers_goes_on(tmp_path: Path, policy: StragglerPolicy) -> None:
    def fit(callback: Any = None, checkpoint: Checkpoint | None = None) -> RidgeALS:
        with InlineCluster(6, delays="exp:mean=1ms") as cluster:
            model = RidgeALS(rank=3, iterations=5, biases=False)
            return fit_on_cluster(model, RATINGS, cluster, policy, callback=callback, checkpoint=checkpoint)

    whole = fit()
    with pytest.raises(Killed):
        fit(At(3), Checkpoint(tmp_path))
    assert_same(fit(checkpoint=Checkpoint(tmp_path, resume=True)), whole)


def test_skipped_shards_stay_skipped(tmp_path: Path) -> None:
    def fit(delays: str, iterations: int, resume: bool) -> RidgeALS:
        with SimulatedCluster(4, delays=delays) as cluster:
            model = RidgeALS(rank=3, iterations=iterations, biases=False)
            checkpoint = Checkpoint(tmp_path, resume=resume)
            return fit_on_cluster(model, RATINGS, cluster, Partial(3, max_skips=2), checkpoint=checkpoint)

    # one is late by so much that it is only there where it must be: in the first round, and after two missed
    fit("slow:n=1,delay=1s", 2, resume=False)
    seconds = [entry.seconds for entry in fit("slow:n=1,delay=1s", 4, resume=True).history_]
    assert [spent > 0.5 for spent in seconds] == [True, False, False, True]


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    RidgeALS(rank=3, iterations=2, biases=False).fit(RATINGS, checkpoint=Checkpoint(tmp_path))
    again = Checkpoint(tmp_path, resume=True)
    for model, ratings, name in (
        (RidgeALS(rank=4, iterations=2, biases=False), RATINGS, "rank"),
        (ImplicitALS(rank=3, iterations=2), RATINGS, "method"),
        (RidgeALS(rank=3, iterations=2, biases=False), RATINGS * 2, "data"),
        (RidgeALS(rank=3, iterations=2, biases=False), RATINGS[:, :-1], "data"),
    ):
        with pytest.raises(UsageError, match=f"the same fit; .* has {name} ="):
            model.fit(ratings, checkpoint=again)
    with InlineCluster(2) as cluster, pytest.raises(UsageError, match="has policy ="):
        fit_on_cluster(RidgeALS(rank=3, iterations=2, biases=False), RATINGS, cluster, checkpoint=again)


def test_iterations_may_be_raised_and_not_lowered(tmp_path: Path) -> None:
    SGD(rank=3, iterations=2).fit(RATINGS, checkpoint=Checkpoint(tmp_path))
    again = Checkpoint(tmp_path, resume=True)
    with pytest.raises(UsageError, match="iterations must be at least the 2"):
        SGD(rank=3, iterations=1).fit(RATINGS, checkpoint=again)
    assert_same(SGD(rank=3, iterations=5).fit(RATINGS, checkpoint=again), SGD(rank=3, iterations=5).fit(RATINGS))
