"""Block Lanczos: no claim of a narrow block is false, whatever values are equal, and its relation holds to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import Checkpoint, CodedALS, InlineCluster, UsageError
from coded_als.als import convergence, krylov, lanczos
from coded_als.als.lanczos import KrylovSpace
from coded_als.als.problem import Problem
from coded_als.arrays import EPS, Array

seeds = st.integers(0, 2**32 - 1)


def with_values(values: Array, rows: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((rows, values.size)))[0]
    right = np.linalg.qr(rng.standard_normal((values.size, values.size)))[0]
    return np.asarray((left * values) @ right.T)


def excess(model: CodedALS, matrix: Array) -> float:
    """How far the factors are above the optimum, relative to it."""
    squares = np.linalg.svd(matrix, compute_uv=False)[model.rank :] ** 2
    found = np.sum((matrix - model.user_factors_ @ model.item_factors_.T) ** 2)
    return float(found / squares.sum() - 1)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 11, 12, 13, 17, 34])
def test_the_trap_of_a_narrow_block(width: int) -> None:
    """A 12-fold leading value over values that fall slowly to a bulk: a block of 8 holds 8 of its vectors, all exact."""
    squares = np.r_[np.full(12, 2.0), np.linspace(1.95, 1.75, 60), np.full(228, 1.7)]
    matrix = with_values(np.sqrt(squares), 320, seed=width)
    model = CodedALS(12, solver="krylov", block=width).fit(matrix)
    assert model.outcome_ == "converged"
    assert excess(model, matrix) <= 2 * model.tolerance


@settings(max_examples=60)
@given(
    seed=seeds, rank=st.integers(1, 14), width=st.integers(1, 38), fold=st.integers(2, 60), place=st.integers(0, 14),
    gap=st.sampled_from([0.3, 0.1, 1e-2, 1e-4, 1e-7, 0.0]), decay=st.sampled_from([0.5, 0.9, 0.99]),
)  # fmt: skip
@example(seed=0, rank=12, width=8, fold=30, place=0, gap=0.3, decay=0.9)
@example(seed=2, rank=12, width=1, fold=8, place=4, gap=1e-2, decay=0.99)  # two probes with the same random columns
@example(seed=465626, rank=14, width=1, fold=11, place=4, gap=0.3, decay=0.99)
@example(seed=733223, rank=13, width=1, fold=13, place=0, gap=0.3, decay=0.99)
@example(seed=1, rank=5, width=2, fold=60, place=3, gap=1e-7, decay=0.99)
def test_no_repeated_value_makes_a_false_claim(
    seed: int, rank: int, width: int, fold: int, place: int, gap: float, decay: float
) -> None:
    values = decay ** np.arange(100.0)
    values[place : place + fold] = values[place]
    values[place + fold :] *= (1 - gap) * values[place] / values[place + fold]
    matrix = with_values(values, 110, seed)
    model = CodedALS(rank, solver="krylov", block=width, seed=seed % 1000).fit(matrix)
    assert not model.converged_ or excess(model, matrix) <= 2 * model.tolerance + 1e-12
    assert model.outcome_ != "unfinished"


@pytest.mark.parametrize("width", [1, 3, 7, 20])
def test_spaces_that_are_exhausted(width: int) -> None:
    identity = np.eye(40, 30)
    model = CodedALS(7, solver="krylov", block=width).fit(identity)
    assert model.converged_
    assert model.objective_ == pytest.approx(23.0)
    low = np.random.default_rng(0).standard_normal((40, 3)) @ np.random.default_rng(1).standard_normal((3, 30))
    ridged = CodedALS(7, solver="krylov", block=width, regularization=1e-3).fit(low)
    assert ridged.converged_
    assert ridged.user_factors_.shape == (40, 7)
    assert ridged.item_factors_.shape == (30, 7)
    with pytest.raises(UsageError, match="rank must be at most the rank of the matrix, here 3"):
        CodedALS(7, solver="krylov", block=width).fit(low)


def test_a_fit_that_ends_at_once_has_all_of_its_factors() -> None:
    """The columns that complete its basis are not those of its start again."""
    model = CodedALS(4, block=2, regularization=5.0, precomputation="local", seed=0).fit(np.eye(44, 8) * 0.01)
    assert len(model.history_) == 1
    assert (model.user_factors_.shape, model.item_factors_.shape) == ((44, 4), (8, 4))
    assert model.converged_
    assert not model.user_factors_.any()


@settings(max_examples=12)
@given(
    seed=seeds, width=st.integers(1, 20), capacity=st.integers(60, 200), most=st.integers(0, 150),
    error=st.sampled_from([0.0, 1e-12, 1e-8]),
)  # fmt: skip
def test_the_relation_and_orthonormality_hold_through_restarts(
    seed: int, width: int, capacity: int, most: int, error: float
) -> None:
    rng = np.random.default_rng(seed)
    length = 150
    gram = with_values(np.geomspace(1.0, 10.0 ** -rng.uniform(0, 12), length), length, seed)
    gram = (gram + gram.T) / 2
    size = float(np.linalg.norm(gram, 2))
    space = KrylovSpace(length, 10, min(length, capacity), most)
    space.join(rng.standard_normal((length, width)))
    for _ in range(40):
        space.make_room(space.next)
        images = gram @ space.pending
        space.grow(images + error * size * rng.standard_normal(images.shape) / np.sqrt(length))
        state = space.state()
        columns = np.hstack([block.array for name, block in sorted(state.items()) if name.startswith("columns")])
        relation = state["relation"]
        assert np.abs(columns.T @ columns - np.eye(columns.shape[1])).max() <= 1e-12
        drift = np.abs(gram @ columns[:, : space.known] - columns @ relation).max()
        assert drift <= (1e-12 + 10 * error) * size
        values, rotation, residuals = space.ritz(min(5, space.known))
        true = np.linalg.norm(gram @ space.vectors(rotation) - space.vectors(rotation) * values, axis=0)
        assert np.abs(true - residuals).max() <= (1e-12 + 10 * error) * size
        if space.next == 0:
            break


def test_a_basis_that_wide_blocks_have_made_large_stays_so() -> None:
    """Directions that a probe has found join a block at once, whatever the basis was meant to hold."""
    rng = np.random.default_rng(0)
    gram = with_values(np.geomspace(1.0, 1e-3, 400), 400, seed=0)
    gram = (gram + gram.T) / 2
    space = KrylovSpace(400, 10, 40)
    space.join(rng.standard_normal((400, 4)))
    for columns in (4, 30, *[4] * 20):
        space.make_room(space.next + columns)
        space.join(rng.standard_normal((400, columns)))
        space.make_room(space.next)
        space.grow(gram @ space.pending)
        values, rotation, residuals = space.ritz(5)
        true = np.linalg.norm(gram @ space.vectors(rotation) - space.vectors(rotation) * values, axis=0)
        assert np.abs(true - residuals).max() <= 1e-12


def test_one_pass_in_every_round_would_lose_orthonormality() -> None:
    """The defect grows tenfold in a round where a block keeps a tenth of its length."""
    gram = np.diag(np.r_[np.geomspace(1e4, 1e2, 5), np.linspace(1.0, 0.9, 195)])
    space = KrylovSpace(200, 10, 200)
    space.join(np.random.default_rng(0).standard_normal((200, 8)))
    for _ in range(20):
        space.grow(gram @ space.pending)
    columns = np.hstack([block.array for name, block in sorted(space.state().items()) if name.startswith("columns")])
    assert np.abs(columns.T @ columns - np.eye(columns.shape[1])).max() <= 1000 * EPS


@pytest.mark.parametrize("ratio", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_columns_that_are_nearly_dependent_become_orthonormal(ratio: float) -> None:
    """The first pass by their Gram matrix loses as many digits as it squares."""
    columns = with_values(np.geomspace(1.0, ratio, 8), 200, seed=0)
    space = KrylovSpace(200, 10, 40)
    space.join(columns)
    assert np.abs(space.pending.T @ space.pending - np.eye(8)).max() <= 30 * EPS
    assert np.abs(columns - space.pending @ (space.pending.T @ columns)).max() <= 30 * EPS


def test_rounds_are_few() -> None:
    """At the width of rank and guards, and at twice that, fewer than the locally optimal iteration."""
    matrix = with_values(np.arange(1.0, 401) ** -0.6, 500, seed=3)
    rounds = {width: len(CodedALS(10, solver="krylov", block=width).fit(matrix).history_) for width in (7, 15, 30)}
    local = len(CodedALS(10, solver="lobpcg").fit(matrix).history_)
    assert rounds[30] < rounds[15] < rounds[7]
    assert rounds[15] < local


@pytest.mark.parametrize("width", ["auto", 4, 30])
def test_codes_delays_and_sparse_rows_change_nothing(width: Any) -> None:
    matrix = sparse.random_array((90, 70), density=0.2, rng=np.random.default_rng(0), format="csr")
    whole = CodedALS(6, solver="krylov", block=width).fit(matrix)
    product = whole.user_factors_ @ whole.item_factors_.T
    for code, where in (("systematic:p=5", "local"), ("entangled:h=2", "coded"), ("replicated:copies=2", "none")):
        model = CodedALS(6, solver="krylov", block=width, code=code, precomputation=where)  # type: ignore[arg-type]
        model.fit(matrix, InlineCluster(8, "exp:mean=1ms", 1))
        assert model.converged_
        assert np.abs(model.user_factors_ @ model.item_factors_.T - product).max() <= 1e-3


def test_a_width_for_a_solver_that_has_one_is_refused() -> None:
    with pytest.raises(UsageError, match="block must be 'auto' for solver 'lobpcg', whose block has one width; got 4"):
        CodedALS(2, solver="lobpcg", block=4).fit(np.eye(5))
    with pytest.raises(UsageError, match="block must be a whole number of at least 1; got 0"):
        CodedALS(2, solver="krylov", block=0).fit(np.eye(5))


@pytest.mark.parametrize(("rank", "width"), [(8, 2), (20, 5)])
@pytest.mark.parametrize("spectrum", ["falling", "with a gap", "flat"])
def test_restarts_of_narrow_blocks_cost_hardly_a_round(
    spectrum: str, rank: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "falling": np.arange(1.0, 201) ** -0.5,
        "with a gap": np.r_[np.linspace(2.0, 1.1, rank), np.linspace(1.0, 0.2, 200 - rank)],
        "flat": np.linspace(2.0, 0.5, 200),
    }[spectrum]
    matrix = with_values(values, 220, seed=rank)
    restarted = CodedALS(rank, solver="krylov", block=width).fit(matrix)
    monkeypatch.setattr(lanczos, "NARROW_CAPACITY", 1000.0)
    monkeypatch.setattr(lanczos, "CAPACITY", 1000)
    whole = CodedALS(rank, solver="krylov", block=width).fit(matrix)
    assert restarted.converged_
    assert len(whole.rounds_) <= len(restarted.rounds_) <= 1.05 * len(whole.rounds_) + 1
    assert excess(restarted, matrix) <= 2 * restarted.tolerance


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("values", ["three clusters", "one above others"])
def test_values_that_lie_close_together_get_the_basis_that_they_need(values: str, width: int) -> None:
    """A basis that only ever had its first size would restart for ever."""
    rng = np.random.default_rng(0)
    spectra = {
        "three clusters": np.repeat([1.0, 0.3, 0.05], 48) * (1 + 1e-4 * rng.standard_normal(144)),
        "one above others": np.r_[1 + 1e-6 * rng.random(60), 0.1 + 0.01 * rng.random(84)],
    }
    matrix = with_values(np.sort(spectra[values])[::-1], 220, seed=1)
    model = CodedALS(8, block=width).fit(matrix)
    assert model.converged_
    assert len(model.history_) <= 80
    assert excess(model, matrix) <= 2 * model.tolerance


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_iterations_far_from_the_last_take_values_alone(
    ridge: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They compute no eigenvectors, and change neither the course of the fit nor its model on the way."""
    matrix = with_values(20.0 * np.arange(1.0, 261) ** -0.5, 280, seed=0)
    leading, sizes = lanczos._leading, list[int]()

    def counted(relation: Array, count: int) -> tuple[Array, Array]:
        sizes.append(len(relation))
        return leading(relation, count)

    monkeypatch.setattr(lanczos, "_leading", counted)

    def fitted(**given: Any) -> tuple[CodedALS, int]:
        sizes.clear()
        model = CodedALS(40, block=6, regularization=ridge).fit(matrix, **given)
        return model, sum(size > krylov.MANY for size in sizes)

    def compared(entry: Any, standing: CodedALS) -> None:
        users, items = standing.user_factors_, standing.item_factors_
        penalty = ridge * (np.sum(users**2) + np.sum(items**2))
        assert np.sum((matrix - users @ items.T) ** 2) + penalty == pytest.approx(entry.objective, rel=1e-9)

    model, few = fitted()
    watched, _ = fitted(callback=compared)
    fitted(checkpoint=Checkpoint(tmp_path), callback=lambda entry: entry.index == 15)
    resumed, _ = fitted(checkpoint=Checkpoint(tmp_path, resume=True))
    monkeypatch.setattr(convergence, "FALLING", np.inf)
    judged, many = fitted()
    assert few <= many - 6
    for other in (model, watched, resumed):
        assert other.converged_
        told = [entry.objective for entry in other.history_]
        assert told == pytest.approx([entry.objective for entry in judged.history_], rel=1e-12)
        assert [entry.remaining for entry in other.history_] == [entry.remaining for entry in model.history_]
        assert np.abs(other.user_factors_ - judged.user_factors_).max() <= 1e-7
    optimum = judged.history_[-1].objective
    for entry in model.history_[8:-1]:
        left = entry.objective / optimum - 1
        assert 0.2 * left <= entry.remaining <= 20 * left


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("width", [11, 22])
def test_a_space_that_is_exhausted_but_for_noise_ends_a_fit_however_much_its_objective_falls(
    width: int, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = with_values(np.r_[np.linspace(2.0, 1.0, 66), np.full(84, noise)], 160, seed=0)
    model = CodedALS(40, block=width).fit(matrix)
    assert model.converged_
    assert excess(model, matrix) <= 2 * model.tolerance
    monkeypatch.setattr(convergence, "FALLING", np.inf)
    assert len(model.history_) == len(CodedALS(40, block=width).fit(matrix).history_)


def test_a_rank_above_that_of_the_data_ends_a_fit_however_much_its_objective_falls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last Ritz values are zero, or less by rounding."""
    monkeypatch.setattr(krylov, "MANY", 0)
    for seed in (17, 31, 36, 54, 59, 63, 131, 134, 168, 185):
        rng = np.random.default_rng(seed)
        groups = int(rng.integers(2, 9))
        matrix = np.eye(groups)[rng.integers(groups, size=60)] @ rng.integers(0, 2, (groups, 30))
        rank = int(rng.integers(groups, 12))
        model = CodedALS(rank, block=int(rng.integers(1, rank + 1)), regularization=0.1, seed=seed).fit(matrix)
        assert model.outcome_ == "converged"


@pytest.mark.parametrize("shape", [(90, 70), (70, 90)])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_a_narrow_fit_ends_with_the_factors_that_the_data_have_proved(shape: tuple[int, int], ridge: float) -> None:
    matrix = sparse.random_array(shape, density=0.2, rng=np.random.default_rng(0), format="csr")
    model = CodedALS(5, block=3, regularization=ridge, precomputation="none").fit(matrix, InlineCluster(4))
    assert model.converged_
    assert len(model.rounds_) == len(model.history_)  # no last product
    users, items = model.user_factors_, model.item_factors_
    residual = matrix.toarray() - users @ items.T
    objective = np.sum(residual**2) + ridge * (np.sum(users**2) + np.sum(items**2))
    assert model.objective_ == pytest.approx(objective, rel=1e-12)
    sigma = np.linalg.svd(matrix.toarray(), compute_uv=False)
    best = np.sum(sigma**2) - np.sum(np.maximum(sigma[:5] - ridge, 0.0) ** 2)
    assert objective <= (1 + 2 * model.tolerance) * best


def test_near_an_exact_fit_an_iteration_reads_the_data_for_its_objective_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many products the proof of a narrow block takes."""
    matrix = with_values(np.r_[1000.0, np.linspace(0.4, 0.3, 60)], 70, seed=0)
    squared_error, passes = Problem.squared_error, []

    def counted(problem: Problem, *factors: Array) -> float:
        passes.append(problem)
        return squared_error(problem, *factors)

    monkeypatch.setattr(Problem, "squared_error", counted)
    model = CodedALS(5, solver="krylov", block=3).fit(matrix)
    assert model.converged_
    assert len(passes) <= len(model.history_) + 2
