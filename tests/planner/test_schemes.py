"""Schedules against the rounds that the algorithm really runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from coded_als.als import CodedALS
from coded_als.cluster import Responses, Round, StoppingRule
from coded_als.cluster.machine import Machine
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.cluster.waiting import RoundCost
from coded_als.planner.schemes import Scheme, Size, sharing_s

SIZE = Size(rows=60, columns=42, rank=4)
TOLERANCE = 1e-8
SCHEMES = [
    Scheme("uncoded", 12),
    Scheme("uncoded", 12, solver="lobpcg"),
    Scheme("replicated", 13),
    Scheme("replicated:copies=3", 13, solver="lobpcg"),
    Scheme("systematic", 13),
    Scheme("systematic:p=8", 13, solver="lobpcg"),
    Scheme("entangled:p=9,r=1", 13),
    Scheme("entangled:h=3", 13),
    Scheme("entangled:h=3", 13, solver="lobpcg"),
    Scheme("entangled:h=3", 13, protocol="paper"),
    Scheme("entangled:h=1", 13, protocol="paper"),
    Scheme("entangled:h=3,points=real", 13),
    Scheme("entangled:h=3,points=real", 13, protocol="paper"),
    Scheme("entangled:h=4", 13, protocol="paper"),
]


class RecordingCluster(SimulatedCluster):
    """Remembers what rounds were asked for and what each worker was given to keep."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, "exp:mean=1ms", seed=1)
        self.rounds: list[tuple[Round, StoppingRule]] = []

    def run(self, round: Round, until: StoppingRule) -> Responses:
        self.rounds.append((round, until))
        return super().run(round, until)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_a_schedule_is_what_the_algorithm_asks_for(scheme: Scheme) -> None:
    ratings = np.random.default_rng(3).standard_normal((SIZE.rows, SIZE.columns))
    cluster = RecordingCluster(scheme.workers)
    model = CodedALS(
        SIZE.rank, code=scheme.code,
        protocol=scheme.protocol, solver=scheme.solver,  # type: ignore[arg-type]
        iterations=1, tolerance=0.0, decoding_tolerance=TOLERANCE, precomputation="local",
    )  # fmt: skip
    model.fit(ratings, cluster=cluster)
    schedule = scheme.schedule(SIZE, TOLERANCE)
    for (cost, rule), (round, until) in zip(schedule, cluster.rounds, strict=False):
        assert cost == RoundCost.of(round)
        assert rule.needed == until.needed
        for count in range(scheme.workers + 1):
            assert rule.satisfied(range(count)) == until.satisfied(range(count))
    labels = [round.label for round, _ in cluster.rounds]
    assert len(schedule) == (3 if scheme.protocol == "paper" else 1)
    assert len(labels) >= len(schedule)


@pytest.mark.parametrize(
    ("code", "solver"), [("uncoded", "lobpcg"), ("replicated:copies=4", "lobpcg"), ("replicated", "als")]
)
def test_the_schedule_of_sparse_rows_is_what_the_algorithm_asks_for(code: str, solver: str) -> None:
    """As many entries in each row, so that all blocks are alike."""
    ratings = np.tile([1.0, 0.0, 2.0], (SIZE.rows, SIZE.columns // 3 + 1))[:, : SIZE.columns]
    ratings += ratings * np.random.default_rng(0).standard_normal(ratings.shape)
    size = Size(SIZE.rows, SIZE.columns, SIZE.rank, int(np.count_nonzero(ratings)))
    workers = 8
    cluster = RecordingCluster(workers)
    CodedALS(
        SIZE.rank,
        code=code,
        solver=solver,
        iterations=1,
        tolerance=0.0,
        precomputation="none",  # type: ignore[arg-type]
    ).fit(sparse.csr_array(ratings), cluster=cluster)
    scheme = Scheme(code, workers, solver=solver, rows=True)
    ((cost, rule),) = scheme.schedule(size, TOLERANCE)
    round, until = cluster.rounds[0]
    found = RoundCost.of(round)
    assert (cost.payload_bytes, cost.response_bytes) == (found.payload_bytes, found.response_bytes)
    # rows are dealt so that blocks differ by less than a row's worth
    assert cost.operations == pytest.approx(found.operations, rel=0.2)
    assert rule == until


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_the_share_of_the_data_is_what_a_worker_is_given(scheme: Scheme) -> None:
    data = np.zeros((SIZE.length, SIZE.length))
    shares = list(scheme.product(SIZE).encode_left(data))
    one_byte_a_second = Machine(np.inf, 1.0, 0.0, 0.0)
    code = scheme.chosen(SIZE)
    assert sharing_s(code, SIZE.length, scheme.workers, one_byte_a_second) == sum(share.nbytes for share in shares)
    assert scheme.storage_bytes(SIZE) >= shares[0].nbytes


def test_coding_on_the_circle_stores_twice_and_multiplies_fourfold() -> None:
    real, circle = (Scheme(f"entangled:h=3,points={points}", 20) for points in ("real", "circle"))
    assert circle.storage_bytes(SIZE) == 2 * real.storage_bytes(SIZE)
    [(cost, _)], [(doubled, _)] = real.schedule(SIZE, 1e-8), circle.schedule(SIZE, 1e-8)
    assert doubled.operations == 4 * cost.operations
    assert doubled.payload_bytes == 2 * cost.payload_bytes


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
def test_what_encoding_costs_is_what_is_not_sent_as_it_is(scheme: Scheme) -> None:
    """Shares of a random matrix that are no block of it: their planes are the ones computed."""
    code = scheme.product(SIZE)
    matrices = np.random.default_rng(0).standard_normal((2, SIZE.length, SIZE.length))
    for matrix, encode, planes in zip(
        matrices, (code.encode_left, code.encode_right), code.encoded_planes, strict=True
    ):
        entries = set(matrix.ravel().tolist()) | {0.0}
        shares = [plane for share in encode(matrix) for plane in share]
        computed = sum(not entries.issuperset(plane.ravel().tolist()) for plane in shares)
        assert computed <= planes
        assert (planes == 0) == (computed == 0)
