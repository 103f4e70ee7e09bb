"""Coded fits that start from a model: fewer rounds, the same optimum, and no proof that rests on the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from coded_als import Checkpoint, CodedALS, UsageError
from coded_als.als import estimator
from coded_als.als.convergence import Stopping
from coded_als.als.problem import Problem
from coded_als.als.ritz import RitzPairs
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.planner.solvers import SOLVERS


def optimum(matrix: np.ndarray, rank: int) -> float:
    return float((np.linalg.svd(matrix, compute_uv=False)[rank:] ** 2).sum())


def movielens(shared_data: Path) -> RatingData:
    return load_ratings(str(shared_data / "ml-100k" / "u.data"))


@pytest.mark.parametrize("rank", [20, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("solver", [{}, {"solver": "lobpcg"}, {"solver": "krylov", "block": "rank"}])
def test_a_tenth_of_new_ratings_takes_fewer_rounds_than_from_scratch(
    shared_data: Path, solver: dict[str, str], rank: int
) -> None:
    data = movielens(shared_data)
    old, _ = holdout(data, 0.1, seed=1)
    given = solver | ({"block": rank + 5} if "block" in solver else {})
    before = CodedALS(rank, **given).fit(old)  # type: ignore[arg-type]
    scratch = CodedALS(rank, **given).fit(data)  # type: ignore[arg-type]
    again = CodedALS(rank, **given).fit(data, start=before)  # type: ignore[arg-type]
    assert again.converged_
    assert len(again.history_) < len(scratch.history_)
    assert again.objective_ <= scratch.objective_ * (1 + 5e-9)


@pytest.mark.parametrize("solver", list(SOLVERS))
@pytest.mark.parametrize("rank", [2, 7])
def test_a_community_that_the_model_has_never_seen_is_found(solver: str, rank: int) -> None:
    # the start spans an invariant subspace, so that its residuals are zero at once, and guards settle in the bulk outside
    known = np.concatenate([2.5 - 0.1 * np.arange(rank - 1), [1.95], np.full(30, 0.1)])
    strange = np.concatenate([[2.0], np.full(400, 1.85)])
    before = CodedALS(rank).fit(np.diag(known))
    both = np.diag(np.concatenate([known, strange]))
    model = CodedALS(rank, solver=solver, iterations=60).fit(both, start=before)
    best = optimum(both, rank)
    assert model.objective_ <= best * (1 + 6e-9) or not model.converged_
    assert model.converged_ or solver == "als"


def test_settled_guards_of_a_warm_start_are_no_proof() -> None:
    values = np.array([3.0, 2.5, 2.9, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5])  # the third is in no pair
    problem = Problem.of(np.diag(np.sqrt(values)))
    inside = [0, 1, 3, 4, 5, 6, 7]
    pairs = RitzPairs(values[inside], np.eye(9)[:, inside], np.full(7, 1e-12), guards=5)
    cold, warm = Stopping(problem, 2, 0.0, 5e-9), Stopping(problem, 2, 0.0, 5e-9, block=2, warm=True)
    for stopping in (cold, warm):
        for _ in range(2):
            judgement = stopping.judge(pairs, 0.0)
    assert cold.outcome == "converged"  # guards of a random start would have met it
    assert judgement.outcome == "running"
    assert warm.missed is not None
    assert abs(warm.missed[2, 0]) == pytest.approx(1.0)
    again = Stopping(problem, 2, 0.0, 5e-9)
    again.go_on(*warm.state())
    assert again.warm
    assert again.block == 2


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_a_warm_fit_is_judged_as_one(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    judges: list[Stopping] = []

    def noted(*arguments: Any) -> Stopping:
        judges.append(Stopping(*arguments))
        return judges[-1]

    monkeypatch.setattr(estimator, "Stopping", noted)
    matrix = np.random.default_rng(0).standard_normal((40, 30))
    before = CodedALS(4, solver=solver).fit(matrix)
    CodedALS(4, solver=solver).fit(matrix, start=before)
    assert [judge.warm for judge in judges] == [False, True]
    # without guards a probe is all that there is; with guards, those of the random columns alone count
    assert judges[1].block is None if solver == "als" else (judges[1].block or 99) <= 4


def test_random_starts_are_never_a_false_proof() -> None:
    generator = np.random.default_rng(5)
    for trial in range(25):
        rows, columns = generator.integers(12, 60, 2)
        rank = int(generator.integers(1, min(rows, columns) - 6))
        matrix = generator.standard_normal((rows, columns)) * generator.choice([1.0, 0.7], columns) ** np.arange(
            columns
        )
        other = matrix.copy()
        other[:, generator.random(columns) < 0.4] = 0.01
        solver = ["lobpcg", "krylov"][trial % 2]
        before = CodedALS(min(int(generator.integers(1, 6)), rank), solver=solver).fit(other)
        model = CodedALS(rank, solver=solver).fit(matrix, start=before)
        best = optimum(matrix, rank)
        if model.converged_:
            assert model.objective_ <= best * (1 + 6e-9) + 1e-12 * float((matrix**2).sum())


def frame(matrix: np.ndarray, users: list[str], items: list[str]) -> RatingData:
    return RatingData(sparse.csr_array(matrix), np.array(users), np.array(items), "a test")


def test_users_and_items_are_matched_by_name() -> None:
    generator = np.random.default_rng(1)
    matrix = generator.random((30, 20)) @ generator.random((20, 20))
    users, items = [f"u{place:02d}" for place in range(30)], [f"i{place:02d}" for place in range(20)]
    before = CodedALS(6, solver="lobpcg").fit(frame(matrix, users, items))
    order, places = generator.permutation(30), generator.permutation(20)
    turned = frame(matrix[order][:, places], [users[one] for one in order], [items[one] for one in places])
    again = CodedALS(6, solver="lobpcg").fit(turned, start=before)
    scratch = CodedALS(6, solver="lobpcg").fit(turned)
    assert again.history_[0].objective <= 1.0001 * before.objective_ < scratch.history_[0].objective
    assert again.predict("u03", "i07") == pytest.approx(before.predict("u03", "i07"), rel=1e-3)
    with pytest.raises(UsageError, match="share users or items"):
        CodedALS(6).fit(frame(matrix, [f"x{one}" for one in users], [f"x{one}" for one in items]), start=before)
    with pytest.raises(UsageError, match="ratings must have ids"):
        CodedALS(6).fit(matrix, start=before)


def test_start_and_resume_do_not_mix_and_a_warm_fit_resumes_with_its_own_proof(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    matrix = generator.random((40, 30))
    before = CodedALS(4).fit(matrix[:, :20])
    whole = CodedALS(4).fit(matrix, start=before)
    with pytest.raises(UsageError, match="start or go on with resume"):
        CodedALS(4).fit(matrix, start=before, checkpoint=Checkpoint(tmp_path / "one", resume=True))
    for solver in ("lobpcg", "krylov"):
        folder = tmp_path / solver
        CodedALS(4, solver=solver, iterations=2).fit(matrix, start=before, checkpoint=Checkpoint(folder))
        resumed = CodedALS(4, solver=solver).fit(matrix, checkpoint=Checkpoint(folder, resume=True))
        assert resumed.converged_
        assert resumed.objective_ == pytest.approx(whole.objective_, rel=1e-8)


def test_a_callback_gets_the_model_and_ends_the_fit() -> None:
    generator = np.random.default_rng(3)
    matrix = generator.standard_normal((90, 80))
    data = frame(matrix, [f"u{place:02d}" for place in range(90)], [f"i{place:02d}" for place in range(80)])
    for solver in SOLVERS:
        seen: list[tuple[int, float, float]] = []

        def stop(entry: object, model: CodedALS, seen: list[tuple[int, float, float]] = seen) -> bool:
            ids, _ = model.recommend("u03", n=3, filter_seen=False)
            assert len(ids) == 3
            error = float(((matrix - model.user_factors_ @ model.item_factors_.T) ** 2).sum())
            seen.append((len(model.history_), error, model.objective_))
            return len(seen) == 3

        model = CodedALS(4, solver=solver).fit(data, callback=stop)
        assert len(model.history_) == 3 == len(seen)
        assert model.outcome_ == "unfinished"
        assert model.remedy_ is not None
        assert "callback" in model.remedy_
        assert [index for index, _, _ in seen] == [1, 2, 3]
        assert all(error == pytest.approx(objective, rel=1e-6) for _, error, objective in seen[1:])
