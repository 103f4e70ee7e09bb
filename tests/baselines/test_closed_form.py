"""EASE against its formula in NumPy, and popularity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

from coded_als import EASE, Checkpoint, ImplicitALS, InlineCluster, Popularity, UsageError, load_model
from coded_als.baselines import FirstCopy, Partial, closed_form, distributed, fit_on_cluster
from coded_als.cli import main
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.evaluation import evaluate_ranking


def ten_lines(x: np.ndarray, regularization: float) -> np.ndarray:
    """Steck 2019, algorithm 1."""
    gram = x.T @ x
    diagonal = np.diag_indices(gram.shape[0])
    gram[diagonal] += regularization
    inverse = np.linalg.inv(gram)
    weights = inverse / (-np.diag(inverse))
    weights[diagonal] = 0
    return np.asarray(weights)


@pytest.mark.parametrize("seed", range(6))
def test_ease_is_its_formula(seed: int) -> None:
    generator = np.random.default_rng(seed)
    users, items = generator.integers(1, 90), generator.integers(1, 70)
    x = (generator.random((users, items)) < generator.choice([0.02, 0.2, 0.7])).astype(float)
    x[0, 0] = 1
    regularization = float(generator.choice([0.5, 20.0, 1000.0]))
    model = EASE(regularization).fit(sparse.csr_array(x * generator.integers(1, 6, x.shape)))
    weights = ten_lines(x, regularization)
    assert np.abs(model.weights_ - weights).max() <= 1e-10
    scores = x @ weights
    for user in range(min(users, 5)):
        assert np.abs(model.scores(user) - scores[user]).max() <= 1e-10
        assert np.abs(model.score_new(model.fold_in(x[user : user + 1])) - scores[user]).max() <= 1e-10
    loss = float(((x - x @ weights) ** 2).sum() + regularization * (weights**2).sum())
    assert model.history_[0].objective == pytest.approx(loss, rel=1e-9)


def test_ease_on_real_interactions_is_its_formula(shared_data: Path) -> None:
    data = load_ratings(str(shared_data / "ml-100k" / "u.data"))
    x = (data.matrix.toarray() != 0).astype(float)  # type: ignore[union-attr]
    assert np.abs(EASE(200.0).fit(data).weights_ - ten_lines(x, 200.0)).max() <= 1e-8


@pytest.mark.slow
def test_ease_on_the_ncf_set_is_its_formula(shared_data: Path) -> None:
    with np.load(shared_data / "ncf-ml-1m" / "ncf_ml1m.npz") as archive:
        rows, columns = archive["train_user"], archive["train_item"]
    x = sparse.csr_array((np.ones(len(rows)), (rows, columns)))
    model = EASE(500.0).fit(x)
    assert np.abs(model.weights_ - ten_lines(np.minimum(x.toarray(), 1.0), 500.0)).max() <= 1e-8


def test_ease_answers_as_other_models_do(tmp_path: Path) -> None:
    data = load_ratings("synthetic:m=80,n=30,d=4,noise=0.1,density=0.3,seed=1")
    train, test = holdout(data, 0.2)
    model = EASE(10.0).fit(train)
    model.save(tmp_path / "ease.npz")
    again: Any = load_model(tmp_path / "ease.npz")
    assert np.array_equal(again.weights_, model.weights_)
    many = model.recommend([0, 1, 2], 5)
    for place, user in enumerate((0, 1, 2)):
        one = again.recommend(user, 5)
        assert one.ids.tolist() == many.ids[place].tolist()
        assert one.scores == pytest.approx(many.scores[place])
        rated = {int(item): 1.0 for item in train.matrix[[user]].indices}  # type: ignore[union-attr]
        assert model.recommend_new(rated, 5).ids.tolist() == one.ids.tolist()
        item = one.ids.item(0)
        assert model.predict(user, item) == pytest.approx(one.scores[0])
        reason = model.explain(rated, item, n=30)
        assert reason.score == pytest.approx(one.scores[0])
    assert 0 <= evaluate_ranking(model, test, 5).ndcg <= 1
    assert len(model.similar_items(0, 3).ids) == 3
    assert model.recommend_new(train.matrix[:2], 4).ids.shape == (2, 4)  # type: ignore[index]


def test_what_ease_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = load_ratings("synthetic:m=80,n=30,d=4,noise=0.1,density=0.3,seed=1")
    model = EASE().fit(data)
    for call in (
        lambda: EASE().fit(data, start=model),
        lambda: EASE().fit(data, checkpoint=Checkpoint(tmp_path)),
        lambda: model.similar_users(0),
        lambda: model.fold_in_items({0: 1.0}),
        lambda: EASE(0.0),
        lambda: ImplicitALS(2).fit(data, start=model),
    ):
        with pytest.raises(UsageError):
            call()
    monkeypatch.setattr(closed_form, "_free_bytes", lambda: 5000.0)
    with pytest.raises(UsageError, match="30 items") as caught:
        EASE().fit(data)
    assert "\n" not in str(caught.value)


def test_popularity_is_the_order_of_counts_and_an_answer_for_users_without_ratings() -> None:
    x = np.array([[5, 0, 1, 0], [0, 2, 3, 0], [0, 4, 4, 0], [0, 0, 0, 0]])
    data = RatingData(sparse.csr_array(x), np.array(["a", "b", "c", "none"]), np.array(list("wxyz")), "a test")
    model = Popularity().fit(data)
    assert model.recommend("a", 4).ids.tolist() == ["x", "z"]
    assert model.recommend_new({}, 2).ids.tolist() == ["y", "x"]
    other = ImplicitALS(2).fit(data)
    with pytest.raises(UsageError):
        other.recommend("none")
    with pytest.raises(UsageError):
        other.recommend("stranger")
    assert other.recommend("none", 2, cold="popular").ids.tolist() == ["y", "x"]
    assert other.recommend("stranger", 9, cold="popular", exclude="y").ids.tolist() == ["x", "w", "z"]
    lists = other.recommend(["none", "a", "stranger"], 2, cold="popular", items=["w", "x"])
    assert lists.ids[0].tolist() == ["x", "w"] == lists.ids[2].tolist()
    assert lists.ids[1].tolist() == other.recommend(["a"], 2, items=["w", "x"]).ids[0].tolist()
    assert other.recommend("a", 2, cold="popular").ids.tolist() == other.recommend("a", 2).ids.tolist()


def test_the_command_line_knows_both(tmp_path: Path) -> None:
    def run(*arguments: object) -> Any:
        return CliRunner().invoke(main, list(map(str, arguments)))

    ratings = "synthetic:m=80,n=30,d=4,noise=0.1,density=0.3,seed=1"
    for method, options in {"ease": ["--regularization", 20], "popularity": []}.items():
        result = run("fit", ratings, "--method", method, *options, "--out", tmp_path / "m.npz", "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["method"] == method
        assert run("fit", ratings, "--method", method).stdout.count("rank") == 0
        assert run("recommend", tmp_path / "m.npz", "--user", 3).exit_code == 0
        assert run("recommend", tmp_path / "m.npz", "--user", "stranger", "--cold", "popular").exit_code == 0
    refused = run("fit", ratings, "--method", "ease", "--rank", 3)
    assert refused.exit_code == 2
    assert "method ease has no rank" in refused.stderr
    assert run("compare", ratings, "--methods", "ease,popularity,implicit", "--rank", 4, "--tune", 2).exit_code == 0


@pytest.mark.parametrize("policy", [None, FirstCopy(2)])
@pytest.mark.parametrize("verify", ["off", "freivalds"])
def test_workers_form_the_matrix_of_ease(policy: Any, verify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "GRAM_COLUMNS", 7)
    data = load_ratings("synthetic:m=60,n=30,d=5,noise=0.3,density=0.2,seed=1")
    cluster = InlineCluster(6, "none" if policy is None else "dead:n=1", seed=2)
    model = fit_on_cluster(EASE(5.0), data, cluster, policy, verify=verify)
    np.testing.assert_array_equal(model.weights_, EASE(5.0).fit(data).weights_)
    assert (
        model.recommend(data.user_ids[0]).ids.tolist() == EASE(5.0).fit(data).recommend(data.user_ids[0]).ids.tolist()
    )
    with pytest.raises(UsageError, match="every block"):
        fit_on_cluster(EASE(5.0), data, cluster, Partial(2))


def test_memory_is_refused_before_workers_have_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_form, "_free_bytes", lambda: 10.0)
    cluster = InlineCluster(2)
    with pytest.raises(UsageError, match="GiB"):
        fit_on_cluster(EASE(5.0), np.eye(4), cluster)


def test_ease_is_fitted_on_workers_from_the_command_line(tmp_path: Path) -> None:
    source = "synthetic:m=60,n=30,d=5,noise=0.3,density=0.2,seed=1"
    fit = [
        "fit",
        source,
        "--method",
        "ease",
        "--policy",
        "first-copy:copies=2",
        "--cluster",
        "inline",
        "--workers",
        "4",
    ]
    done = CliRunner().invoke(main, [*fit, "--out", f"{tmp_path}/m.npz"])
    assert done.exit_code == 0, done.output
    expected = EASE().fit(load_ratings(source))
    np.testing.assert_array_equal(load_model(tmp_path / "m.npz").weights_, expected.weights_)  # type: ignore[attr-defined]
