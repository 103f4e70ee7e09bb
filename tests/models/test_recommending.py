"""Recommendations and similarities against a sort of the whole table, for one and for many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from coded_als.cli.scored_together import ScoredTogether, rank_together
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import seen_pattern
from coded_als.models.recommending import NewUsers, Ranking
from coded_als.models.top_n import best_of, top_n
from tests.strategies import seeds

USERS, ITEMS = 7, 9


class Model(FactorModel):
    """Factors of small whole numbers, so that ties abound; new users get the sum of what they rated."""

    kind = "a model of the tests"

    def __init__(self, seed: int = 0, biased: bool = True, textual: bool = True) -> None:
        self.seed, self.biased, self.textual = seed, biased, textual
        rng = np.random.default_rng(seed)
        seen = rng.random((USERS, ITEMS)) < 0.3
        seen[:, 0] |= ~seen.any(axis=1)
        self._keep(
            rng.integers(-2, 3, (USERS, 2)).astype(np.float64),
            rng.integers(-2, 3, (ITEMS, 2)).astype(np.float64),
            user_biases=rng.integers(3, size=USERS) * 1.0 if biased else None,
            item_biases=rng.integers(3, size=ITEMS) * 1.0 if biased else None,
            global_mean=3.0 if biased else 0.0,
            seen=seen_pattern(csr_array(seen * 1.0)),
        )
        users, items = rng.permutation(USERS), rng.permutation(ITEMS) * 10
        self.set_ids([f"u{user}" for user in users] if textual else users, items)

    def fold_in(self, ratings: Any) -> NewUsers:
        if isinstance(ratings, dict):
            columns, values = self._rated(ratings)
            ratings = csr_array((values, columns, [0, len(columns)]), shape=(1, ITEMS))
        return NewUsers(ratings @ self.item_factors_, np.ones(ratings.shape[0]) if self.biased else None)


def table(model: Model, users: np.ndarray | None = None, biases: Any = None) -> np.ndarray:
    users = model.user_factors_ if users is None else users
    biases = model.user_biases_ if biases is None else biases
    scores = users @ model.item_factors_.T + model.global_mean_
    return scores + biases[:, None] + model.item_biases_ if model.biased else scores


def expected(scores: np.ndarray, left: list[int], n: int) -> list[int]:
    """The definition: best score first, of equal ones the lower column."""
    return sorted(left, key=lambda column: (-scores[column], column))[:n]


def check(model: Model, found: Ranking, scores: np.ndarray, left: list[int], n: int, *, padded: bool) -> None:
    columns = expected(scores, left, n)
    wanted_ids, wanted = model.item_ids[columns].tolist(), scores[columns].tolist()
    if padded:
        n = min(n, ITEMS)
        wanted_ids, wanted = wanted_ids + [-1] * (n - len(columns)), wanted + [-np.inf] * (n - len(columns))
    assert found.ids.tolist() == wanted_ids
    assert found.scores == pytest.approx(wanted)


options = {
    "seed": seeds,
    "biased": st.booleans(),
    "textual": st.booleans(),
    "n": st.integers(1, 12),
    "filter_seen": st.booleans(),
    "exclude": st.lists(st.integers(0, ITEMS), max_size=3),
    "items": st.none() | st.lists(st.integers(0, ITEMS - 1), max_size=9),
}


@settings(max_examples=60)
@given(**options)
def test_one_user_and_many_get_the_sorted_table(
    seed: int, biased: bool, textual: bool, n: int, filter_seen: bool, exclude: list[int], items: list[int] | None
) -> None:
    model = Model(seed % 1000, biased, textual)
    known = [10 * place for place in exclude] + ["unknown", str(10 * exclude[0]) if exclude else 7]
    choice = None if items is None else [10 * place for place in items]
    given_: dict[str, Any] = {"n": n, "filter_seen": filter_seen, "exclude": known, "items": choice}
    many = model.recommend(model.user_ids, **given_)
    assert many.ids.shape == many.scores.shape == (USERS, min(n, ITEMS))
    assert model.seen_ is not None
    for row, user in enumerate(model.user_ids.tolist()):
        left = [
            column
            for column, item in enumerate(model.item_ids.tolist())
            if item not in known
            and (choice is None or item in choice)
            and not (filter_seen and model.seen_.toarray()[row, column])
        ]
        check(model, model.recommend(user, **given_), table(model)[row], left, n, padded=False)
        check(model, Ranking(many.ids[row], many.scores[row]), table(model)[row], left, n, padded=True)


@settings(max_examples=40)
@given(**options)
def test_new_users_too(
    seed: int, biased: bool, textual: bool, n: int, filter_seen: bool, exclude: list[int], items: list[int] | None
) -> None:
    model = Model(seed % 1000, biased, textual)
    rng = np.random.default_rng(seed)
    ratings = csr_array(np.where(rng.random((3, ITEMS)) < 0.4, rng.integers(1, 6, (3, ITEMS)), 0) + 0.0)
    choice = None if items is None else [10 * place for place in items]
    given_: dict[str, Any] = {
        "n": n, "filter_seen": filter_seen, "exclude": [10 * place for place in exclude], "items": choice
    }  # fmt: skip
    many = model.recommend_new(ratings, **given_)
    scores = table(model, ratings @ model.item_factors_, np.ones(3))
    for row in range(3):
        rated = ratings.toarray()[row]
        left = [
            column
            for column, item in enumerate(model.item_ids.tolist())
            if item not in given_["exclude"]
            and (choice is None or item in choice)
            and not (filter_seen and rated[column])
        ]
        check(model, Ranking(many.ids[row], many.scores[row]), scores[row], left, n, padded=True)
        own = {item: rating for item, rating in zip(model.item_ids.tolist(), rated.tolist(), strict=True) if rating}
        if own:
            check(model, model.recommend_new(own, **given_), scores[row], left, n, padded=False)


@pytest.mark.parametrize("kind", ["items", "users"])
@pytest.mark.parametrize("seed", range(5))
def test_similar_ones_are_those_of_the_largest_cosines(kind: str, seed: int) -> None:
    model = Model(seed)
    factors, ids = (model.item_factors_, model.item_ids) if kind == "items" else (model.user_factors_, model.user_ids)
    factors[1] = 0
    ask = model.similar_items if kind == "items" else model.similar_users
    many = ask(ids, 99)
    assert many.ids.shape == (len(ids), len(ids))
    for place, one in enumerate(ids.tolist()):
        cosines = []
        for other in range(len(ids)):
            lengths = np.linalg.norm(factors[place]) * np.linalg.norm(factors[other])
            cosines.append(factors[place] @ factors[other] / lengths if lengths else 0.0)
        found = ask(one, 3)
        order = sorted((other for other in range(len(ids)) if other != place), key=lambda other: -cosines[other])
        assert found.scores == pytest.approx([cosines[other] for other in order[:3]])
        assert one not in found.ids.tolist()
        of_id = dict(zip(ids.tolist(), cosines, strict=True))
        assert [of_id[other] for other in found.ids.tolist()] == pytest.approx(found.scores)
        assert len(ask(one, 99).ids) == len(ids) - 1
        assert many.scores[place, : len(ids) - 1] == pytest.approx(sorted((cosines[o] for o in order), reverse=True))
        assert (many.ids[place, len(ids) - 1 :] == ("" if kind == "users" else -1)).all()


def test_nobody_and_nothing() -> None:
    model = Model()
    assert model.recommend([], 3).ids.shape == (0, 3)
    assert model.similar_items([], 3).ids.shape == (0, 3)
    assert model.recommend(model.user_ids[0], 3, items=[]).ids.shape == (0,)
    assert model.recommend(model.user_ids[:2], 3, items=[]).ids.shape == (2, 3)
    ids, scores = model.recommend(model.user_ids[0])
    assert ids.shape == scores.shape


@settings(max_examples=100)
@given(
    scores=st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 1.5]) | st.floats(-3, 3), min_size=1, max_size=20),
    n=st.integers(1, 25),
)
def test_the_best_of_one_row_are_those_of_the_table(scores: list[float], n: int) -> None:
    row = np.array(scores)
    columns, values = best_of(row.copy(), n)
    wanted, of_them = top_n(row[None, :], n)
    assert columns.tolist() == [column for column in wanted[0].tolist() if column >= 0]
    assert values.tolist() == [value for value in of_them[0].tolist() if value > -np.inf]


def test_scores_that_are_not_linear_in_the_ratings_are_not_explained():
    with pytest.raises(UsageError, match=r"linear in the ratings .* that of Model is not"):
        Model().explain({10: 2.0}, 0)


@given(seeds, st.booleans(), st.integers(1, 12))
@settings(max_examples=30)
def test_lists_of_a_server_are_those_of_the_model(seed: int, biased: bool, n: int) -> None:
    plain, served = Model(seed, biased), Model(seed, biased)
    rank_together(served)
    item = plain.item_ids.item(seed % ITEMS)
    for ask in (
        lambda model: [model.recommend(user, n) for user in model.user_ids.tolist()],
        lambda model: [model.recommend_new({item: 2.0}, n, exclude=model.item_ids[:2].tolist())],
        lambda model: [model.similar_items(item, n)],
    ):
        for expected_list, found in zip(ask(plain), ask(served), strict=True):
            np.testing.assert_allclose(found.scores, expected_list.scores, rtol=1e-12, atol=1e-12)
            if ask(plain)[0].scores.size and not np.isclose(expected_list.scores, np.rint(expected_list.scores)).all():
                continue  # equal cosines that differ in rounding
            np.testing.assert_array_equal(found.ids, expected_list.ids)


def test_a_server_ranks_in_float64_where_float32_cannot_tell() -> None:
    model = Model(0, biased=False)
    items = np.ones((ITEMS, 2)) * 1e3
    items[:, 1] += np.arange(ITEMS) * 1e-6
    model._keep(np.ones((USERS, 2)), items)
    rank_together(model)
    assert model.recommend(0, 3).ids.tolist() == [ITEMS - 1, ITEMS - 2, ITEMS - 3]


def test_threads_that_wait_are_answered_in_one_product() -> None:
    generator = np.random.default_rng(0)
    users, items = generator.standard_normal((40, 8)), generator.standard_normal((5000, 8))
    together, best = ScoredTogether(items, None), (users @ items.T).argmax(axis=1)
    with ThreadPoolExecutor(40) as threads:
        with together._turn:  # as while an earlier product runs
            asked = [threads.submit(together.best, user, best[[row]], 5) for row, user in enumerate(users)]
            while len(together._waiting) < len(users):
                threading.Event().wait(0.001)
        found = [one.result()[0] for one in asked]
    for number, columns in enumerate(found):
        scores = items @ users[number]
        scores[best[number]] = -np.inf
        np.testing.assert_array_equal(columns, np.argsort(-scores)[:5])
    assert together.products <= 4


def test_numbers_beyond_float32_are_ranked_as_ever() -> None:
    model = Model(0, biased=False)
    model._keep(np.ones((USERS, 2)), np.full((ITEMS, 2), 1e200))
    rank_together(model)
    assert np.isfinite(model.recommend(0, 2).scores).all()
