"""Means over the orders of equal scores, against all orders there are; names of items and users without ratings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from coded_als.baselines import ImplicitALS
from coded_als.data import holdout
from coded_als.data.ratings import RatingData, from_triples
from coded_als.errors import UsageError
from coded_als.evaluation import evaluate_ranking, evaluate_strong, recommend_batch
from coded_als.evaluation.metrics import expected_lists
from coded_als.evaluation.rankings import pattern_of
from coded_als.models.factor_model import FactorModel
from coded_als.models.recommending import NewUsers
from tests.strategies import seeds

MEASURES = ("hit_rate", "precision", "recall", "ndcg", "map", "mrr")


class Given(FactorModel):
    """Scores as they are given: factors of items are the scores of all users."""

    kind = "test-given"

    def __init__(self, users: Any, items: Any, biases: Any = None, seen: Any = None) -> None:
        self._keep(users, items, item_biases=biases, seen=seen)

    def fold_in(self, ratings: Any) -> NewUsers:
        return NewUsers(np.repeat(self.user_factors_[:1], ratings.shape[0], axis=0))


def rated(pattern: np.ndarray, users: Any = None, items: Any = None) -> RatingData:
    rows, columns = np.nonzero(pattern)
    m, n = pattern.shape
    users, items = np.arange(m) if users is None else users, np.arange(n) if items is None else items
    return RatingData(csr_array((np.ones(rows.size), (rows, columns)), shape=(m, n)), users, items, "test")


def orders(scores: np.ndarray, seen: np.ndarray, k: int) -> list[list[int]]:
    """The list that each order of all items gives, each with the same chance."""
    left = [item for item in range(scores.size) if not seen[item]]
    return [sorted(order, key=lambda item: -scores[item])[:k] for order in itertools.permutations(left)]


def measured(found: list[int], wanted: set[int], k: int) -> Iterator[float]:
    hits = [item in wanted for item in found]
    yield float(any(hits))
    yield sum(hits) / k
    yield sum(hits) / len(wanted)
    gains = [1 / math.log2(place + 2) for place in range(k)]
    yield sum(gain for gain, hit in zip(gains, hits, strict=False) if hit) / sum(gains[: len(wanted)])
    yield sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit) / min(k, len(wanted))
    yield next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0.0)


@settings(max_examples=120)
@given(seed=seeds, k=st.integers(1, 7), levels=st.integers(1, 4), dtype=st.sampled_from([np.float32, np.float64]))
def test_figures_are_means_over_all_orders_of_equal_scores(seed: int, k: int, levels: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    users, items = 3, 6
    scores = rng.integers(levels, size=(users, items)) / 7
    seen = rng.random((users, items)) < 0.25
    seen[:, 0] |= ~seen.any(axis=1)  # everybody has ratings in training
    pattern = (rng.random((users, items)) < 0.4) & ~seen
    wanted = {user: set(np.flatnonzero(pattern[user]).tolist()) for user in range(users) if pattern[user].any()}
    model = Given(np.eye(users, dtype=dtype), scores.T.astype(dtype), seen=csr_array(seen.astype(np.int8)))
    if not wanted:
        return
    # places past the catalogue hold nothing, and an ideal list is as long as the catalogue
    got = asdict(evaluate_ranking(model, rated(pattern), k, memory_limit_bytes=int(rng.choice([200, 2**20]))))
    width, expected, missed = min(k, items), np.zeros(len(MEASURES)), np.ones(items)
    for user, relevant in wanted.items():
        lists = orders(scores[user], seen[user], width)
        expected += np.mean([list(measured(found, relevant, width)) for found in lists], axis=0) / len(wanted)
        missed *= 1 - np.array([np.mean([item in found for found in lists]) for item in range(items)])
    expected[1] *= width / k
    assert [got[name] for name in MEASURES] == pytest.approx(expected.tolist(), abs=1e-12)
    assert got["coverage"] == pytest.approx(np.mean(1 - missed), abs=1e-12)
    assert (got["users"], got["users_without_training"], got["k"]) == (len(wanted), 0, k)


def test_lists_longer_than_the_catalogue_have_empty_places() -> None:
    model = Given(np.ones((1, 1)), np.array([[3.0], [2.0], [1.0]]), seen=csr_array(np.array([[0, 0, 1]])))
    scores = evaluate_ranking(model, rated(np.array([[1, 1, 0]])), 10)
    assert (scores.k, scores.precision, scores.recall, scores.ndcg, scores.map) == (10, 0.2, 1, 1, 1)


@settings(max_examples=60)
@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]), k=st.sampled_from([1, 5, 10, 60]))
def test_figures_do_not_depend_on_the_numbers_of_items(seed: int, dtype: Any, k: int) -> None:
    rng = np.random.default_rng(seed)
    users, items, rank = 9, 50, int(rng.integers(1, 20))
    factors = rng.standard_normal((items, rank)).astype(dtype)
    factors[rng.random(items) < rng.choice([0.0, 0.5, 1.0])] = factors[
        0
    ]  # products of equal rows may differ in a digit
    factors[rng.random(items) < 0.2] = 0
    biases = None if rng.random() < 0.5 else rng.integers(2, size=items).astype(dtype)
    rows = rng.standard_normal((users, rank)).astype(dtype)
    rows[rng.random(users) < 0.2] = 0
    seen, pattern = rng.random((users, items)) < 0.2, rng.random((users, items)) < 0.2
    seen[:, 0], pattern[0, 1] = True, True
    order = rng.permutation(items)
    strong = rated(np.vstack((np.zeros((users, items), bool), rng.random((3, items)) < 0.3)))
    found = []
    for chosen in (np.arange(items), order):
        model = Given(
            rows,
            factors[chosen],
            None if biases is None else biases[chosen],
            csr_array(seen[:, chosen].astype(np.int8)),
        )
        model.set_ids(range(users), chosen)
        ranking = asdict(evaluate_ranking(model, rated(pattern), k))
        ranking["popular"] = popular_recall(model, strong, k)
        found.append(ranking)
    assert found[0] == pytest.approx(found[1], abs=1e-12)


def popular_recall(model: FactorModel, test: RatingData, k: int) -> float:
    """Recall of lists by popularity, where many items are as popular as others."""
    rows, columns, _ = test.triples()
    numbers, row = np.unique(rows, return_inverse=True)
    truth = pattern_of(row, model.item_columns(test.item_ids)[columns], (numbers.size, len(model.item_ids)))
    assert model.seen_ is not None
    counts = np.bincount(model.seen_.indices, minlength=len(model.item_ids)).astype(float)[:, None]
    alike, width = np.ones((numbers.size, 1)), min(k, len(counts))
    lists = expected_lists(
        partial(recommend_batch, alike, counts), alike, counts, None, truth, width, seen=None, memory_limit_bytes=2**20
    )
    return float(lists.recall(np.diff(truth.indptr)).mean())


def test_a_model_that_knows_nothing_finds_what_chance_finds() -> None:
    items, k = 40, 10
    seen = csr_array(np.eye(1, items, dtype=np.int8))
    model = Given(np.zeros((1, 2)), np.zeros((items, 2)), seen=seen)
    for wanted in (1, 20, 39):
        pattern = np.zeros((1, items))
        pattern[0, wanted] = 1
        scores = evaluate_ranking(model, rated(pattern), k)
        assert [scores.hit_rate, scores.recall] == pytest.approx([k / 39] * 2)
        assert [scores.mrr, scores.map] == pytest.approx([sum(1 / place for place in range(1, k + 1)) / 39] * 2)
        assert scores.coverage == pytest.approx(k / items)


def test_strong_figures_count_ties_by_chance() -> None:
    items = 12
    trained = csr_array(np.ones((1, items), dtype=np.int8))
    model = Given(np.ones((1, 1)), np.zeros((items, 1)), seen=trained).set_ids(["old"], range(items))
    new = rated(np.eye(1, items, 3) + np.eye(1, items, 11), users=np.array(["new"]))
    scores = evaluate_strong(model, new, (1, 5))
    assert scores.popularity is not None
    for got in (scores.recall, scores.popularity):
        assert got == pytest.approx({1: 1 / 11, 5: 5 / 11})


def test_users_without_training_ratings_are_left_out_and_counted() -> None:
    seen = csr_array(np.array([[1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=np.int8))
    model = Given(np.array([[1.0], [0.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]), seen=seen)
    model.set_ids(["a", "b", "c"], [1, 2, 3])
    ratings = [("a", 2, 1.0), ("b", 1, 5.0), ("b", 2, 1.0), ("d", 1, 5.0), ("e", 9, 1.0), ("c", 3, 5.0)]
    users, items, values = (np.array(column) for column in zip(*ratings, strict=True))
    test = from_triples(users.astype("S"), items, values, None, np.arange(6), "test")
    scores = evaluate_ranking(model, test, 1)
    assert (scores.users, scores.users_without_training) == (2, 3)
    assert scores.hit_rate == 0.5
    only = evaluate_ranking(model, test, 1, relevant_from=5)
    assert (only.users, only.users_without_training, only.hit_rate) == (1, 2, 1)
    with pytest.raises(UsageError, match="must have users with ratings in training; got 1 without"):
        evaluate_ranking(model, rated(np.array([[1, 1, 0]]), users=np.array(["b"]), items=np.array([1, 2, 3])), 1)


def test_half_the_users_without_training_do_not_make_a_figure_of_names() -> None:
    rng = np.random.default_rng(0)
    lines = [(user, int(rng.integers(3))) for user in range(300)]
    lines += [(user, int(item)) for user in range(300, 400) for item in rng.choice(40, 5, replace=False)]
    users, items = np.array(lines).T
    data = from_triples(users, items, np.ones(len(lines)), None, np.arange(len(lines)), "lines")
    train, test = holdout(data, 0.3, seed=0)
    model = ImplicitALS(rank=4).fit(train)
    found = asdict(evaluate_ranking(model, test, 10))
    assert found["users_without_training"] == 99
    assert found["users"] == 79
    # the same model and ratings under other names
    order = np.random.default_rng(1).permutation(len(data.item_ids))
    assert model.seen_ is not None
    other = Given(model.user_factors_, model.item_factors_[order], None, csr_array(model.seen_.toarray()[:, order]))
    other.set_ids(data.user_ids, data.item_ids[order])
    assert asdict(evaluate_ranking(other, test, 10)) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_items_with_equal_factors_are_tied_whatever_rounding_does_to_their_scores(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        users, items, rank = rng.integers(1, 12), int(rng.integers(20, 150)), int(rng.integers(2, 40))
        rows, alike = rng.standard_normal((users, rank)).astype(dtype), rng.standard_normal((1, rank)).astype(dtype)
        seen, pattern = np.zeros((users, items)), np.zeros((users, items))
        seen[:, 0] = pattern[:, -1] = 1
        model = Given(rows, np.repeat(alike, items, axis=0), seen=csr_array(seen.astype(np.int8)))
        scores = evaluate_ranking(model, rated(pattern), 10)
        assert scores.hit_rate == pytest.approx(10 / (items - 1), rel=1e-9)
