"""The code of a fit that names none: memory decides, and delays only where rounds are too short for pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, CodedOperator, InlineCluster
from coded_als.cluster.machine import Machine
from coded_als.codes import parse_code
from coded_als.errors import UsageError
from coded_als.planner.choice import choose, contestants
from coded_als.planner.default import TIMED, affordable, default_choice
from coded_als.planner.schemes import Extent, Scheme, Size

LARGE, SMALL = Size(40_000, 20_000, 20), Size(600, 400, 10)


def taken(size: Size, workers: int, delays: str | None = None, memory: float | None = None) -> tuple[str, str]:
    """The code of a fit that names none, and the reason that it gives."""
    model = CodedALS(size.rank, memory_per_worker=memory)
    spread = model.spread_over(Extent(size.rows, size.columns, None), workers, delays)
    return spread.code.spec, spread.reason


@pytest.mark.parametrize("delays", [None, "none", "exp:mean=1s", "bimodal:p=0.3,fast=1ms,slow=10s", "dead:n=5"])
@pytest.mark.parametrize(("workers", "p"), [(3, 2), (8, 4), (9, 5), (30, 15)])
def test_long_rounds_take_a_code_with_the_memory_of_two_copies_whatever_the_delays(
    workers: int, p: int, delays: str | None
) -> None:
    code, reason = taken(LARGE, workers, delays)
    assert code == f"systematic:p={p}"
    assert reason == (
        f"chosen by auto: any {p} of {workers} workers are enough, in the memory of two copies; "
        "a slow worker counts with its finished pieces"
    )
    assert parse_code(code).share(workers) <= parse_code("replicated:copies=2").share(workers) * (1 + 1e-9)


def test_less_memory_takes_a_larger_p_or_no_code_and_says_so() -> None:
    row = 8 * LARGE.length
    assert taken(LARGE, 30, memory=row * 1000) == (
        "systematic:p=20",
        "chosen by auto: any 20 of 30 workers are enough, in memory_per_worker, which has room for 1/20 of D; "
        "a slow worker counts with its finished pieces",
    )
    assert taken(LARGE, 30, memory=row * 667) == (
        "uncoded", "chosen by auto: no code, as memory_per_worker has room for 1/30 of D only",
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"must hold 1/30 of D, 106,720,000 bytes; got 106,560,000. Add workers"):
        taken(LARGE, 30, memory=row * 666)
    assert taken(LARGE, 30, memory=1e15) == taken(LARGE, 30)  # a limit, and no wish for fewer stragglers to wait for
    with pytest.raises(UsageError, match="memory_per_worker must be"):
        CodedALS(3, memory_per_worker=-1.0).fit(np.eye(5))


@settings(max_examples=60, deadline=None)
@given(
    workers=st.integers(1, 40),
    length=st.integers(1, 30_000),
    rows=st.integers(1, 30_000),
    speed=st.sampled_from([1e8, 1e10, 1e12]),
)
def test_no_share_is_larger_than_the_memory_nor_is_a_smaller_p_possible(
    workers: int, length: int, rows: int, speed: float
) -> None:
    size, memory = Size(length, length, 1), 8.0 * length * rows
    try:
        found = default_choice(size, workers, "lobpcg", Machine(speed), memory)
    except UsageError:
        assert -(-length // workers) > rows
        return
    assert found.code.bind(workers, length) == found.code
    blocks = found.code.threshold(workers)
    assert -(-length // blocks) <= rows or blocks == workers
    assert found.code.spec == "uncoded" or blocks <= min(workers - 1, length)
    assert found.pieces == 1 or blocks >= -(-workers // 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_two_workers_have_none_to_spare(workers: int) -> None:
    assert taken(LARGE, workers) == ("uncoded", "chosen by auto: no code, as that needs 3 workers or more")


def test_short_rounds_leave_a_quarter_of_the_workers_or_the_choice_to_known_delays() -> None:
    assert taken(SMALL, 8) == taken(SMALL, 8, "none")
    code, reason = taken(SMALL, 8)
    assert code == "systematic:p=6"
    assert reason == "chosen by auto: rounds are too short for shares in pieces, so a quarter of the workers is spare"
    delays = "bimodal:p=0.3,fast=1ms,slow=1s"
    code, reason = taken(SMALL, 8, delays)
    best = choose(SMALL, 8, "lobpcg", delays, Machine())
    assert best is not None
    assert (code, reason) == (best.chosen(SMALL).spec, f"chosen by auto: {TIMED}")


@pytest.mark.parametrize("delays", ["exp:mean=20ms", "bimodal:p=0.4,fast=1ms,slow=1s", "pareto:scale=1ms,alpha=1.1"])
@pytest.mark.parametrize("workers", [3, 7, 16])
def test_copies_of_everything_are_not_taken_in_silence(workers: int, delays: str) -> None:
    """Even where they would be the fastest, a fit takes no more memory than two copies of D."""
    code, _ = taken(SMALL, workers, delays)
    assert parse_code(code).share(workers) <= parse_code("replicated:copies=2").share(workers) * (1 + 1e-9)


def test_what_auto_may_take_is_within_two_copies_of_d_and_three_of_rows() -> None:
    size = Size(600, 400, 10, 5000)
    able = list(affordable(contestants(size, 12, ("lobpcg",)), size, math.inf))
    assert {scheme.code for scheme in able if scheme.rows} == {"uncoded", "replicated:copies=2", "replicated:copies=3"}
    assert Scheme("systematic:p=6", 12, solver="lobpcg") in able
    assert Scheme("systematic:p=5", 12, solver="lobpcg") not in able


def test_sparse_rows_are_in_as_many_copies_as_memory_holds() -> None:
    matrix = sparse.random_array((30_000, 20_000), density=1e-4, rng=np.random.default_rng(0), format="csr")
    whole = 12 * matrix.nnz + 4 * 30_000
    expected = ((None, "replicated:copies=3"), (whole / 4, "replicated:copies=2"), (whole / 8, "replicated:copies=1"))
    for memory, code in expected:
        spread = CodedALS(3, memory_per_worker=memory).plan(matrix, 10)
        assert (spread.code.spec, spread.precomputation) == (code, "none")
        assert spread.reason == "chosen by auto: copies of sparse rows, as R^T R is not formed"
    with pytest.raises(UsageError, match=r"1/10 of the sparse rows, .*Add workers or memory"):
        CodedALS(3, memory_per_worker=whole / 11).plan(matrix, 10)


def test_an_operator_takes_the_code_of_a_fit() -> None:
    """A machine slow enough for rounds of a second: 60 x 60 with 20 columns."""
    cluster = InlineCluster(6, "exp:mean=1ms")
    cluster.machine = Machine(1e4)
    matrix = np.random.default_rng(0).standard_normal((60, 60))
    matrix += matrix.T
    operator = CodedOperator(matrix, cluster)
    np.testing.assert_allclose(operator @ np.eye(60), matrix, atol=1e-10)
    assert operator.rounds[-1].pieces == 6
    model = CodedALS(3, iterations=3, tolerance=0.0).fit(matrix, cluster)
    assert model.code_ == "systematic:p=3"
    assert {record.pieces for record in model.rounds_ if record.label.startswith("E")} == {6}
