"""What `converged_` claims, held against the optimum by `numpy.linalg.svd`; and what it says where float64 cannot tell."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, InlineCluster
from coded_als.als import convergence
from coded_als.als.convergence import REMEDIES, Outside, Stopping, loss_bound, probed, random_start_bound
from coded_als.als.problem import Problem
from coded_als.als.ritz import RitzPairs, signs
from coded_als.cli import main
from coded_als.errors import UsageError
from tests.strategies import seeds

TOLERANCE = CodedALS().tolerance


def with_spectrum(values, rows=60, seed=0):
    """A matrix with these singular values and random vectors."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, len(values))))[0] for size in (rows, len(values)))
    return (left * values) @ right.T


def optimum(matrix, rank, lam=0.0):
    """Eckart-Young, with the singular values above lam shrunk by it."""
    sizes = np.linalg.svd(matrix, compute_uv=False)
    head = sizes[:rank]
    return float(np.sum(np.where(head > lam, lam * (2 * head - lam), head**2)) + np.sum(sizes[rank:] ** 2))


def excess(model, matrix):
    """How far the factors are above the optimum, relative to it."""
    users, items, lam = model.user_factors_, model.item_factors_, model.regularization
    value = np.sum((matrix - users @ items.T) ** 2) + lam * (np.sum(users**2) + np.sum(items**2))
    return value / optimum(matrix, model.rank, lam) - 1


def require_truth(model, matrix):
    """Converged, and rightly so."""
    assert model.outcome_ == "converged"
    assert excess(model, matrix) <= 2 * TOLERANCE
    assert model.history_[-1].outcome == "converged"
    assert model.history_[-1].remaining <= TOLERANCE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("offset", "solver"), [(300, "lobpcg"), (300, "als"), (3000, "lobpcg")])
def test_uncentred_data_do_not_stop_early(offset, solver, seed):
    matrix = offset + np.random.default_rng(seed).standard_normal((90, 60))
    require_truth(CodedALS(4, solver=solver, tolerance=TOLERANCE, iterations=4000, seed=seed).fit(matrix), matrix)


@pytest.mark.parametrize("solver", ["lobpcg", "als"])
def test_large_leading_singular_values_do_not_stop_early(solver):
    values = np.r_[400.0, 250.0, 110.0, np.linspace(1, 0.5, 37)]
    matrix = with_spectrum(values)
    require_truth(CodedALS(3, solver=solver).fit(matrix), matrix)


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("copies", [1, 20])
def test_a_tie_at_the_cut_is_told_or_does_not_matter(gap, copies):
    values = np.r_[3.0, 2.0, 1.0, np.full(copies, 1 - gap), np.geomspace(0.4, 0.01, 39 - copies)]
    matrix = with_spectrum(values)
    require_truth(CodedALS(3).fit(matrix), matrix)
    # the paper's update sees nothing of a tie: fast directions hide the slow one
    alternating = CodedALS(3, solver="als", iterations=60).fit(matrix)
    assert alternating.outcome_ != "converged" or excess(alternating, matrix) <= 2 * TOLERANCE


@pytest.mark.parametrize("solver", ["lobpcg", "als"])
@pytest.mark.parametrize("part", [0.3, 0.97, 1.0, 1.02, 3.0])
def test_ridge_weights_about_the_singular_values(solver, part):
    matrix = with_spectrum(np.r_[9.0, 8.0, 7.0, np.geomspace(3, 0.1, 37)])
    for size in (7.0, 9.0):
        require_truth(CodedALS(3, solver=solver, regularization=part * size).fit(matrix), matrix)


def test_a_hidden_leading_direction_is_not_taken_for_absent():
    """All Ritz values of a random start are below lam^2 here, and the one singular value above it is not yet seen."""
    matrix = with_spectrum(np.r_[1.0, np.full(59, 0.1)], rows=80)
    for solver in ("lobpcg", "als"):
        require_truth(CodedALS(2, solver=solver, regularization=0.9).fit(matrix), matrix)


@pytest.mark.parametrize("solver", ["lobpcg", "als"])
@pytest.mark.parametrize("exponent", [-150, -78, 78, 150])
def test_scale_changes_nothing(solver, exponent):
    # a power of two changes no digit, so the whole fit is the same but for it
    matrix, scale = with_spectrum(np.geomspace(1, 0.01, 30)), 4.0 ** round(exponent / np.log10(4))
    plain, large = (CodedALS(3, solver=solver, regularization=0.01 * part).fit(part * matrix) for part in (1.0, scale))
    require_truth(plain, matrix)
    assert large.outcome_ == "converged"
    np.testing.assert_array_equal(large.item_factors_, plain.item_factors_ * np.sqrt(scale))
    np.testing.assert_array_equal(large.user_factors_, plain.user_factors_ * np.sqrt(scale))
    assert large.objective_ == pytest.approx(plain.objective_ * scale**2, rel=1e-12)
    assert [entry.objective for entry in large.history_] == [e.objective * scale**2 for e in plain.history_]


@pytest.mark.parametrize("size", [1e153, 1e-158])
@pytest.mark.parametrize("solver", ["lobpcg", "als"])
def test_squares_that_float64_does_not_hold_are_refused(solver, size):
    with pytest.raises(UsageError, match="squares that are finite and not zero in float64; got entries up to"):
        CodedALS(2, solver=solver).fit(size * np.random.default_rng(0).standard_normal((300, 200)))


@pytest.mark.parametrize("solver", ["lobpcg", "als"])
def test_rank_deficient_data_with_a_ridge_weight(solver):
    matrix = with_spectrum(np.r_[5.0, 4.0, 3.0, np.zeros(17)])
    for lam in (1e-9, 1e-3, 1.0):
        model = CodedALS(6, solver=solver, regularization=lam).fit(matrix)
        assert model.objective_ == pytest.approx(optimum(matrix, 6, lam), rel=1e-7)
        assert lam < 1e-6 or model.converged_


@pytest.mark.parametrize("solver", ["lobpcg", "als"])
@pytest.mark.parametrize("noise", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_the_objective_near_an_exact_fit_is_no_difference_of_traces(solver, noise, form):
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 40)) + noise * rng.standard_normal((50, 40))
    model = CodedALS(3, solver=solver).fit(form(matrix))
    assert model.converged_
    assert model.objective_ == pytest.approx(optimum(matrix, 3), rel=1e-5)
    assert model.history_[-1].objective == pytest.approx(optimum(matrix, 3), rel=1e-5)


@pytest.mark.parametrize("solver", ["lobpcg", "als"])
def test_what_float64_cannot_decide_is_said(solver, tmp_path):
    matrix = 1e6 + np.random.default_rng(0).standard_normal((50, 40))
    model = CodedALS(4, solver=solver, iterations=2000).fit(matrix)
    assert model.outcome_ == model.history_[-1].outcome == "undecided"
    assert not model.converged_
    # the remedies work
    assert CodedALS(4, solver=solver, weighting="centred").fit(matrix).converged_
    assert CodedALS(4, solver=solver, iterations=2000, tolerance=1e-2).fit(matrix).converged_
    np.save(tmp_path / "far.npy", matrix)
    arguments = ["fit", str(tmp_path / "far.npy"), "--rank", "4", "--cluster", "inline", "--solver", solver]
    told = CliRunner().invoke(main, [*arguments, "--iterations", "2000"])
    assert REMEDIES["undecided"] in told.stderr
    document = json.loads(CliRunner().invoke(main, [*arguments, "--iterations", "2000", "--json"]).stdout)
    assert (document["converged"], document["outcome"]) == (False, "undecided")


def test_an_exact_fit_is_undecided_and_iterations_may_end_a_fit():
    matrix = with_spectrum(np.r_[5.0, 4.0, 3.0, np.zeros(17)])
    assert CodedALS(3).fit(matrix).outcome_ == "undecided"
    model = CodedALS(3, iterations=1).fit(np.random.default_rng(0).standard_normal((40, 30)))
    assert (model.outcome_, model.converged_) == ("unfinished", False)


@pytest.mark.parametrize("protocol", ["fused", "paper"])
@pytest.mark.parametrize("rank", [3, 4])
def test_als_ends_when_its_subspace_is_all_there_is(protocol, rank):
    matrix = np.random.default_rng(0).standard_normal((20, rank))
    model = CodedALS(rank, solver="als", protocol=protocol, partitions=2).fit(matrix)
    assert (model.outcome_, len(model.history_)) == ("undecided", 1)
    ridged = CodedALS(rank, solver="als", protocol=protocol, partitions=2, regularization=0.5).fit(matrix)
    require_truth(ridged, matrix)


@pytest.mark.parametrize("protocol", ["fused", "paper"])
@pytest.mark.parametrize("lam", [1e-9, 1e-12, 1e-15])
def test_a_ridge_weight_at_the_level_of_rounding(protocol, lam):
    matrix = with_spectrum(np.r_[30.0, np.full(17, 5e-12)])
    model = CodedALS(2, solver="als", protocol=protocol, partitions=2, regularization=lam, iterations=60).fit(matrix)
    assert all(np.isfinite(entry.objective) for entry in model.history_)
    assert not model.converged_ or excess(model, matrix) <= 2 * TOLERANCE


@pytest.mark.parametrize("exponent", [-8, -5, -3, -1])
def test_a_flat_spectrum_is_not_taken_for_converged(exponent):
    for seed in range(5):
        drop = 10.0**exponent * np.sort(np.random.default_rng(seed).random(80))
        matrix = with_spectrum(1.0 - drop, rows=110, seed=seed)
        model = CodedALS(1 + 3 * seed, seed=seed).fit(matrix)
        assert not model.converged_ or excess(model, matrix) <= 2 * TOLERANCE
        assert model.outcome_ != "undecided"


@pytest.mark.parametrize("tolerance", [0.0, 1e-17])
def test_a_tolerance_below_rounding_ends_and_is_never_claimed(tolerance):
    model = CodedALS(3, tolerance=tolerance).fit(np.random.default_rng(0).standard_normal((40, 30)))
    assert model.outcome_ == "undecided"
    assert len(model.history_) < 40


@given(seed=seeds, rank=st.integers(1, 4), lam=st.sampled_from([0.0, 0.3, 2.0]), shrink=st.integers(0, 12))
@settings(max_examples=60)
def test_the_bound_is_above_what_is_lost(seed, rank, lam, shrink):
    """For exact Ritz pairs near the leading eigenvectors, with the true eigenvalue outside."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(0, 4, 9))[::-1]
    near = np.eye(9)[:, :rank] + 10.0 ** -(shrink / 2) * rng.standard_normal((9, rank)) / 10
    basis = np.linalg.qr(near)[0]
    ritz, rotation = np.linalg.eigh(basis.T @ (values[:, np.newaxis] * basis))
    ritz, vectors = ritz[::-1], basis @ rotation[:, ::-1]
    residuals = np.linalg.norm(values[:, np.newaxis] * vectors - vectors * ritz, axis=0)
    explained = [np.sum(np.maximum(np.sqrt(part) - lam, 0) ** 2) for part in (values[:rank], ritz)]
    complement = np.linalg.svd(np.eye(9) - vectors @ vectors.T)[0][:, : 9 - rank]
    outside = np.linalg.eigvalsh(complement.T @ (values[:, np.newaxis] * complement))[-1]
    bound = loss_bound(ritz, residuals, Outside(float(outside)), rank, lam)
    assert bound >= (explained[0] - explained[1]) * (1 - 1e-9) - 1e-14


def test_signs_of_the_factors_do_not_depend_on_who_was_slow():
    # entries of equal size, as ratings have them: the largest entry of a column is a tie
    matrix = np.kron(np.diag([3.0, 2.0, 1.0]), np.array([[1.0, -1.0], [-1.0, 1.0]])) + np.eye(6) * 0.01
    for solver in ("lobpcg", "als"):
        fits = [
            CodedALS(3, partitions=3, solver=solver).fit(matrix, InlineCluster(12, "exp:mean=1ms", seed))
            for seed in range(8)
        ]
        for model in fits[1:]:
            np.testing.assert_allclose(model.user_factors_, fits[0].user_factors_, atol=1e-6)
            np.testing.assert_allclose(model.item_factors_, fits[0].item_factors_, atol=1e-6)


def test_both_signs_of_a_vector_become_one():
    vectors = np.random.default_rng(0).standard_normal((7, 5))
    np.testing.assert_array_equal(vectors * signs(vectors), -vectors * signs(-vectors))


def test_a_probe_that_cannot_tell_takes_all_its_steps() -> None:
    """The last of them, too, leaves columns that would come next."""
    values = np.linspace(2.0, 1.0, 420)
    problem = Problem.of(np.diag(np.sqrt(values)))
    probe = probed(problem, np.eye(420)[:, :3], float(values[3]), None)
    assert values[40] < probe.value <= values[3] * (1 + 1e-12)
    assert probe.above >= values[3] * (1 - 1e-12)


@given(seed=seeds, place=st.integers(3, 79), hidden=st.floats(1e-3, 4.0), decay=st.floats(-4, 0))
@settings(max_examples=60)
def test_a_probe_misses_nothing_outside(seed, place, hidden, decay):
    """One large eigenvalue outside, however small its part of a random start, among small ones."""
    rng = np.random.default_rng(seed)
    squares = np.r_[np.full(3, 5.0), np.geomspace(1.0, 10.0**decay, 77) * rng.uniform(0.9, 1, 77)]
    squares[place] = hidden
    vectors = np.linalg.qr(rng.standard_normal((80, 80)))[0]
    problem = Problem(np.sqrt(squares)[:, np.newaxis] * vectors.T, False)
    probe = probed(problem, vectors[:, :3], 5.0, None)
    assert probe.above >= squares[3:].max() * (1 - 1e-12)
    assert probe.value <= squares[3:].max() * (1 + 1e-12)


SPECTRA = {
    "one above a flat rest": np.r_[1.0, np.full(99, 0.7)],
    "one above a close rest": np.r_[1.0, np.full(99, 0.95)],
    "even": np.linspace(1.0, 0.0, 100),
    "dense at the top": 1.0 - np.linspace(0.0, 1.0, 100) ** 3,
    "falling": 0.8 ** np.arange(100),
}


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_a_random_start_sees_less_than_its_bound_as_seldom_as_that_says(spectrum, columns, monkeypatch):
    """At one chance in 20, so that it can be counted: by products with the spectrum itself, and numpy's own eigenvalues."""
    monkeypatch.setattr(convergence, "UNSEEN", 0.05)
    values, draws = SPECTRA[spectrum], 200
    for steps in (2, 4, 7, 12):
        missed = 0
        for seed in range(draws):
            block = np.random.default_rng((seed, steps)).standard_normal((values.size, columns))
            parts = [block / np.linalg.norm(block, axis=0)]
            for _ in range(steps - 1):
                # each block made orthonormal, which spans the same space with all its digits
                known = np.linalg.qr(np.hstack(parts))[0]
                parts = [known, values[:, np.newaxis] * known[:, -columns:]]
            space = np.linalg.qr(np.hstack(parts))[0]
            found = np.linalg.eigvalsh(space.T @ (values[:, np.newaxis] * space))[-1]
            missed += random_start_bound(float(found), steps, columns, values.size) < 1.0
        assert missed <= 0.05 * draws + 3 * np.sqrt(0.05 * draws)


@given(
    seed=seeds, length=st.integers(4, 24), closeness=st.floats(-6, 0), kind=st.integers(0, 3), rank=st.integers(1, 21),
    guards=st.integers(0, 22), lacking=st.booleans(),
)  # fmt: skip
@example(seed=751998, length=9, closeness=-1.84, kind=3, rank=3, guards=5, lacking=True)  # guards that lift
@example(seed=739750, length=18, closeness=-2.95, kind=1, rank=1, guards=14, lacking=True)
@settings(max_examples=300)
def test_the_loss_bound_holds_with_guards_that_are_no_eigenvectors(
    seed, length, closeness, kind, rank, guards, lacking
):
    """Any subspace, also one that lacks a direction: against numpy's eigenvalues, with the true bound of what lies outside."""
    rank = min(rank, length - 3)
    inside = min(rank + guards, length - 1)
    rng = np.random.default_rng(seed)
    spectra = (
        rng.random(length),
        np.geomspace(1.0, 1e-4, length),
        np.round(4 * rng.random(length)) / 4 + 1e-3 * rng.random(length),
        1 - 10.0 ** rng.uniform(-6, 0, length) * rng.random(length),
    )
    true = np.sort(spectra[kind])[::-1]
    near = np.eye(length)[:, :inside]
    if lacking:
        near[:, rng.integers(inside)] = np.eye(length)[:, inside]
    noise = 10.0 ** rng.uniform(closeness - 3, closeness, inside) * rng.standard_normal(near.shape)
    near = np.linalg.qr(near + noise)[0]
    values, turned = np.linalg.eigh(near.T @ (true[:, np.newaxis] * near))
    values, vectors = values[::-1], near @ turned[:, ::-1]
    residuals = np.linalg.norm(true[:, np.newaxis] * vectors - vectors * values, axis=0)
    pairs = RitzPairs(values, vectors, residuals, inside - rank)
    stopping = Stopping(Problem.of(np.diag(np.sqrt(true))), rank, 0.0, 1e-8, block=1)
    for told in {rank, rank + stopping._settled_count(pairs), inside}:
        rest = np.linalg.qr(vectors[:, :told], mode="complete")[0][:, told:]
        above = float(np.linalg.eigvalsh(rest.T @ (true[:, np.newaxis] * rest))[-1])
        outside = stopping._outside_of_rank(pairs, told, above)
        bound = stopping._certificate(pairs, 0.0, outside).loss
        assert bound >= (true[:rank] - values[:rank]).sum() * (1 - 1e-9) - 1e-13


@pytest.mark.parametrize("protocol", ["fused", "paper"])
def test_one_direction_outside_that_nearly_ties(protocol):
    """Far above all others outside, and hardly told from those inside by sweeps: a probe must find it."""
    matrix = with_spectrum(np.r_[np.full(16, 16.0), 15.999, np.geomspace(4.4, 0.05, 103)], 140, seed=5)
    model = CodedALS(16, solver="als", protocol=protocol, iterations=8, seed=5).fit(matrix)
    assert not model.converged_ or excess(model, matrix) <= 2 * TOLERANCE


@pytest.mark.parametrize("low", [1, 2, 5])
@pytest.mark.parametrize("width", [1e-8, 1e-6])
def test_guards_that_hold_what_lies_far_below_do_not_speak_for_the_rest(low, width):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        top = np.r_[1.0 + width * np.sort(rng.random(20))[::-1], rng.uniform(0.0, 0.3, low)]
        matrix = with_spectrum(top, rows=40, seed=seed)
        model = CodedALS(3, seed=seed).fit(matrix)
        assert not model.converged_ or excess(model, matrix) <= 2 * TOLERANCE


@pytest.mark.parametrize("seed", [130, 241, 513, 801, 954, 978, 1131, 1260, 1900, 1920, 2685, 2964])
def test_guards_in_a_lower_cluster_do_not_speak_while_others_are_between(seed):
    rng = np.random.default_rng([7, seed])
    length, levels = int(rng.integers(9, 70)), int(rng.integers(1, 5))
    cuts = np.sort(rng.choice(np.arange(1, length), size=levels - 1, replace=False))
    heights = np.sort(10.0 ** rng.uniform(-2.5, 0, levels))[::-1]
    parts = [
        h * (1 + 10.0 ** rng.uniform(-10, -1) * rng.random(n))
        for h, n in zip(heights, np.diff([0, *cuts, length]), strict=True)
    ]
    values = np.sort(np.concatenate(parts))[::-1]
    rows = length + int(rng.integers(0, 20))
    left, right = (np.linalg.qr(rng.standard_normal((size, length)))[0] for size in (rows, length))
    matrix, rank = (left * values) @ right.T, int(rng.integers(1, min(12, length)))
    model = CodedALS(rank, seed=seed, iterations=60).fit(matrix)
    assert not model.converged_ or excess(model, matrix) <= 2 * TOLERANCE
