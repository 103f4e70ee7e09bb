"""Lists that devices rank against those of the host, and models that are evaluated with them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import fitted, ratings
from scipy import sparse

import coded_als.sharded.device_ranking as on_devices
import coded_als.sharded.sharded_als as estimator
from coded_als import ImplicitALS, UsageError
from coded_als.data import load_ratings
from coded_als.data.ratings import from_matrix
from coded_als.data.splits import holdout_users
from coded_als.evaluation import evaluate_ranking, evaluate_strong
from coded_als.models.top_n import recommend_batch
from coded_als.sharded import ShardedALS
from coded_als.sharded.devices import mesh_of, mesh_up_to


@pytest.fixture
def counted(monkeypatch):
    """How often devices were asked, however few the scores."""
    calls = []
    rank = on_devices.best_on_devices
    monkeypatch.setattr(estimator, "_WORTH_A_PROGRAM", 0)
    monkeypatch.setattr(on_devices, "best_on_devices", lambda *a, **o: calls.append(o) or rank(*a, **o))
    return calls


@pytest.mark.parametrize(
    ("devices", "users", "items", "n"), [(1, 13, 40, 7), (2, 70, 21, 30), (8, 13, 40, 7), (8, 1, 3, 3)]
)
def check_lists_are_those_of_the_host(devices, users, items, n):
    rng = np.random.default_rng(users)
    # few whole numbers: scores are exact, and many are equal
    left, right = rng.integers(-1, 2, (users, 2)).astype(np.float32), rng.integers(-1, 2, (items, 2)).astype(np.float32)
    seen = sparse.csr_array(rng.random((users, items)) < rng.random((users, 1)))
    biases = rng.integers(0, 2, items).astype(np.float32)
    for options in (
        {},
        {"seen": seen, "item_biases": biases, "exclude": [0, items - 1]},
        {"seen": sparse.csr_array(np.ones((users, items)))},
    ):
        expected = recommend_batch(left, right, n, **options)
        # a limit of five rows of scores makes blocks
        for limit in (2**25, 80 * -(-items // devices)):
            found = on_devices.best_on_devices(mesh_of(devices), left, right, n, memory_limit_bytes=limit, **options)
            for mine, theirs in zip(found, expected, strict=True):
                assert np.array_equal(mine, theirs)


def check_scores_that_are_no_whole_numbers():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((50, 16)), rng.standard_normal((333, 16))
    ids, scores = on_devices.best_on_devices(mesh_of(8), left, right, 10)
    assert np.abs(scores - recommend_batch(left, right, 10)[1]).max() < 1e-5
    assert np.abs(scores - (left[:, None] * right[ids]).sum(axis=2)).max() < 1e-5
    near, _ = on_devices.best_on_devices(mesh_of(8), left, right, 10, recall=0.9)
    assert np.mean([np.isin(mine, exact).mean() for mine, exact in zip(near, ids, strict=True)]) >= 0.9


def check_what_is_refused():
    left, right = np.ones((2, 3)), np.ones((40, 3))
    with pytest.raises(UsageError, match="memory_limit_bytes must be at least 80 for 5 items on each device; got 79"):
        on_devices.best_on_devices(mesh_of(8), left, right, memory_limit_bytes=79)
    with pytest.raises(UsageError, match="exclude must name columns from 0 to 39"):
        on_devices.best_on_devices(mesh_of(8), left, right, exclude=[40])
    with pytest.raises(UsageError, match="factors must be matrices of one rank"):
        on_devices.best_on_devices(mesh_of(8), left, right[:, :2])


def check_many_users_are_ranked_on_the_devices(counted):
    model = fitted(8)
    users = [user for user in range(150) if user != 7]
    found = model.recommend(users, 5)
    new = model.recommend_new(ratings()[users], 5)
    part = model.recommend(users, 5, items=range(0, 90, 3), exclude=[3, 6])
    assert [call["recall"] for call in counted] == [1.0] * 3
    for user in (0, 3, 149):
        one, scores = model.recommend(user, 5)
        row = users.index(user)
        assert found.ids[row, : one.size].tolist() == one.tolist()
        assert found.scores[row, : one.size] == pytest.approx(scores, abs=1e-5)
        assert new.scores[row] == pytest.approx(found.scores[row], abs=1e-3)
        chosen = model.recommend(user, 5, items=range(0, 90, 3), exclude=[3, 6]).ids
        assert part.ids[row, : chosen.size].tolist() == chosen.tolist()
    assert len(counted) == 3
    assert mesh_up_to(9).size == 8


def check_evaluation_ranks_on_the_devices(counted, monkeypatch):
    test = from_matrix(sparse.csr_array(np.ones((150, 90))), "all")
    there = evaluate_ranking(fitted(8), test)
    assert len(counted) == 1
    monkeypatch.setattr(estimator, "_WORTH_A_PROGRAM", 2**30)
    assert evaluate_ranking(fitted(8), test) == there
    assert len(counted) == 1


def check_links_are_predicted_as_on_one_machine(counted):
    data = load_ratings("synthetic-graph:nodes=2000,seed=4")
    train, _ = holdout_users(data)
    sharded = ShardedALS(12, devices=8, piece_length=7, batch_pieces=64).fit(train.matrix)
    mine, theirs = (evaluate_strong(model, data) for model in (sharded, ImplicitALS(12).fit(train.matrix)))
    assert len(counted) == 1
    assert mine.popularity == theirs.popularity
    assert mine.users == theirs.users
    assert mine.recall[20] == pytest.approx(theirs.recall[20], abs=0.005)
    assert mine.recall[20] > 3 * mine.popularity[20]
