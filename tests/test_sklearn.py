"""The scikit-learn adapter: its own conventions, kept, and searches that do not reward bending."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from coded_als import RidgeALS
from coded_als.checks import seed_of_state
from coded_als.errors import UsageError
from coded_als.evaluation import held_out_auc, held_out_rmse
from coded_als.models.rating_matrix import as_matrix
from coded_als.sklearn import Factorization, ranking_score, rating_score

RATINGS = np.random.default_rng(0).standard_normal((30, 4)) @ np.random.default_rng(1).standard_normal((4, 20))


def interactions(seed, shape=(40, 25), density=0.3):
    return (np.random.default_rng(seed).random(shape) < density).astype(float)


@pytest.mark.parametrize(("method", "rank"), [("coded", 2), ("sgd", 1), ("bpr", 1)])
def test_scikit_learn_has_nothing_to_complain_of(method, rank):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scikit-learn itself warns of
        results = check_estimator(Factorization(method, rank=rank), on_fail=None)
    assert {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"} == {}
    assert len(results) > 40


def test_fit_transform_and_back():
    adapter = Factorization(rank=4)
    users = adapter.fit_transform(RATINGS)
    np.testing.assert_allclose(adapter.inverse_transform(users), RATINGS, atol=1e-8)
    np.testing.assert_allclose(adapter.model_.user_factors_, users, atol=1e-8)
    assert adapter.components_.shape == (4, 20)
    assert adapter.get_feature_names_out().tolist() == [f"factorization{k}" for k in range(4)]


@pytest.mark.parametrize("method", ["ridge", "sgd"])
def test_biases_of_users_survive_the_way_there_and_back(method):
    ratings = np.where(interactions(3), 3 + np.random.default_rng(4).standard_normal((40, 25)), 0)
    ratings[:, 0] = 2.0
    adapter = Factorization(method, rank=3, parameters={"iterations": 10}).fit(ratings)
    columns = adapter.transform(ratings)
    assert columns.shape == (40, 4)
    assert columns.shape[1] == len(adapter.get_feature_names_out())
    expected = adapter.model_.score_new(adapter.model_.fold_in(sparse.csr_array(ratings)))
    np.testing.assert_allclose(adapter.inverse_transform(columns), expected, rtol=1e-6)
    with pytest.raises(UsageError, match=r"X must be \(k, 4\); got \(40, 3\)"):
        adapter.inverse_transform(columns[:, :3])


@pytest.mark.parametrize(
    "as_given",
    [np.asarray, np.ndarray.tolist, sparse.coo_array, sparse.csr_matrix, sparse.csc_array, sparse.lil_array],
    ids=["array", "list", "coo", "csr", "csc", "lil"],
)
@pytest.mark.parametrize("method", ["coded", "ridge"])
def test_every_way_of_giving_the_same_ratings(method, as_given):
    ratings = interactions(1) * 3
    expected = Factorization(method, rank=2).fit(ratings)
    adapter = Factorization(method, rank=2).fit(as_given(ratings))
    difference = np.linalg.norm(approximation(adapter, as_given(ratings)) - approximation(expected, ratings))
    assert difference <= (reach(ratings, 2) if method == "coded" else 1e-5)
    if method == "coded":
        assert adapter.model_.objective_ == pytest.approx(expected.model_.objective_, rel=2 * 5e-9)
    assert adapter.n_features_in_ == 25
    assert np.isfinite(adapter.score(as_given(ratings)))


def approximation(adapter, ratings):
    """The ratings as a fit sees them: its factors may be turned and mirrored, this may not."""
    return adapter.inverse_transform(adapter.transform(ratings))


def reach(ratings, rank, tolerance=5e-9):
    """How far apart the approximations of two fits can be whose objectives are proved to be that near to the optimum.

    A subspace at sines s to the best one adds at least gap |s|^2 to the objective, with gap between the squared singular
    values that it parts, and its projection is at sqrt(2) |s| from the best one (Frobenius norms).
    """
    squares = np.linalg.svd(ratings, compute_uv=False) ** 2
    sines = np.sqrt(tolerance * squares[rank:].sum() / (squares[rank - 1] - squares[rank]))
    return 2 * np.sqrt(2 * squares[0]) * sines


def test_what_is_masked_is_not_learned():
    masked = np.ma.masked_array(RATINGS.copy(), mask=interactions(5, RATINGS.shape) > 0)
    masked.data[masked.mask] = 1e9
    users = Factorization("ridge", rank=2).fit_transform(masked)
    assert np.abs(users).max() < 100


@pytest.mark.parametrize("method", ["coded", "implicit"])
def test_rows_without_ratings_are_nobody_in_particular(method):
    adapter = Factorization(method, rank=2).fit(interactions(1))
    np.testing.assert_array_equal(adapter.transform(np.zeros((3, 25))), np.zeros((3, 2)))


def test_a_search_finds_the_rank():
    search = GridSearchCV(Factorization(), {"rank": [1, 2, 4]}, cv=3).fit(RATINGS)
    assert search.best_params_ == {"rank": 4}


@pytest.mark.parametrize("seed", range(3))
def test_a_search_on_noise_does_not_take_the_largest_rank(seed):
    noise = np.random.default_rng(seed).standard_normal((60, 25))
    search = GridSearchCV(Factorization(), {"rank": [1, 2, 8, 16]}, cv=3).fit(noise)
    assert search.best_params_["rank"] <= 2
    assert np.diff(search.cv_results_["mean_test_score"])[1:].max() < 0


def test_scores_are_of_what_was_left_out():
    """One row, two ratings: one of them is left out, and the score is how far its prediction is from it."""
    training = np.where(interactions(2), 4.0, 0.0) + np.where(interactions(6), 1.0, 0.0)
    model = RidgeALS(2, 1.0, dtype="float64").fit(sparse.csr_array(training))
    row = sparse.csr_array(([5.0, 1.0], ([0, 0], [3, 8])), shape=(1, 25))
    possible = [abs(model.score_new(model.fold_in({known: rating}))[0, left_out] - truth)
                for known, rating, left_out, truth in ((3, 5.0, 8, 1.0), (8, 1.0, 3, 5.0))]  # fmt: skip
    assert min(abs(held_out_rmse(model, row) - one) for one in possible) < 1e-12
    assert rating_score(Factorization("ridge", 2).fit(training), training) < 0


class Taste:
    """A model whose every user has the same scores of the items."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, dtype=float)

    def fold_in(self, rows):
        return rows

    def score_new(self, rows):
        return np.tile(self.scores, (rows.shape[0], 1))


def test_the_ranking_score_counts_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        table, scores = as_matrix(interactions(rng.integers(99), (6, 9), 0.5)), rng.integers(4, size=9).astype(float)
        seen = []

        class Watching(Taste):
            def fold_in(self, rows, seen=seen):
                seen.append(rows)
                return rows

        found = held_out_auc(Watching(scores), table)
        chances = []
        full, kept = np.asarray(table), seen[0].toarray()
        for all_of_it, known in zip(full, kept, strict=True):
            left_out, missing = scores[(all_of_it > 0) & (known == 0)], scores[all_of_it == 0]
            assert len(left_out) == (max(1, round(0.2 * sum(all_of_it > 0))) if sum(all_of_it > 0) > 1 else 0)
            pairs = [(a > b) + 0.5 * (a == b) for a in left_out for b in missing]
            chances += [np.mean(pairs)] if pairs else []
        assert found == pytest.approx(np.mean(chances))


def test_a_ranking_without_anything_to_compare_is_chance():
    assert held_out_auc(Taste(range(4)), np.ones((3, 4))) == 0.5
    with pytest.raises(UsageError, match="two or more"):
        held_out_auc(Taste(range(4)), np.eye(4))


def test_methods_that_rank_are_scored_by_ranking():
    # some of one group like what the other does: between groups apart one vector would rank by its rounding alone
    apart = np.kron(np.eye(2), np.ones((20, 12))) * interactions(0, (40, 24), 0.7)
    two_groups = np.maximum(apart, interactions(1, (40, 24), 0.1))
    adapter = Factorization("implicit", rank=2).fit(two_groups)
    assert adapter.score(two_groups) == ranking_score(adapter, two_groups) > 0.7
    search = GridSearchCV(
        Factorization("coded"), {"rank": [1, 2]}, cv=3, scoring={"rank": ranking_score, "rating": rating_score}, refit="rank"
    ).fit(two_groups)  # fmt: skip
    assert search.best_params_ == {"rank": 2}


def test_it_clones_and_runs_in_a_pipeline():
    adapter = clone(Factorization(method="coded", rank=2, parameters={"partitions": 2}))
    pipeline = make_pipeline(FunctionTransformer(np.abs), adapter)
    assert pipeline.fit_transform(RATINGS).shape == (30, 2)


def test_what_is_refused():
    with pytest.raises(UsageError, match="method must be one of coded, ridge"):
        Factorization(method="magic").fit(RATINGS)
    with pytest.raises(NotFittedError):
        Factorization().transform(RATINGS)
    with pytest.raises(ValueError, match="19 features, but Factorization is expecting 20"):
        Factorization(rank=2).fit(RATINGS).transform(RATINGS[:, :19])


def test_held_out_scores_choose_in_a_search_as_the_scorers_do():
    ratings = np.where(np.random.default_rng(3).random((40, 20)) < 0.6, np.tile(RATINGS, (2, 1))[:40] + 3, 0)
    grid = {"rank": [1, 2, 8], "regularization": [0.1, 5.0]}
    for mine, own, method in ((held_out_rmse, rating_score, "ridge"), (held_out_auc, ranking_score, "implicit")):
        searches = [
            GridSearchCV(Factorization(method), grid, scoring=scorer, cv=2, error_score="raise").fit(ratings)
            for scorer in (mine, own, None)
        ]
        figures = [search.cv_results_["mean_test_score"] for search in searches]
        assert np.isfinite(figures).all()
        np.testing.assert_allclose(figures[0], figures[1])
        np.testing.assert_allclose(figures[0], figures[2])
        assert searches[0].best_params_ == searches[1].best_params_
    model = searches[0].best_estimator_.model_
    assert held_out_rmse(model, ratings) == -held_out_rmse(searches[0].best_estimator_, ratings) > 0


def test_a_random_state_is_a_number_or_a_source_by_the_rules_of_scikit_learn():
    assert seed_of_state(5) == 5
    assert (
        seed_of_state(np.random.RandomState(1))
        == seed_of_state(np.random.RandomState(1))
        == np.random.RandomState(1).randint(2**31)
    )
    assert seed_of_state(None) != seed_of_state(None)
    state = np.random.RandomState(1)
    fitted = Factorization(rank=2, random_state=state).fit(RATINGS)
    assert fitted.random_state is state
    with pytest.raises(UsageError, match="random_state must be a whole number"):
        Factorization(random_state="7").fit(RATINGS)
    assert fitted.model_.seed == seed_of_state(np.random.RandomState(1))
