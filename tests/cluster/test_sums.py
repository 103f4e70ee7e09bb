"""Copies of sparse rows in pieces: parts of sums, each from the first copy that has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, InlineCluster, LocalCluster, SimulatedCluster
from coded_als.als.products import RoundLog
from coded_als.als.sparse_rows import SparseRows
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import play
from coded_als.cluster.questions import EveryPiece, pieces_of_sum
from coded_als.cluster.rules import first_copies
from coded_als.cluster.verification import VerifiedCluster
from coded_als.cluster.waiting import RoundCost
from coded_als.codes.pieces import PieceLayout
from coded_als.delays import DelayStream
from coded_als.errors import NotEnoughWorkers
from coded_als.kernels import piece_operands


def random_rows(seed: int, rows: int, columns: int, density: float = 0.3) -> Any:
    rng = np.random.default_rng(seed)
    return sparse.csr_array(sparse.random_array((rows, columns), density=density, rng=rng, format="csr"))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 20), pieces=st.integers(1, 9), density=st.floats(0, 1))
def test_the_pieces_of_sparse_rows_are_all_rows_once(seed: int, rows: int, pieces: int, density: float) -> None:
    matrix = random_rows(seed, rows, 7, density)
    parts = [
        piece_operands("row_gram_product", (matrix.data, matrix.indices, matrix.indptr, None), piece, pieces)
        for piece in range(pieces)
    ]
    assert sum(part[2].size - 1 for part in parts) == rows
    joined = [sparse.csr_array(part[:3], shape=(part[2].size - 1, 7)).toarray() for part in parts]
    np.testing.assert_array_equal(np.concatenate(joined), matrix.toarray())
    longest = int(np.diff(matrix.indptr).max(initial=0))
    assert all(part[0].size <= matrix.nnz / pieces + longest for part in parts)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 12),
    copies=st.integers(1, 5),
    pieces=st.integers(2, 7),
    delays=st.sampled_from(["none", "exp:mean=5ms", "slowdown-lognormal:sigma=1"]),
    verify=st.booleans(),
)
def test_products_in_pieces_are_those_of_whole_copies(
    seed: int, workers: int, copies: int, pieces: int, delays: str, verify: bool
) -> None:
    matrix, rng = random_rows(seed, 37, 19), np.random.default_rng(seed)
    right = rng.standard_normal((19, 4))
    cluster: Any = SimulatedCluster(workers, delays, seed, Machine(1e5))
    log = RoundLog(VerifiedCluster(cluster) if verify else cluster)
    rows = SparseRows.given_out(matrix, log, min(copies, workers), pieces=pieces)
    np.testing.assert_allclose(rows.gram_product(right), (matrix.T @ (matrix @ right)), atol=1e-12)
    assert log.records[-1].pieces == pieces
    assert log.left_out == ()


@pytest.mark.parametrize("make", [InlineCluster, SimulatedCluster, LocalCluster])
def test_slow_workers_do_not_change_a_bit(make: Any) -> None:
    matrix = random_rows(3, 60, 50)
    factors = []
    for seed in range(3):
        with make(6, "exp:mean=2ms+slowdown-lognormal:sigma=1", seed=seed) as cluster:
            model = CodedALS(4, precomputation="none", code="replicated:copies=3,pieces=3").fit(matrix, cluster)
            factors.append(model.user_factors_)
            assert {record.pieces for record in model.rounds_ if record.label.startswith("E")} == {3}
    for other in factors[1:]:
        np.testing.assert_array_equal(factors[0], other)


@pytest.mark.parametrize("make", [InlineCluster, LocalCluster])
def test_a_wrong_part_of_a_sum_is_noticed_and_a_block_without_a_copy_too(make: Any) -> None:
    matrix, right = random_rows(5, 40, 30), np.random.default_rng(5).standard_normal((30, 3))
    with make(4) as cluster, VerifiedCluster(cluster) as verified:
        rows = SparseRows.given_out(matrix, RoundLog(verified), 2, pieces=2)
        blocks = [np.array(verified._held[rows.operands[0]][worker]) for worker in range(4)]
        blocks[2][3] *= 1.001
        cluster.store(rows.operands[0], blocks)  # behind the back of the one that checks
        for _ in range(4):
            np.testing.assert_allclose(rows.gram_product(right), matrix.T @ (matrix @ right), atol=1e-12)
        assert rows._log.left_out in ((2,), ())
    with make(4, "dead:n=4") as cluster, pytest.raises(NotEnoughWorkers, match="No copy is left"):
        SparseRows.given_out(matrix, RoundLog(cluster), 2, pieces=2).gram_product(right)


@pytest.mark.parametrize(
    "spec", ["none", "exp:mean=300ms", "slowdown:p=0.15,factor=5", "dead:n=2", "pareto:scale=99ms,alpha=1.2"]
)
@pytest.mark.parametrize("copies", [2, 3])
def test_copies_in_pieces_are_never_later_than_whole_ones(spec: str, copies: int) -> None:
    """On each draw, messages free; and undisturbed they take so many times less."""
    workers, blocks = 12, 12 // copies
    machine, cost = Machine(1.0, np.inf, 0.0, 0.0), RoundCost(1.0)
    rule = first_copies(workers, blocks)
    until = EveryPiece(rule, PieceLayout(workers, copies), summed=True)
    for seed in range(200):
        drawn = DelayStream(spec, workers, seed).disturb()
        arrivals = cost.response_s(drawn.delays_s, machine, drawn.slowness)
        whole = max(min(arrivals[worker] for worker in group) for group in rule.groups)
        ended_s = play(cost, until, drawn, machine).elapsed_s
        assert ended_s <= whole * (1 + 1e-12)
        if spec == "none":
            assert ended_s == pytest.approx(whole / copies)


def test_pieces_are_taken_where_they_spare_more_than_their_messages() -> None:
    machine = Machine()
    assert pieces_of_sum(15, 5, 1.0, 1e6, machine) == 3
    assert pieces_of_sum(15, 5, 0.01, 1e6, machine) == 1
    assert pieces_of_sum(15, 5, 1.0, 1e9, machine) == 1
    assert pieces_of_sum(15, 15, 1.0, 1e6, machine) == 1
    assert pieces_of_sum(15, 5, 1.0, 1e6, Machine(cores=2)) == 1
