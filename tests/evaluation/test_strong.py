"""Strong generalisation: nodes worked by hand, the definition by loops, and users who were not trained on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from coded_als import ImplicitALS, RidgeALS
from coded_als.data import load_ratings
from coded_als.data.ratings import RatingData, from_matrix
from coded_als.data.splits import holdout_users
from coded_als.errors import UsageError
from coded_als.evaluation import StrongScores, evaluate_strong
from coded_als.evaluation.strong import left_out
from coded_als.models.factor_model import FactorModel
from coded_als.models.recommending import NewUsers
from tests.strategies import random_pattern, seeds


class Fixed(FactorModel):
    """Gives every new user the same list: items by the order in which they are numbered, the first best."""

    kind = "test-fixed"

    def __init__(self, items: int, seen: csr_array | None = None) -> None:
        users = 1 if seen is None else seen.shape[0]
        self._keep(np.ones((users, 1)), -np.arange(items, dtype=np.float64)[:, None], seen=seen)
        self.folded: list[csr_array] = []

    def fold_in(self, ratings: csr_array) -> NewUsers:
        self.folded.append(ratings)
        return NewUsers(np.ones((ratings.shape[0], 1)))


def graph(links: dict[int, list[int]], nodes: int) -> RatingData:
    matrix = np.zeros((nodes, nodes))
    for source, targets in links.items():
        matrix[source, targets] = 1
    return from_matrix(csr_array(matrix), "by hand")


def test_a_few_nodes_by_hand() -> None:
    # nodes 0 to 2 are trained on; 3 and 4 are held out, 5 has one link and does not count
    links = {0: [7], 1: [6, 7], 2: [7], 3: [0, 1, 2, 3, 4, 5, 6, 7], 4: [6, 7], 5: [2]}
    data = graph(links, 8)
    trained = graph({source: links[source] for source in (0, 1, 2)}, 8)
    model = Fixed(8, trained.matrix)
    scores = evaluate_strong(model, data, (1, 2), seed=1)
    given = model.folded[0].toarray().astype(bool)
    assert given.sum(axis=1).tolist() == [6, 1]  # three quarters of 8, and of 2 as near as can be
    # 3 chose everything, so its list is its two hidden nodes: one of them is half, both are all
    # 4 hides 6 or 7; both are behind 0 to 5, none of which it was given: not within the first two
    assert scores == StrongScores(2, {1: (0.5 + 0) / 2, 2: (1 + 0) / 2}, scores.popularity)
    # by popularity 7, then 6, then the others: 4 is given one of them, so the other is first. 3 finds both again
    assert scores.popularity == {1: (0.5 + 1) / 2, 2: (1 + 1) / 2}
    # within the first 7 places 4 finds it: there are 7 nodes that it was not given
    assert evaluate_strong(model, data, (7,), seed=1).recall == {7: 1}


def test_users_and_items_are_matched_by_their_ids() -> None:
    model = Fixed(4).set_ids(["trained"], ["a", "b", "c", "d"])
    matrix = csr_array(np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]], dtype=float))
    test = RatingData(matrix, np.array(["new", "trained", "strange"]), np.array(["d", "b", "c", "x", "a"]), "test")
    scores = evaluate_strong(model, test, (4,))
    # of new, d, b and c are known: two fold it in; trained was trained on; strange has one item that is known
    assert (scores.users, scores.recall, scores.popularity) == (1, {4: 1}, None)
    folded = model.folded[0].toarray()
    assert folded.shape == (1, 4)
    assert folded[0, 0] == 0
    assert folded.sum() == 2


@settings(max_examples=50)
@given(seed=seeds, share=st.floats(0.05, 0.95))
def test_what_is_left_out_of_a_row(seed: int, share: float) -> None:
    matrix = random_pattern(np.random.default_rng(seed), (7, 9))
    chosen = left_out(matrix, share, seed)
    for row in range(7):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        count = entries.stop - entries.start
        expected = min(max(round(share * count), 1), count - 1) if count > 1 else 0
        assert chosen[entries].sum() == expected
    assert np.array_equal(chosen, left_out(matrix, share, seed))


def test_held_out_users_are_whole_and_a_share() -> None:
    data = load_ratings("synthetic-graph:nodes=500,links=5")
    train, test = holdout_users(data, 0.1, seed=3)
    counts = np.diff(data.matrix.indptr)
    of_test, of_train = np.diff(test.matrix.indptr), np.diff(train.matrix.indptr)
    assert np.count_nonzero(of_test) == round(0.1 * np.count_nonzero(counts >= 2))
    assert ((of_test == 0) | (of_train == 0)).all()
    assert np.array_equal(of_test + of_train, counts)
    assert of_test[of_test > 0].min() >= 2
    for fraction in (0, 1, -1, 1e-9, float("nan")):
        with pytest.raises(UsageError, match="fraction must leave users"):
            holdout_users(data, fraction)


@pytest.mark.parametrize("model", [ImplicitALS(16, iterations=6), RidgeALS(4, iterations=2)])
def test_links_of_a_graph_like_the_web(model: FactorModel) -> None:
    data = load_ratings("synthetic-graph:nodes=3000,links=10,domains=30,local=0.9,seed=1")
    train, _ = holdout_users(data)
    model.fit(train.matrix)
    # all ratings or those of the held-out users: the same
    scores = evaluate_strong(model, data)
    assert scores == evaluate_strong(model, holdout_users(data)[1])
    assert scores.users == np.count_nonzero(np.diff(data.matrix.indptr) - np.diff(train.matrix.indptr))
    assert scores.recall[20] <= scores.recall[50]


@pytest.mark.parametrize("seed", range(3))
def test_links_are_predicted_three_times_as_well_as_by_popularity(seed: int) -> None:
    # all settings are the defaults, of the graph and of the model
    data = load_ratings(f"synthetic-graph:nodes=5000,seed={seed}")
    scores = evaluate_strong(ImplicitALS().fit(holdout_users(data)[0].matrix), data)
    assert scores.popularity is not None
    assert scores.recall[20] >= 3 * scores.popularity[20]
    assert scores.recall[50] >= 3 * scores.popularity[50]


def test_what_is_refused() -> None:
    data = graph({0: [1, 2], 1: [2, 3]}, 4)
    with pytest.raises(UsageError, match="users outside of training"):
        evaluate_strong(Fixed(4, data.matrix), data)
    for arguments in ({"cutoffs": ()}, {"hidden": 0}, {"hidden": 1.0}, {"cutoffs": (0,)}):
        with pytest.raises(UsageError, match="must be"):
            evaluate_strong(Fixed(4), data, **arguments)
