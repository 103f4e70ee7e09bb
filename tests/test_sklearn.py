"""The scikit-learn adapter in scikit-learn's own tools."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from coded_als.errors import UsageError
from coded_als.sklearn import Factorization

RATINGS = np.random.default_rng(0).standard_normal((30, 4)) @ np.random.default_rng(1).standard_normal((4, 20))


def test_fit_transform_and_back():
    adapter = Factorization(rank=4)
    users = adapter.fit_transform(RATINGS)
    np.testing.assert_allclose(adapter.inverse_transform(users), RATINGS, atol=1e-8)
    np.testing.assert_allclose(adapter.model_.user_factors_, users, atol=1e-8)
    assert adapter.components_.shape == (4, 20)
    assert adapter.score(RATINGS) == pytest.approx(0.0, abs=1e-8)


def test_a_search_finds_the_rank():
    search = GridSearchCV(Factorization(), {"rank": [1, 2, 4]}, cv=3).fit(RATINGS)
    assert search.best_params_ == {"rank": 4}


def test_it_clones_and_runs_in_a_pipeline():
    adapter = clone(Factorization(method="coded", rank=2, parameters={"partitions": 2}))
    pipeline = make_pipeline(FunctionTransformer(np.abs), adapter)
    assert pipeline.fit_transform(RATINGS).shape == (30, 2)


@pytest.mark.parametrize("method", ["ridge", "implicit"])
def test_sparse_methods(method):
    ratings = sparse.csr_array(np.abs(RATINGS) * (np.random.default_rng(2).random(RATINGS.shape) < 0.5))
    adapter = Factorization(method=method, rank=3).fit(ratings)
    assert adapter.transform(ratings).shape[0] == 30


def test_an_unknown_method_is_named():
    with pytest.raises(UsageError, match="method must be one of coded, ridge"):
        Factorization(method="magic").fit(RATINGS)
