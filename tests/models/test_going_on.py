"""Fits that start from a model, callbacks with the model, early stopping, and new items, for every method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from coded_als import (
    BPR,
    SGD,
    WARP,
    CodedALS,
    EarlyStopping,
    ImplicitALS,
    InlineCluster,
    RidgeALS,
    ShardedALS,
    UsageError,
)
from coded_als.baselines import fit_on_cluster
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.evaluation import evaluate_ranking
from coded_als.models.rating_matrix import pattern

METHODS: dict[str, Any] = {
    "coded": lambda **given: CodedALS(**given),
    "ridge": lambda **given: RidgeALS(**given, regularization=2.0),
    "implicit": lambda **given: ImplicitALS(**given),
    "sgd": lambda **given: SGD(**given),
    "bpr": lambda **given: BPR(**given),
    "warp": lambda **given: WARP(**given),
    "sharded": lambda **given: ShardedALS(**given),
}
ALTERNATING = ("ridge", "implicit", "sharded")
# each new shape of a sharded model is compiled, which takes seconds
COMPILED_LATE = [pytest.param(one, marks=pytest.mark.slow) if one == "sharded" else one for one in METHODS]


def named(users: int = 60, items: int = 40, seed: int = 0) -> RatingData:
    """Ratings 1 to 5 of a low rank, a third of them given, under text ids."""
    generator = np.random.default_rng(seed)
    scores = generator.random((users, 4)) @ generator.random((4, items))
    values = np.clip(np.rint(1 + 2.2 * scores), 1, 5) * (generator.random((users, items)) < 0.35)
    return of(
        sparse.csr_array(values), [f"u{one:03d}" for one in range(users)], [f"i{one:03d}" for one in range(items)]
    )


def of(matrix: Any, users: Any, items: Any) -> RatingData:
    return RatingData(sparse.csr_array(matrix), np.array(users), np.array(items), "a test")


def part(data: RatingData, rows: Any, columns: Any) -> RatingData:
    return of(data.matrix[rows][:, columns], data.user_ids[rows], data.item_ids[columns])  # type: ignore[index]


@pytest.mark.parametrize("method", COMPILED_LATE)
def test_new_users_and_items_are_matched_by_name_at_any_rank(method: str) -> None:
    data, generator = named(), np.random.default_rng(1)
    rows, columns = generator.permutation(60), generator.permutation(40)
    before = METHODS[method](rank=5).fit(part(data, rows[:50], columns[:34]))
    turned = part(data, generator.permutation(60), generator.permutation(40))
    for rank in (3, 5, 8):
        one = METHODS[method](rank=rank, iterations=1 if method != "coded" else 100).fit(turned, start=before)
        assert one.user_factors_.shape == (60, rank)
        assert one.item_factors_.shape == (40, rank)
        assert list(one.user_ids) == list(turned.user_ids)
        ids, scores = one.recommend("u003", 5)
        assert set(ids) <= set(data.item_ids.tolist())
        assert np.isfinite(scores).all()
    cold = METHODS[method](rank=5, iterations=1).fit(turned)
    warm = METHODS[method](rank=5, iterations=1).fit(turned, start=before)
    assert warm.history_[0].objective < cold.history_[0].objective


@pytest.mark.parametrize("method", COMPILED_LATE)
def test_the_same_ratings_in_another_order_go_on_at_the_same_place(method: str) -> None:
    if method in ("bpr", "warp", "sgd"):
        pytest.skip("steps are taken in another order")
    data, generator = named(seed=2), np.random.default_rng(3)
    before = METHODS[method](rank=4).fit(data)
    turned = part(data, generator.permutation(60), generator.permutation(40))
    straight = METHODS[method](rank=4, iterations=2).fit(data, start=before)
    again = METHODS[method](rank=4, iterations=2).fit(turned, start=before)
    for user, item in (("u001", "i007"), ("u050", "i030")):
        assert again.predict(user, item) == pytest.approx(straight.predict(user, item), abs=2e-3)
    assert again.history_[-1].objective == pytest.approx(straight.history_[-1].objective, rel=1e-4)


def test_implicit_als_needs_half_of_the_iterations(shared_data: Path) -> None:
    data = load_ratings(str(shared_data / "ml-100k" / "u.data"))
    old, _ = holdout(data, 0.1, seed=1)
    before = ImplicitALS(20, iterations=12).fit(old)
    scratch = ImplicitALS(20, iterations=12).fit(data)
    again = ImplicitALS(20, iterations=6).fit(data, start=before)
    assert again.history_[-1].objective <= scratch.history_[-1].objective


def test_a_start_that_knows_nothing_is_refused() -> None:
    data = named()
    before = ImplicitALS(3).fit(data)
    with pytest.raises(UsageError, match="share users or items"):
        ImplicitALS(3).fit(
            of(data.matrix, [f"x{one}" for one in range(60)], [f"y{one}" for one in range(40)]), start=before
        )
    with pytest.raises(UsageError, match="ratings must have ids"):
        ImplicitALS(3).fit(data.matrix, start=before)
    with pytest.raises(UsageError, match="must be fitted"):
        ImplicitALS(3).fit(data, start=ImplicitALS(3))
    with pytest.raises(UsageError, match="start must be a fitted model"):
        ImplicitALS(3).fit(data, start="model.npz")  # type: ignore[arg-type]
    plain = ImplicitALS(3).fit(data.matrix)
    grown = ImplicitALS(3, iterations=1).fit(sparse.vstack([data.matrix, data.matrix[:5]]), start=plain)
    assert len(grown.user_factors_) == 65


def test_a_group_of_new_users_with_new_items_alone_is_learned() -> None:
    data = named()
    before = ImplicitALS(4).fit(part(data, np.arange(40), np.arange(30)))
    whole = sparse.block_array([[data.matrix[:40][:, :30], None], [None, data.matrix[40:][:, 30:]]])
    model = ImplicitALS(4, iterations=8).fit(of(whole, data.user_ids, data.item_ids), start=before)
    assert np.linalg.norm(model.user_factors_[45]) > 0
    assert np.linalg.norm(model.item_factors_[35]) > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_callback_gets_the_model_as_it_stands_and_ends_the_fit(method: str) -> None:
    data = named()
    train, test = holdout(data, 0.2, seed=1)
    seen: list[float] = []

    def stop(entry: Any, model: Any) -> bool:
        ids, _ = model.recommend("u004", 3)
        assert len(ids) == 3
        seen.append(evaluate_ranking(model, test, 5).ndcg)
        return entry.index == 2

    entries: list[Any] = []
    model = METHODS[method](rank=4).fit(train, callback=[entries.append, stop])
    assert len(model.history_) == len(entries) == len(seen) == 2
    assert evaluate_ranking(model, test, 5).ndcg == pytest.approx(seen[-1], abs=1e-6)
    assert METHODS[method](rank=4, iterations=3).fit(train, callback=lambda entry: None).history_[-1].index <= 3


def test_a_callback_leaves_the_fit_as_it_is() -> None:
    train, test = holdout(named(), 0.2, seed=1)
    for method in METHODS:
        watched = METHODS[method](rank=3, iterations=4).fit(
            train, callback=lambda entry, model: evaluate_ranking(model, test, 5) and None
        )
        alone = METHODS[method](rank=3, iterations=4).fit(train)
        assert np.array_equal(watched.user_factors_, alone.user_factors_)
        assert np.array_equal(watched.item_factors_, alone.item_factors_)


@pytest.mark.parametrize("method", [*COMPILED_LATE, "cluster"])
def test_early_stopping_keeps_the_best_state(method: str) -> None:
    train, validation = holdout(named(seed=4), 0.25, seed=1)
    figures: list[float] = []

    def watch(entry: Any, model: Any) -> None:
        figures.append(evaluate_ranking(model, validation, 5).ndcg)

    stop = EarlyStopping(validation, k=5, patience=2)
    if method == "cluster":
        model: Any = fit_on_cluster(ImplicitALS(6), train, InlineCluster(2), callback=[watch, stop])
    else:
        model = METHODS[method](rank=6).fit(train, callback=[watch, stop])
    assert stop.figures == figures
    assert stop.best == max(figures)
    assert stop.best_iteration == figures.index(max(figures)) + 1
    assert evaluate_ranking(model, validation, 5).ndcg == pytest.approx(stop.best, abs=1e-9)
    assert len(figures) in (stop.best_iteration, stop.best_iteration + 1, stop.best_iteration + 2)
    if method == "coded":
        error = float(((train.matrix.toarray() - model.user_factors_ @ model.item_factors_.T) ** 2).sum())
        assert model.objective_ == pytest.approx(error, rel=1e-6)


def test_early_stopping_on_errors_takes_the_least() -> None:
    train, validation = holdout(named(seed=5), 0.25, seed=1)
    stop = EarlyStopping(validation, metric="rmse", patience=2)
    SGD(12, regularization=1e-4, learning_rate=0.05, iterations=400).fit(train, callback=stop)
    assert stop.best == min(stop.figures)
    assert len(stop.figures) < 400
    plain = EarlyStopping(validation.matrix, metric="rmse")
    RidgeALS(2, iterations=2).fit(train.matrix, callback=plain)
    assert len(plain.figures) == 2
    for given in ({"metric": "auc"}, {"k": 0}, {"patience": 0}):
        with pytest.raises(UsageError):
            EarlyStopping(validation, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method", ["coded", "ridge", "implicit", "sgd", pytest.param("sharded", marks=pytest.mark.slow)]
)
def test_new_items_are_recommended_without_a_refit(method: str) -> None:
    data = named(users=80)
    model = METHODS[method](rank=4).fit(part(data, np.arange(80), np.arange(36)))
    turned = METHODS[method](rank=4)
    users = {f"u{one:03d}": 5.0 for one in range(60)}
    # by definition: the fold-in of a user of the model with both sides exchanged
    turned._keep(
        model.item_factors_, model.user_factors_, user_biases=model.item_biases_, item_biases=model.user_biases_,
        global_mean=model.global_mean_,
    )  # fmt: skip
    turned.set_ids(model.item_ids, model.user_ids)
    expected = turned.fold_in(users)
    found = model.fold_in_items(users)
    assert np.array_equal(found.factors, expected.factors)
    before = model.predict("u001", "i001")
    assert model.add_items({"new film": users, "other": {"u001": 1.0}}) is model
    assert model.predict("u001", "i001") == before
    ids, _ = model.recommend("u070", 38)
    assert "new film" in ids
    assert "new film" not in model.recommend("u001", 38)[0]
    assert model.seen_.shape == (80, 38)
    with pytest.raises(UsageError, match="twice"):
        model.add_items({"i001": users})
    with pytest.raises(UsageError, match="user must be one of"):
        model.fold_in_items({"nobody": 1.0})
    with pytest.raises(UsageError, match="a column for each of 80 users"):
        model.fold_in_items(np.ones((2, 3)))


def test_rankings_of_pairs_fold_no_items_in() -> None:
    model = BPR(3, iterations=2).fit(named())
    with pytest.raises(UsageError, match="start=model"):
        model.fold_in_items({"u001": 1.0})


def test_a_pattern_of_added_items_is_that_of_their_ratings() -> None:
    data = named()
    model = ImplicitALS(3).fit(part(data, np.arange(60), np.arange(30)))
    whole: Any = data.matrix.toarray()
    added = {
        f"i{item:03d}": {f"u{user:03d}": whole[user, item] for user in np.flatnonzero(whole[:, item])}
        for item in range(30, 40)
    }
    model.add_items(added)
    wanted = pattern(data.matrix.shape, data.matrix.indptr, data.matrix.indices)  # type: ignore[union-attr]
    assert (model.seen_ != wanted).nnz == 0


def test_one_unknown_item_does_not_refuse_a_new_user() -> None:
    model = ImplicitALS(3).fit(named())
    with pytest.raises(UsageError, match="item must be one of"):
        model.recommend_new({"i001": 5.0, "nothing": 1.0})
    found = model.recommend_new({"i001": 5.0, "nothing": 1.0}, 4, unknown="ignore")
    assert found.ids.tolist() == model.recommend_new({"i001": 5.0}, 4).ids.tolist()
    with pytest.raises(UsageError, match="must have ratings"):
        model.recommend_new({"nothing": 1.0}, unknown="ignore")
    with pytest.raises(UsageError, match="unknown"):
        model.recommend_new({"i001": 5.0}, unknown="maybe")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_lists_become_frames(library: Any) -> None:
    pytest.importorskip(library)
    model = ImplicitALS(3).fit(named())
    users = ["u001", "u002", "u003"]
    lists = model.recommend(users, 100)
    frame = lists.as_frame(users, library)
    assert list(frame.columns) == ["user", "item", "score"]
    rows = list(zip(*(frame[name].to_list() for name in frame.columns), strict=True))
    assert len(rows) == int((lists.scores > -np.inf).sum())
    place = 0
    for user, ids, scores in zip(users, lists.ids, lists.scores, strict=True):
        for item, score in zip(ids.tolist(), scores.tolist(), strict=True):
            if score > -np.inf:
                assert rows[place] == (user, item, score)
                place += 1
    one = model.recommend("u001", 4)
    assert one.as_frame(library=library)["item"].to_list() == one.ids.tolist()
    with pytest.raises(UsageError):
        one.as_frame(["a", "b"], library)
    with pytest.raises(UsageError, match="pandas or polars"):
        one.as_frame(library="csv")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["sgd", "bpr", "warp"])
def test_a_batch_is_learned_in_one_pass(method: str) -> None:
    data = named(users=80)
    old, new = part(data, np.arange(60), np.arange(34)), part(data, np.arange(50, 80), np.arange(20, 40))
    model = METHODS[method](rank=4, iterations=5).fit(old)
    before = {name: getattr(model, name).copy() for name in ("user_factors_", "item_factors_", "user_ids")}
    assert model.partial_fit(new) is model
    assert len(model.history_) == 6
    assert model.user_factors_.shape == (80, 4)
    assert model.item_factors_.shape == (40, 4)
    assert model.user_ids.tolist() == data.user_ids.tolist()
    # users without a rating in the batch stay where they are
    assert np.array_equal(model.user_factors_[:50], before["user_factors_"][:50])
    assert not np.array_equal(model.user_factors_[50:60], before["user_factors_"][50:])
    assert set(model.recommend("u075", 3).ids) <= set(data.item_ids.tolist())
    both = old.matrix.nnz + new.matrix.nnz - (data.matrix[50:60][:, 20:34]).nnz  # type: ignore[index, union-attr]
    assert model.seen_.nnz == both
    again = METHODS[method](rank=4, iterations=5).partial_fit(old)
    once = METHODS[method](rank=4, iterations=1).fit(old)
    assert np.array_equal(again.user_factors_, once.user_factors_)
    assert again.iterations == 5


def test_batches_bring_a_model_nearer_to_their_ratings() -> None:
    data = named(users=80, seed=3)
    first, second = holdout(data, 0.5, seed=1)
    model = SGD(4, iterations=20).fit(first)
    before = np.sqrt(np.mean(np.square(model.predict_pairs(*second.triples()[:2]) - second.triples()[2])))
    for _ in range(10):
        model.partial_fit(second)
    after = np.sqrt(np.mean(np.square(model.predict_pairs(*second.triples()[:2]) - second.triples()[2])))
    assert after < before
