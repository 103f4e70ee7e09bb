"""Splits lose nothing, repeat nothing and keep the shape."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ncf import load_ncf
from coded_als.data import (
    RatingData,
    holdout,
    holdout_users,
    k_fold,
    leave_k_out,
    leave_one_out,
    load_ratings,
)
from coded_als.data.ratings import from_matrix
from coded_als.errors import UsageError
from coded_als.evaluation import rmse
from tests.strategies import data_of, rating_triples, seeds

modest = settings(max_examples=50)


def entries_of(data: RatingData) -> dict[tuple[int, int], float]:
    rows, columns, values = data.triples()
    return dict(zip(zip(rows.tolist(), columns.tolist(), strict=True), values.tolist(), strict=True))


def check_partition(data: RatingData, train: RatingData, test: RatingData) -> None:
    kept, moved = entries_of(train), entries_of(test)
    assert not kept.keys() & moved.keys()
    assert kept | moved == entries_of(data)
    for part in (train, test):
        assert part.shape == data.shape
        assert part.is_dense == data.is_dense
        assert part.user_ids is data.user_ids
        if data.times is not None and part.times is not None:
            time_of = dict(zip(entries_of(data), data.times.tolist(), strict=True))
            assert part.times.tolist() == [time_of[place] for place in entries_of(part)]


@modest
@given(ratings=rating_triples(), folds=st.integers(2, 5), seed=seeds, dense=st.booleans())
def test_folds_are_runs_of_the_shuffled_source(
    ratings: dict[tuple[int, int], float], folds: int, seed: int, dense: bool
) -> None:
    data = data_of(ratings, times=list(range(len(ratings))))
    if dense:
        data = from_matrix(data.matrix.toarray(), "dense")
    if data.entries < folds:
        with pytest.raises(UsageError, match="folds must be at most"):
            k_fold(data, folds)
        return
    if dense:
        places = list(entries_of(data))
    else:
        places = [(int(np.searchsorted(data.user_ids, u)), int(np.searchsorted(data.item_ids, i))) for u, i in ratings]
    shuffled = np.arange(len(places))
    np.random.RandomState(seed).shuffle(shuffled)
    start = 0
    for fold, (train, test) in enumerate(k_fold(data, folds, seed=seed)):
        check_partition(data, train, test)
        size = len(places) // folds + (fold < len(places) % folds)
        assert entries_of(test).keys() == {places[k] for k in shuffled[start : start + size]}
        start += size


def test_folds_give_the_published_error_of_the_baseline_predictor(shared_data: Path) -> None:
    """Surprise 1.1.5 reports RMSE .9440 for its BaselineOnly on these very folds."""

    def baseline_rmse(train: RatingData, test: RatingData) -> float:
        rows, columns, values = train.triples()
        mean, users, items = values.mean(), np.zeros(train.shape[0]), np.zeros(train.shape[1])
        for _ in range(10):
            items = np.bincount(columns, values - mean - users[rows], items.size)
            items /= 10 + np.bincount(columns, minlength=items.size)
            users = np.bincount(rows, values - mean - items[columns], users.size)
            users /= 15 + np.bincount(rows, minlength=users.size)
        rows, columns, values = test.triples()
        return rmse(np.clip(mean + users[rows] + items[columns], 1, 5), values)

    data = load_ratings(shared_data / "ml-100k" / "u.data")
    assert np.mean([baseline_rmse(*split) for split in k_fold(data, 5)]) == pytest.approx(0.9440, abs=5e-5)


@modest
@given(ratings=rating_triples(), fraction=st.floats(0.01, 0.99), seed=seeds)
def test_holdout(ratings: dict[tuple[int, int], float], fraction: float, seed: int) -> None:
    data = data_of(ratings)
    count = round(fraction * data.entries)
    if not 0 < count < data.entries:
        with pytest.raises(UsageError, match="fraction"):
            holdout(data, fraction, seed=seed)
        return
    train, test = holdout(data, fraction, seed=seed)
    check_partition(data, train, test)
    assert test.entries == count
    assert entries_of(holdout(data, fraction, seed=seed)[1]) == entries_of(test)


@st.composite
def users_with_more_than(draw: st.DrawFn, k: int) -> dict[tuple[int, int], float]:
    """Ratings of one to six users, each with more than k of them, in an arbitrary order."""
    pairs = [
        (user, item)
        for user in range(draw(st.integers(1, 6)))
        for item in draw(st.sets(st.integers(0, 7), min_size=k + 1, max_size=8))
    ]
    return {pair: 1.0 + place / 2 for place, pair in enumerate(draw(st.permutations(pairs)))}


@modest
@given(drawn=st.data(), k=st.integers(1, 3), seed=seeds, by=st.sampled_from(["random", "time"]))
def test_leave_k_out(drawn: st.DataObject, k: int, seed: int, by: Literal["random", "time"]) -> None:
    ratings = drawn.draw(users_with_more_than(k))
    times = np.random.default_rng(seed).integers(0, 4, len(ratings))
    data = data_of(ratings, times.tolist())
    train, test = leave_k_out(data, k, by=by, seed=seed)
    check_partition(data, train, test)
    assert np.bincount(test.triples()[0], minlength=data.shape[0]).tolist() == [k] * data.shape[0]
    assert entries_of(leave_k_out(data, k, by=by, seed=seed)[1]) == entries_of(test)
    if by == "time":
        for row, user in enumerate(data.user_ids):
            own = [(times[place], place, item) for place, (owner, item) in enumerate(ratings) if owner == user]
            latest = {item for _, _, item in sorted(own)[-k:]}
            assert {data.item_ids[column] for place, column in entries_of(test) if place == row} == latest


def test_leaving_out_at_random_takes_every_rating_now_and_then() -> None:
    data = data_of({(0, item): 1.0 for item in range(4)} | {(1, item): 1.0 for item in range(3)})
    taken = {pair for seed in range(60) for pair in entries_of(leave_one_out(data, seed=seed)[1])}
    assert taken == entries_of(data).keys()


@modest
@given(drawn=st.data(), k=st.integers(1, 3))
def test_a_user_with_too_few_ratings_is_named(drawn: st.DataObject, k: int) -> None:
    ratings = drawn.draw(users_with_more_than(k)) | {(9, item): 1.0 for item in range(drawn.draw(st.integers(1, k)))}
    with pytest.raises(UsageError, match=f"more than {k} ratings to leave {k} out; user 9 has"):
        leave_k_out(data_of(ratings), k)


def test_splits_of_splits() -> None:
    data = data_of({(u, i): 1.0 for u in range(6) for i in range(5)})
    train, _ = holdout(data, 0.3)
    for inner_train, inner_test in k_fold(train, 3):
        check_partition(train, inner_train, inner_test)


def test_bad_splits() -> None:
    data = data_of({(0, 0): 1.0, (0, 1): 2.0})
    for wrong in (1, 0, 2.5, True):
        with pytest.raises(UsageError, match="folds"):
            k_fold(data, wrong)  # type: ignore[arg-type]
    for wrong in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="fraction"):
            holdout(data, wrong)
    with pytest.raises(UsageError, match="needs times"):
        leave_one_out(data, by="time")
    with pytest.raises(UsageError, match="by must be"):
        leave_one_out(data, by="luck")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="k must be"):
        leave_k_out(data, 0)


def arrays() -> dict[str, np.ndarray]:
    return {
        "train_user": np.array([0, 0, 1, 1], dtype=np.int16),
        "train_item": np.array([2, 1, 0, 0], dtype=np.int16),
        "test_user": np.array([0, 1]),
        "test_item": np.array([0, 3]),
        "negatives": np.array([[3, 4], [1, 2]]),
    }


def test_benchmark(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", **arrays())
    benchmark = load_ncf(tmp_path / "b.npz")
    np.testing.assert_array_equal(benchmark.train.matrix.toarray(), [[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    assert benchmark.test_items.tolist() == [0, 3]


def test_real_benchmark(shared_data: Path) -> None:
    benchmark = load_ncf(shared_data / "ncf-ml-1m" / "ncf_ml1m.npz")
    assert benchmark.train.shape == (6040, 3706)
    assert benchmark.train.entries == 994_169
    assert benchmark.negatives.shape == (6040, 99)


def named(lines: list[tuple[int, int, int]], user: str, item: str, path: Path) -> RatingData:
    path.write_text("".join(f"{user.format(u)}\t{item.format(i, 99 - i)}\t{value}\n" for u, i, value in lines))
    return load_ratings(path)


def test_names_play_no_part_in_a_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pairs = rng.permutation([(u, i) for u in range(30) for i in rng.choice(40, 6, replace=False)])
    lines = [(int(u), int(i), place) for place, (u, i) in enumerate(pairs)]
    plain = named(lines, "{0}", "{0}", tmp_path / "plain")
    other = named(lines, "u{0}", "{1}", tmp_path / "other")
    assert not np.array_equal(plain.triples()[2], other.triples()[2])
    for split in (holdout, holdout_users, leave_one_out, lambda data, seed: next(k_fold(data, seed=seed))):
        parts, others = split(plain, seed=3), split(other, seed=3)
        for part, again in zip(parts, others, strict=True):
            assert sorted(part.triples()[2]) == sorted(again.triples()[2])
