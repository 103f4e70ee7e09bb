"""Fits and operators on the sparse rows of R: the optimum without D, and when D is formed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, InlineCluster, LocalCluster, SimulatedCluster
from coded_als.cluster.machine import Machine
from coded_als.codes import parse_code
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.planner.schemes import Extent, gram_on_workers_s, holds_gram


def random_matrix(seed: int, shape: tuple[int, int], density: float = 0.1) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    return sparse.random_array(shape, density=density, rng=rng, format="csr", data_sampler=rng.standard_normal)


def optimum(matrix: Any, rank: int, lam: float = 0.0) -> float:
    """Of the ridge objective, from the singular values alone."""
    sizes = np.linalg.svd(matrix.toarray(), compute_uv=False)
    kept = sizes[:rank]
    shrunk = np.where(kept > lam, 2 * lam * kept - lam**2, kept**2)
    return float(np.sum(sizes[rank:] ** 2) + shrunk.sum())


@pytest.mark.parametrize("make", [InlineCluster, SimulatedCluster, LocalCluster])
@pytest.mark.parametrize("shape", [(120, 70), (70, 120)])
def test_the_optimum_is_reached_without_a_gram_matrix(make: Any, shape: tuple[int, int]) -> None:
    matrix = random_matrix(0, shape)
    with make(4, "bimodal:p=0.2,fast=1ms,slow=60ms", seed=1) as cluster:
        model = CodedALS(4, precomputation="none").fit(matrix, cluster)
    assert (model.code_, model.precomputation_) == ("replicated:copies=3", "none")
    assert model.converged_
    assert model.objective_ == pytest.approx(optimum(matrix, 4), rel=1e-8)
    assert {record.label for record in model.rounds_} == {"E = A^T (A X)", "U = A H"}
    assert [record.label for record in model.rounds_].count("U = A H") == 1


@settings(max_examples=60)
@example(seed=64, rows=15, columns=23, rank=4, lam=0.0, solver="als", copies=1)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 30),
    columns=st.integers(1, 30),
    rank=st.integers(1, 4),
    lam=st.sampled_from([0.0, 0.3]),
    solver=st.sampled_from(["lobpcg", "als"]),
    copies=st.integers(1, 6),
)
def test_any_sparse_matrix_reaches_the_optimum(
    seed: int, rows: int, columns: int, rank: int, lam: float, solver: Any, copies: int
) -> None:
    matrix = random_matrix(seed, (rows, columns), 0.4)
    sizes = np.linalg.svd(matrix.toarray(), compute_uv=False)
    assume(rank <= sizes.size and sizes[rank - 1] > 1e-6 * sizes[0])
    model = CodedALS(
        rank, precomputation="none", code=f"replicated:copies={copies}", solver=solver, regularization=lam
    ).fit(matrix, InlineCluster(6, "exp:mean=1ms", seed=seed))
    scale = float(np.sum(matrix.data**2))
    best = optimum(matrix, rank, lam)
    # near a tie at the cut ALS does not end in its iterations, and then says how far it may be
    unfinished = model.outcome_ == "unfinished"
    allowed = 1e-6 * best + 1e-10 * scale + (model.history_[-1].remaining * best if unfinished else 0.0)
    assert -1e-6 * best - 1e-10 * scale <= model.objective_ - best <= allowed
    found = model.user_factors_ @ model.item_factors_.T
    penalty = lam * float(np.sum(model.user_factors_**2) + np.sum(model.item_factors_**2))
    actual = float(np.sum((matrix.toarray() - found) ** 2)) + penalty
    assert model.objective_ == pytest.approx(actual, rel=1e-9, abs=1e-13 * scale)


def test_nothing_of_the_size_of_a_gram_matrix_exists() -> None:
    """l = 20,000: D would take 3.2 GB, and the matrix takes 0.6 MB."""
    matrix = random_matrix(0, (30_000, 20_000), 1e-4)
    tracemalloc.start()
    model = CodedALS(5, iterations=3).fit(matrix, InlineCluster(6))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.precomputation_ == "none"
    assert peak < 200e6


def test_who_was_slow_is_not_in_the_factors() -> None:
    matrix = random_matrix(3, (60, 50), 0.3)
    factors = [
        CodedALS(4, precomputation="none").fit(matrix, InlineCluster(7, "exp:mean=1ms", seed=seed)).user_factors_
        for seed in range(3)
    ]
    for other in factors[1:]:
        np.testing.assert_array_equal(factors[0], other)


def test_a_fit_survives_the_loss_of_all_copies_but_one() -> None:
    matrix = random_matrix(4, (40, 30), 0.3)
    model = CodedALS(2, precomputation="none", code="replicated:copies=2").fit(matrix, InlineCluster(2, "dead:n=1"))
    assert model.objective_ == pytest.approx(optimum(matrix, 2), rel=1e-8)
    with pytest.raises(NotEnoughWorkers, match="No copy is left"):
        CodedALS(2, precomputation="none", code="uncoded").fit(matrix, InlineCluster(2, "dead:n=1"))


@pytest.mark.parametrize(
    ("options", "code", "where"),
    [
        ({}, "systematic:p=7", "local"),
        ({"code": "uncoded"}, "uncoded", "local"),
        ({"precomputation": "coded"}, "systematic:p=7", "coded"),
        ({"partitions": 2}, "entangled:h=2", "local"),
        ({"precomputation": "none"}, "replicated:copies=3", "none"),
        ({"precomputation": "none", "code": "uncoded"}, "uncoded", "none"),
        ({"protocol": "paper", "solver": "als"}, "entangled:h=3", "local"),
    ],
)
def test_a_small_matrix_has_its_gram_matrix_formed_unless_told_otherwise(
    options: dict[str, Any], code: str, where: str
) -> None:
    spread = CodedALS(3, **options).plan(random_matrix(0, (50, 40)), 10)
    assert (spread.code.spec, spread.precomputation) == (code, where)


@pytest.mark.parametrize(
    ("options", "code", "where"),
    [
        ({}, "replicated:copies=3", "none"),
        ({"code": "replicated:copies=5"}, "replicated:copies=5", "none"),
        ({"code": "uncoded"}, "uncoded", "none"),
        ({"code": "systematic"}, "systematic:p=7", "local"),  # a wish that D be formed
        ({"partitions": 2}, "entangled:h=2", "local"),
        ({"code": "uncoded", "precomputation": "local"}, "uncoded", "local"),
    ],
)
def test_a_large_one_stays_sparse_unless_told_otherwise(options: dict[str, Any], code: str, where: str) -> None:
    spread = CodedALS(3, **options).plan(random_matrix(0, (30_000, 20_000), 1e-5), 10)
    assert (spread.code.spec, spread.precomputation) == (code, where)


def test_a_gram_matrix_that_does_not_fit_is_refused_in_a_line_and_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = random_matrix(0, (50, 40))
    assert CodedALS(3).plan(matrix, 10).precomputation == "local"
    monkeypatch.setattr("coded_als.als.spread.holds_gram", lambda length: False)
    for options in ({}, {"code": "uncoded"}):
        assert CodedALS(3, **options).plan(matrix, 10).precomputation == "none"
    for options in ({"code": "systematic:p=6"}, {"partitions": 2}, {"precomputation": "local"}):
        with pytest.raises(UsageError, match=r"must fit into memory; it would be dense, .*Use code='auto'"):
            CodedALS(3, **options).plan(matrix, 10)
    assert CodedALS(3, code="systematic:p=6").plan(matrix.toarray(), 10).precomputation == "local"


@pytest.mark.parametrize("shape", [(90, 40), (40, 90)])
@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"center": "both"}, {"regularization": 0.5}])
@pytest.mark.parametrize("verify", ["off", "freivalds"])
@pytest.mark.parametrize("solver", ["krylov", "lobpcg", "als"])
def test_one_worker_fits_a_dense_matrix_with_and_without_its_gram_matrix_alike(
    shape: tuple[int, int], options: dict[str, Any], verify: str, solver: str
) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape) @ np.diag(0.9 ** np.arange(shape[1]))
    options = {"verify": verify, "solver": solver, "tolerance": 1e-5, **options}
    whole = CodedALS(4, precomputation="none", **options).fit(matrix)
    formed = CodedALS(4, precomputation="local", **options).fit(matrix)
    assert (whole.precomputation_, whole.outcome_, formed.outcome_) == ("none", "converged", "converged")
    assert whole.objective_ == pytest.approx(formed.objective_, rel=2e-5)
    labels = {record.label for record in whole.rounds_}
    assert labels == {"E = A^T (A X)"}


def test_a_large_dense_matrix_stays_as_it_is_on_one_worker_where_that_is_sooner() -> None:
    def where(rows: int, length: int, workers: int = 1, narrow: bool = False, **options: Any) -> str:
        extent = Extent(rows, length, None, narrow=narrow)
        return CodedALS(20, **options).spread_over(extent, workers).precomputation

    assert where(6000, 4000) == where(100_000, 2000) == "none"
    # the Gram matrix is small, or several workers share it, or what is held would have to be copied, or a code is asked for
    assert where(100_000, 50) == where(6000, 4000, narrow=True) == "local"
    assert where(6000, 4000, workers=4) != "none"
    # 192 MB for the matrix, 128 MB for its Gram matrix
    assert where(6000, 4000, memory_per_worker=192e6) == "none"
    assert where(6000, 4000, memory_per_worker=191e6) == "local"
    assert where(6000, 4000, code="entangled:h=1") == where(6000, 4000, protocol="paper", solver="als") == "local"


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_a_dense_matrix_of_another_type_is_not_copied_to_be_held(dtype: type) -> None:
    matrix = np.random.default_rng(0).integers(-5, 5, (60, 50)).astype(dtype)
    with pytest.raises(UsageError, match="a float64 matrix on one worker"):
        CodedALS(3, precomputation="none").fit(matrix)
    assert CodedALS(3).fit(matrix).precomputation_ == "local"


def test_a_terabyte_does_not_fit() -> None:
    assert holds_gram(100)
    assert not holds_gram(3_000_000)


SPARSE = random_matrix(0, (30, 20), 0.3)


@pytest.mark.parametrize(
    ("ratings", "options", "message"),
    [
        (SPARSE.toarray(), {}, "sparse rows of R; got a dense R. Pass a scipy sparse matrix"),
        (SPARSE, {"code": "systematic:p=4"}, "held in copies, not coded.*got code systematic:p=4. Use replicated"),
        (SPARSE, {"partitions": 2}, "held in copies, not coded.*got code entangled:h=2"),
        (SPARSE, {"code": "replicated:copies=9"}, "workers must be at least 9"),
        (SPARSE, {"protocol": "paper", "solver": "als"}, "protocol 'paper' needs D; got precomputation 'none'"),
    ],
)
def test_what_cannot_be_multiplied_sparsely_is_refused(ratings: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CodedALS(3, precomputation="none", **options).fit(ratings, InlineCluster(6))


def test_fewer_workers_than_copies_hold_as_many_as_they_are() -> None:
    assert CodedALS(3, precomputation="none").fit(SPARSE, InlineCluster(2)).code_ == "replicated:copies=2"


@pytest.mark.parametrize("verify", ["off", "freivalds"])
@pytest.mark.parametrize("code", ["systematic:p=4,pieces=7", "replicated:copies=2,pieces=5"])
@pytest.mark.parametrize("make", [InlineCluster, SimulatedCluster, LocalCluster])
def test_the_gram_matrix_is_formed_in_pieces(make: Any, code: str, verify: Any) -> None:
    """Rows of the two-sided cut decode piece by piece, and each piece of both stored shares is checked by itself."""
    matrix = np.random.default_rng(7).standard_normal((90, 50))
    with make(6, "exp:mean=2ms", seed=2) as cluster:
        model = CodedALS(4, code=code, precomputation="coded", verify=verify).fit(matrix, cluster)
    first = model.rounds_[0]
    assert (first.label, first.pieces) == ("D = A^T A", parse_code(code).pieces)
    assert model.left_out_ == ()
    assert model.objective_ == pytest.approx(float(np.sum(np.linalg.svd(matrix)[1][4:] ** 2)), rel=1e-8)


def test_a_lie_in_a_piece_of_the_gram_matrix_is_noticed() -> None:
    matrix = np.random.default_rng(8).standard_normal((40, 30))
    model = CodedALS(3, code="systematic:p=4,pieces=6", precomputation="coded", verify="freivalds")
    with InlineCluster(8) as cluster:
        kept = cluster.store

        def spoilt(name: str, shares: Any) -> None:
            """Worker 2 holds another right share than the master gave it."""
            kept(name, [share * (1 + 1e-4 * ("A_right" in name and w == 2)) for w, share in enumerate(shares)])

        cluster.store = spoilt  # type: ignore[method-assign]
        model.fit(matrix, cluster)
    assert model.left_out_ == model.rounds_[0].left_out == (2,)
    assert model.objective_ == pytest.approx(float(np.sum(np.linalg.svd(matrix)[1][3:] ** 2)), rel=1e-8)


def test_the_default_forms_the_gram_matrix_in_no_more_time_than_no_code() -> None:
    """Whole shares at p = W / 2 would do twice the work."""
    machine, rows, length = Machine(message_s=0.0, latency_s=0.0, bytes_per_second=np.inf), 40_000, 20_000
    default, none = (
        gram_on_workers_s(parse_code(code), rows, length, 30, machine) for code in ("systematic:p=15", "uncoded")
    )
    whole = gram_on_workers_s(parse_code("systematic:p=15,pieces=1"), rows, length, 30, machine)
    work_s = machine.computing_s(rows * length**2 / 30)
    assert whole - default == pytest.approx(work_s, rel=0.01)
    assert default <= none + 0.1 * work_s
