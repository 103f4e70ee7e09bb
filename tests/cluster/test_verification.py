"""Verification of responses: liars are named, honest workers are not, and the result stays right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import CodedALS, CodedOperator
from coded_als.baselines import RidgeALS
from coded_als.baselines.distributed import FirstCopy, fit_on_cluster
from coded_als.baselines.half_step import Reading
from coded_als.cluster import Cluster, Fastest, Round, TaskEvent, all_of
from coded_als.cluster.freivalds import Secret, check_half_step
from coded_als.cluster.inline import InlineCluster
from coded_als.cluster.verification import CHECKS, VerifiedCluster, verified
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.errors import NotEnoughWorkers, UsageError
from coded_als.kernels import KERNELS, as_stored, find_kernel, run_to_end
from coded_als.lazy import offered
from coded_als.master import LocalCluster

GENERATOR = np.random.default_rng(3)
RATINGS = GENERATOR.standard_normal((60, 40))
BLOCK = sparse.random_array((20, 30), density=0.3, format="csr", rng=GENERATOR)
ROWS = (BLOCK.data, BLOCK.indices.astype(np.int32), BLOCK.indptr.astype(np.int32))


def normal(*shape: int) -> Any:
    return GENERATOR.standard_normal(shape)


def half_step() -> tuple[Any, ...]:
    data, indices, indptr = ROWS
    return indptr, indices, np.abs(data), np.ones(20)


def fixed_side(form: Any, offset: Any, **reading: float) -> tuple[Any, ...]:
    return normal(30, 4), form, np.ones(4), offset, Reading(stable=True, **reading).as_array()


# stored operands, payload, and how many arrays of the payload are kept
CASES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], int]] = {
    "product": ((normal(1, 6, 9),), (normal(1, 9, 4),), 0),
    "product of complex shares": ((normal(2, 6, 9),), (normal(2, 9, 4),), 0),
    "product of a complex share and a real payload": ((normal(2, 6, 9),), (normal(1, 9, 4),), 0),
    "product of stored shares": ((normal(2, 6, 9), normal(2, 9, 4)), (), 0),
    "transposed_product": ((normal(2, 9, 6),), (normal(2, 9, 4),), 0),
    "inner_product of one": ((), (normal(2, 9, 4),), 1),
    "inner_product of two": ((), (normal(2, 9, 5), normal(2, 9, 4)), 1),
    "product_and_gram": ((normal(2, 6, 9),), (normal(2, 9, 4),), 1),
    "product_and_gram at a real point": ((normal(1, 6, 9),), (normal(1, 9, 4), normal(1, 9, 4)), 2),
    "scaled": ((normal(2, 9, 4),), (normal(4, 4),), 0),
    "row_product": (ROWS, (normal(30, 4),), 0),
    "row_gram_product": (ROWS, (normal(30, 4),), 0),
    "gram_product": ((normal(20, 30),), (normal(30, 4),), 0),
    "row_transposed_product": (ROWS, (normal(20, 4), np.zeros((30, 0))), 0),
    "solve_block": (half_step(), fixed_side(np.empty((0, 0)), np.empty(0), mean=0.3), 0),
    "solve_block of implicit ratings": (half_step(), fixed_side(np.eye(4), np.empty(0), c1=2.0, t0=1.0, power=1), 0),
    "solve_block with biases": (half_step(), fixed_side(np.empty((0, 0)), normal(30)), 0),
}
WORKERS = 3


def kernel_of(case: str) -> str:
    return case.split()[0]


def verified_round(case: str, cluster: Cluster) -> tuple[VerifiedCluster, Round, tuple[Any, ...]]:
    """A cluster that holds the operands of a case, its round, and the right response."""
    stored, payload, kept = CASES[case]
    checked = VerifiedCluster(cluster, Secret(np.random.default_rng(5)))
    names = tuple(f"operand {place}" for place in range(len(stored)))
    for name, array in zip(names, stored, strict=True):
        checked.store(name, [array] * WORKERS)
    right = run_to_end(find_kernel(kernel_of(case))(*(as_stored(array) for array in stored), *payload))
    keep = tuple(f"kept {place}" for place in range(kept))
    shapes = tuple(array.shape for array in right)
    return checked, Round(kernel_of(case), names, [payload] * WORKERS if payload else None, keep, shapes), right


def test_every_kernel_has_a_check() -> None:
    # errors of rows are found out without verification, and half-steps that are checked stay whole
    assert set(CHECKS) == {*KERNELS, *offered("kernels")} - {"row_squared_error", "solve_pieces"}
    assert set(CHECKS) == {kernel_of(case) for case in CASES}


class Tampered(InlineCluster):
    """Workers of this process whose responses are tampered with."""

    def __init__(self, workers: int, tamper: Callable[[int, tuple[Any, ...]], tuple[Any, ...]]) -> None:
        super().__init__(workers)
        compute = self._arrays.compute
        self._arrays.compute = lambda worker, round: tamper(worker, compute(worker, round))  # type: ignore[method-assign]


@pytest.mark.parametrize("case", CASES)
def test_an_honest_response_counts(case: str) -> None:
    checked, round, right = verified_round(case, InlineCluster(WORKERS))
    responses = checked.run(round, all_of(WORKERS))
    assert responses.left_out == ()
    for worker in range(WORKERS):
        for got, wanted in zip(responses.results[worker], right, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12)


@settings(max_examples=20)
@given(data=st.data(), size=st.sampled_from([1e-6, 1e-3, 1.0, 1e9, np.inf, np.nan]))
@pytest.mark.parametrize("case", CASES)
def test_one_wrong_number_anywhere_is_noticed(case: str, data: st.DataObject, size: float) -> None:
    liar = data.draw(st.integers(0, WORKERS - 1))

    def tamper(worker: int, response: tuple[Any, ...]) -> tuple[Any, ...]:
        if worker != liar:
            return response
        spoilt = [array.copy() for array in response]
        chosen = spoilt[data.draw(st.integers(0, len(spoilt) - 1))]
        place = tuple(data.draw(st.integers(0, length - 1)) for length in chosen.shape)
        chosen[place] += size
        return tuple(spoilt)

    cluster = Tampered(WORKERS, tamper)
    events: list[TaskEvent] = []
    cluster.observers.append(events.append)
    checked, round, _ = verified_round(case, cluster)
    responses = checked.run(round, Fastest(WORKERS - 1))
    # the rule may be satisfied before the liar responds
    assert set(responses.left_out) <= {liar}
    assert liar not in responses.workers
    assert {event.status for event in events if event.worker == liar} <= {"corrupt", "refused", "unfinished"}


def test_a_liar_is_asked_no_more() -> None:
    asked: list[int] = []

    def tamper(worker: int, response: tuple[Any, ...]) -> tuple[Any, ...]:
        asked.append(worker)
        return tuple(-array for array in response) if worker == 0 else response

    checked, round, _ = verified_round("product", Tampered(WORKERS, tamper))
    assert checked.run(round, Fastest(2)).left_out == (0,)
    assert checked.run(round, Fastest(2)).left_out == ()
    assert asked.count(0) == 1
    with pytest.raises(NotEnoughWorkers, match=r"were found wrong do not count \(worker 0\): replace"):
        checked.run(round, Fastest(3))


def test_a_response_of_another_shape_is_wrong() -> None:
    checked, round, _ = verified_round(
        "product", Tampered(WORKERS, lambda worker, response: (response[0][:, : worker + 5],))
    )
    assert checked.run(round, Fastest(2)).left_out == (0,)


@pytest.mark.parametrize("start", [InlineCluster, SimulatedCluster, LocalCluster])
def test_corrupted_shares_are_noticed_on_every_cluster(start: Callable[[int], Cluster]) -> None:
    share = normal(1, 6, 9)
    with start(4) as cluster:
        events: list[TaskEvent] = []
        cluster.observers.append(events.append)
        checked = VerifiedCluster(cluster)
        checked.store("a", [share] * 4)
        flipped = share.copy()
        flipped[0, 2, 3] *= 1 + 2.0**-20
        cluster.store("a", [share, flipped, share, flipped])
        round = Round("product", ("a",), [(normal(1, 9, 4),)] * 4, response_shapes=((1, 6, 4),))
        for _ in range(3):
            assert set(checked.run(round, Fastest(2)).workers) <= {0, 2}
        with pytest.raises(NotEnoughWorkers, match=r"found wrong do not count \(worker 1, 3\)"):
            checked.run(round, Fastest(3))
        assert {event.worker for event in events if event.status == "corrupt"} <= {1, 3}


@pytest.mark.parametrize(
    "options",
    [
        {"code": "systematic:p=5", "precomputation": "coded"},
        {"code": "replicated:copies=4"},
        {"code": "entangled:h=2", "precomputation": "coded"},
        {"code": "entangled:h=2", "protocol": "paper", "solver": "als", "precomputation": "coded"},
        {"code": "entangled:h=2,points=real", "protocol": "paper", "solver": "als"},
    ],
)
def test_a_fit_among_liars_is_right_and_names_them(options: dict[str, Any]) -> None:
    liars = {1, 4, 6}

    def tamper(worker: int, response: tuple[Any, ...]) -> tuple[Any, ...]:
        noise = 1e-3 * GENERATOR.standard_normal()
        return tuple(array * (1 + noise) for array in response) if worker in liars else response

    model = CodedALS(rank=3, verify="freivalds", iterations=300, **options).fit(RATINGS, Tampered(12, tamper))
    expected = CodedALS(rank=3, iterations=300, **options).fit(RATINGS, InlineCluster(12))
    assert model.objective_ == pytest.approx(expected.objective_, rel=1e-8)
    assert model.left_out_
    assert set(model.left_out_) <= liars
    assert {worker for record in model.rounds_ for worker in record.left_out} == set(model.left_out_)
    assert {worker for entry in model.history_ for worker in entry.left_out} <= set(model.left_out_)


def test_an_operator_and_a_sparse_fit_among_liars() -> None:
    def tamper(worker: int, response: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(-array for array in response) if worker == 0 else response

    operator = CodedOperator(RATINGS, Tampered(6, tamper), code="systematic:p=4", verify="freivalds")
    np.testing.assert_allclose(operator @ np.eye(40)[:, :3], RATINGS[:, :3], atol=1e-11)
    assert operator.rounds[0].left_out == (0,)
    observed = sparse.csr_array(np.where(RATINGS > 0.5, RATINGS, 0.0))
    model = RidgeALS(rank=3, iterations=3, biases=False)
    fit_on_cluster(model, observed, Tampered(6, tamper), FirstCopy(2), verify="freivalds")
    honest = RidgeALS(rank=3, iterations=3, biases=False)
    fit_on_cluster(honest, observed, InlineCluster(6))
    np.testing.assert_allclose(model.user_factors_, honest.user_factors_, rtol=1e-8)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["signed", "positive", "equal", "columns of any size", "of any size"]),
    st.tuples(st.integers(1, 2), st.integers(1, 30), st.integers(1, 2000), st.integers(1, 6)),
)
def test_honest_products_of_hostile_numbers_are_not_blamed(
    seed: int, kind: str, shape: tuple[int, int, int, int]
) -> None:
    generator = np.random.default_rng(seed)
    planes, rows, inner, columns = shape

    def hostile(*shape: int) -> Any:
        numbers = generator.standard_normal(shape)
        if kind == "positive":
            return np.abs(numbers)
        if kind == "equal":
            return np.full(shape, generator.uniform(0.1, 1.0))
        if kind == "columns of any size":
            return numbers * 10.0 ** generator.uniform(-8, 8, shape[-1])
        return numbers * 10.0 ** generator.uniform(-200, 140) if kind == "of any size" else numbers

    checked = verified(InlineCluster(1), "freivalds")
    checked.store("a", [hostile(planes, rows, inner)])
    payload = [(hostile(planes, inner, columns),)]
    checked.run(Round("product", ("a",), payload, response_shapes=((planes, rows, columns),)), all_of(1))


def test_what_cannot_be_verified_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^verify must be one of off, freivalds"):
        CodedALS(rank=1, verify="on").fit(RATINGS)  # type: ignore[arg-type]
    monkeypatch.delitem(CHECKS, "scaled")
    checked, round, _ = verified_round("scaled", InlineCluster(WORKERS))
    with pytest.raises(UsageError, match=r"^verify='freivalds' is defined for the kernels"):
        checked.run(round, all_of(WORKERS))
    assert verified(checked, "off") is checked


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), ridge=st.floats(-5, 2), size=st.floats(-1, 1), common=st.booleans())
def test_residuals_prove_stable_half_steps_however_badly_conditioned(
    seed: int, ridge: float, size: float, common: bool
) -> None:
    rng = np.random.default_rng(seed)
    block = sparse.random_array((20, 60), density=rng.uniform(0.02, 0.2), format="csr", rng=rng)
    rows = block.indptr.astype(np.int32), block.indices.astype(np.int32), 10.0 ** rng.uniform(-2, 2, block.nnz)
    fixed = rng.standard_normal((60, 8)) * 10.0 ** (size + rng.uniform(-2, 2, 8))
    form = fixed.T @ fixed if common else np.empty((0, 0))
    reading = Reading(c0=0.0, c1=1.0, t0=rng.normal(), stable=True).as_array()
    arguments = (*rows, np.full(20, 10.0**ridge), fixed, form, 10.0 ** rng.uniform(-2, 2, 8), np.empty(0), reading)
    response = run_to_end(find_kernel("solve_block")(*arguments))
    assert all(comparison.agrees() for comparison in check_half_step(*arguments, *response))
