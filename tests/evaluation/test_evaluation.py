"""Metrics against hand-computed examples and the definitions, one user and one place at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from benchmarks.ncf import evaluate_ncf, load_ncf
from coded_als import evaluation
from coded_als.data.ratings import from_triples
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from tests.strategies import random_pattern, seeds

modest = settings(max_examples=50)


def test_errors_by_hand() -> None:
    assert evaluation.rmse(np.array([1.0, 2.0]), np.array([4.0, 6.0])) == pytest.approx(math.sqrt(12.5))
    assert evaluation.mae(np.array([1.0, 2.0]), np.array([4.0, 6.0])) == pytest.approx(3.5)
    for metric in (evaluation.rmse, evaluation.mae):
        with pytest.raises(UsageError):
            metric(np.array([]), np.array([]))
        with pytest.raises(UsageError):
            metric(np.ones(2), np.ones(3))


def test_list_metrics_by_hand() -> None:
    hits, relevant = np.array([[True, False, True], [False, False, False]]), np.array([4, 1])
    assert evaluation.hit_rate(hits).tolist() == [1, 0]
    assert evaluation.precision(hits) == pytest.approx([2 / 3, 0])
    assert evaluation.recall(hits, relevant) == pytest.approx([1 / 2, 0])
    assert evaluation.average_precision(hits, relevant) == pytest.approx([(1 + 2 / 3) / 3, 0])
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert evaluation.ndcg(hits, relevant) == pytest.approx([1.5 / ideal, 0])
    assert evaluation.reciprocal_rank(hits).tolist() == [1, 0]
    assert evaluation.coverage(np.array([[0, 2], [2, -1]]), 4) == 0.5


@modest
@given(seed=seeds, k=st.integers(1, 6))
def test_list_metrics_are_their_definitions(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    users, items = 5, 8
    relevant = random_pattern(rng, (users, items))
    lists = np.array([rng.permutation(items)[:k] for _ in range(users)])
    lists[rng.random(lists.shape) < 0.1] = -1
    hits = evaluation.find_hits(lists, relevant)
    wanted = [set(np.flatnonzero(row)) for row in relevant.toarray()]
    assert hits.tolist() == [[item in wanted[user] for item in row] for user, row in enumerate(lists.tolist())]
    counts = np.maximum(np.diff(relevant.indptr), 1)
    for user, row in enumerate(hits.tolist()):
        ideal = sum(1 / math.log2(place + 2) for place in range(min(k, counts[user])))
        gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(row))
        precisions = [sum(row[: place + 1]) / (place + 1) for place in range(k) if row[place]]
        assert evaluation.ndcg(hits, counts)[user] == pytest.approx(gain / ideal)
        assert evaluation.average_precision(hits, counts)[user] == pytest.approx(sum(precisions) / min(k, counts[user]))
        assert evaluation.reciprocal_rank(hits)[user] == (1 / (1 + row.index(True)) if any(row) else 0)
        assert evaluation.precision(hits)[user] == pytest.approx(sum(row) / k)
        assert evaluation.recall(hits, counts)[user] == pytest.approx(sum(row) / counts[user])


def test_ties_and_nan_never_help() -> None:
    negatives = np.array([[1.0, 2.0, 3.0]] * 4)
    assert evaluation.ranks_among(np.array([4.0, 2.0, 0.0, np.nan]), negatives).tolist() == [0, 2, 3, 3]
    assert evaluation.ranks_among(np.array([5.0]), np.array([[np.nan, 1.0]])).tolist() == [1]


@modest
@given(
    seed=seeds,
    n=st.integers(1, 9),
    limit=st.sampled_from([200, 500, 2**20]),
    levels=st.sampled_from([2, 100]),
)
def test_recommend_batch_is_a_sort_of_what_is_left(seed: int, n: int, limit: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    users, items = rng.integers(levels, size=(6, 2)) * 1.0, rng.integers(levels, size=(7, 2)) * 1.0
    biases, seen, exclude = rng.integers(2, size=7) * 1.0, random_pattern(rng, (6, 7)), [2, 5]
    columns, scores = evaluation.recommend_batch(
        users, items, n, item_biases=biases, seen=seen, exclude=exclude, memory_limit_bytes=limit
    )
    table = users @ items.T + biases
    for user in range(6):
        left = [item for item in range(7) if item not in exclude and not seen.toarray()[user, item]]
        expected = sorted(left, key=lambda item: (-table[user, item], item))[:n]
        padding = n - len(expected)
        assert columns[user].tolist() == expected + [-1] * padding
        assert scores[user].tolist() == [table[user, item] for item in expected] + [-np.inf] * padding


def test_recommend_batch_refuses() -> None:
    users, items = np.ones((2, 3)), np.ones((4, 3))
    for arguments, message in [
        ({"n": 0}, "n must be"),
        ({"memory_limit_bytes": 10}, "memory_limit_bytes must be at least 68"),
        ({"exclude": [4]}, "exclude"),
        ({"exclude": [-1]}, "exclude"),
        ({"item_biases": np.ones(3)}, "item_biases"),
        ({"seen": csr_array((4, 2))}, "seen"),
    ]:
        with pytest.raises(UsageError, match=message):
            evaluation.recommend_batch(users, items, **arguments)
    with pytest.raises(UsageError, match="one rank"):
        evaluation.recommend_batch(users, np.ones((4, 2)))


class Fitted(FactorModel):
    kind = "test-scores"

    def __init__(self, users: np.ndarray, items: np.ndarray, seen: csr_array | None = None) -> None:
        self._keep(users, items, seen=seen)


def test_model_against_test_ratings() -> None:
    model = Fitted(np.array([[1.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]), csr_array([[0, 0, 1], [1, 0, 0]]))
    model.set_ids(["a", "b"], [10, 20, 30])
    test = from_triples(
        np.array([b"b", b"a", b"c", b"a"]),
        np.array([20, 20, 20, 99]),
        np.array([3.0, 2.0, 1.0, 1.0]),
        None,
        np.arange(4),
        "test",
    )
    errors = evaluation.evaluate_ratings(model, test)
    assert (errors.rmse, errors.mae, errors.ratings, errors.unknown) == (math.sqrt(0.5), 0.5, 2, 2)
    assert evaluation.evaluate_ratings(model, test, limits=(1, 3)).rmse == 0
    # a has seen 30: its list is 20, 10; b has seen 10: its list is 30, 20; nobody knows c
    scores = evaluation.evaluate_ranking(model, test, 2)
    assert (scores.users, scores.users_without_training) == (2, 1)
    assert (scores.hit_rate, scores.precision, scores.recall) == (1, 0.5, 1)
    assert scores.mrr == scores.map == 0.75
    assert scores.ndcg == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert scores.coverage == 1
    assert evaluation.evaluate_ranking(model, test, 1, filter_seen=False).hit_rate == 0
    assert evaluation.evaluate_ranking(model, test, 1, relevant_from=3).users == 1
    with pytest.raises(UsageError, match="relevant_from"):
        evaluation.evaluate_ranking(model, test, 1, relevant_from=4)
    with pytest.raises(UsageError, match="n must be"):
        evaluation.evaluate_ranking(model, test, 0)
    with pytest.raises(UsageError, match="shares none"):
        evaluation.evaluate_ratings(model.set_ids(["x", "y"], [1, 2, 3]), test)


def test_pure_svd_reaches_its_published_score_and_a_constant_scores_nothing(shared_data: Path) -> None:
    benchmark = load_ncf(shared_data / "ncf-ml-1m" / "ncf_ml1m.npz")
    left, values, right = svds(benchmark.train.matrix, k=64, random_state=0)
    model = Fitted(left * values, right.T.copy())
    assert evaluate_ncf(model.predict_pairs, benchmark) == pytest.approx((0.6921, 0.4309), abs=5e-4)
    assert evaluate_ncf(lambda rows, columns: np.zeros(len(rows)), benchmark) == (0, 0)
