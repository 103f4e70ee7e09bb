"""Laws of every way to spread C = A B, against NumPy's own product."""

from __future__ import annotations

import pickle
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coded_als.codes import EntangledPolynomialCode, ReplicatedProduct, SystematicCode
from coded_als.codes.product import multiplications
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError
from coded_als.kernels import product, run_to_end
from tests.strategies import seeds

CodeSpec = EntangledPolynomialCode | SystematicCode


@dataclass(frozen=True)
class Case:
    """A code, random operands, and what each worker would respond."""

    code: CodeSpec
    left: np.ndarray
    right: np.ndarray
    responses: dict[int, np.ndarray]

    @property
    def exact(self) -> np.ndarray:
        return self.left @ self.right


def responses_of(code, left, right):
    shares = zip(code.encode_left(left), code.encode_right(right), strict=True)
    return {worker: run_to_end(product(*pair))[0] for worker, pair in enumerate(shares)}


def relative_error(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


@st.composite
def codes(draw, kinds=("circle", "real", "systematic"), surplus=(0, 4)):
    parts = st.integers(1, 4)
    p, r, q, kind, spare = (
        draw(parts),
        draw(parts),
        draw(parts),
        draw(st.sampled_from(kinds)),
        draw(st.integers(*surplus)),
    )
    if kind == "systematic":
        return SystematicCode(p, q, p * q + spare)
    evaluations = p * q * r + r - 1
    # real points lose a digit with every second coefficient; the law below is about decoding, not about them
    assume(kind == "circle" or evaluations <= 12)
    threshold = -(-evaluations // 2) if kind == "circle" else evaluations
    return EntangledPolynomialCode(p, r, q, threshold + spare, kind)


@st.composite
def cases(draw, **options):
    code = draw(codes(**options))
    rng = np.random.default_rng(draw(seeds))
    rows, inner, columns = (draw(st.integers(1, 12)) for _ in range(3))
    left, right = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    return Case(code, left, right, responses_of(code, left, right))


def some_workers(case, seed, count):
    return [int(w) for w in np.random.default_rng(seed).permutation(case.code.workers)[:count]]


@given(case=cases())
@settings(max_examples=60)
def test_shapes_and_operations_are_those_that_occur(case):
    code, left, right = case.code, case.left, case.right
    for a, b in zip(code.encode_left(left), code.encode_right(right), strict=True):
        assert code.left_shape(left.shape) == a.shape
        assert code.right_shape(right.shape) == b.shape
        expected = a.shape[0] * b.shape[0] * a.shape[1] * a.shape[2] * b.shape[2]
        assert multiplications(code, left.shape, right.shape[1]) == expected
    assert {response.shape for response in case.responses.values()} == {code.response_shape(case.exact.shape)}


@pytest.mark.parametrize(
    "code", [EntangledPolynomialCode(2, 2, 1, 6), SystematicCode(2, 2, 9)], ids=["entangled", "systematic"]
)
def test_streaming_encodes_a_share_at_a_time(monkeypatch, code):
    matrix = np.arange(30.0).reshape(6, 5)
    at_once = [list(encode(matrix)) for encode in (code.encode_left, code.encode_right)]
    monkeypatch.setattr("coded_als.codes.product.STREAM_BYTES", 1)
    monkeypatch.setattr("coded_als.codes.product.STREAM_PART", 0.0)
    one_by_one = [list(encode(matrix)) for encode in (code.encode_left, code.encode_right)]
    for first, second in zip(at_once, one_by_one, strict=True):
        np.testing.assert_allclose(second, first, atol=1e-13)


@pytest.mark.parametrize(
    "code", [EntangledPolynomialCode(2, 2, 1, 64), SystematicCode(4, 1, 64)], ids=["entangled", "systematic"]
)
def test_streaming_holds_few_shares(monkeypatch, code):
    matrix = np.ones((400, 200))
    share = np.prod(code.left_shape(matrix.shape)) * 8
    monkeypatch.setattr("coded_als.codes.product.STREAM_BYTES", 4 * share)
    monkeypatch.setattr("coded_als.codes.product.STREAM_PART", 0.0)
    tracemalloc.start()
    try:
        for _ in code.encode_left(matrix):
            pass
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A batch of four, the one before it while it is made, and the blocks of the matrix; not a third batch. What other
    # threads of this process allocate meanwhile is traced too (a third of a megabyte was seen).
    assert most < 11 * share + matrix.nbytes


@pytest.mark.parametrize("workers", [12, 14])
def test_losing_neighbours_costs_no_block_but_its_copies(workers):
    code = ReplicatedProduct(2, 2, 1, workers, copies=3)
    # a rack holds consecutive ids: all but one copy of everything may be in it
    for first in range(workers):
        lost = {(first + place) % workers for place in range(2 * 4)}
        survivors = set(range(workers)) - lost if workers == 12 else set(range(workers)) - set(range(first, first + 8))
        assert all(not group.isdisjoint(survivors) for group in code.groups)


def test_circle_halves_every_threshold():
    paper = {2: 5, 3: 11, 4: 19, 5: 29, 6: 41}
    circle = {2: 3, 3: 6, 4: 10, 5: 15, 6: 21}
    for h in paper:
        assert EntangledPolynomialCode(h, h, 1, 60, "real").recovery_threshold == paper[h]
        assert EntangledPolynomialCode(h, h, 1, 60, "circle").recovery_threshold == circle[h]


def test_responses_are_the_paper_polynomials():
    """(4) and (5), with A transposed, written out with complex numbers at the points the code says it uses."""
    rng = np.random.default_rng(5)
    p, r, q, size = 2, 3, 2, 2
    code = EntangledPolynomialCode(p, r, q, 9)
    left, right = rng.standard_normal((p * size, r * size)), rng.standard_normal((r * size, q * size))
    for worker, response in responses_of(code, left, right).items():
        z = complex(*code.points.powers(np.array([1]))[worker, :, 0])
        block = lambda m, j, i: m[j * size : (j + 1) * size, i * size : (i + 1) * size]  # noqa: E731
        a = sum(block(left, i, j) * z ** (j + i * r) for j in range(r) for i in range(p))
        b = sum(block(right, j, k) * z ** (r - 1 - j + k * r * p) for j in range(r) for k in range(q))
        np.testing.assert_allclose(response[0] + 1j * response[1], a @ b, atol=1e-12)


def test_decode_refuses_worse_than_the_tolerance():
    code = EntangledPolynomialCode(6, 6, 1, 41, "real")
    responses = {w: np.zeros((1, 1, 1)) for w in range(41)}
    with pytest.raises(DecodingError, match=r"accurate to 1\.0e-08; the estimated error is \d.*points=circle"):
        code.decode(responses, tolerance=1e-8)


def test_bad_parameters_are_named():
    with pytest.raises(UsageError, match="workers must be at least 21, the recovery threshold"):
        EntangledPolynomialCode(6, 6, 1, 20)
    with pytest.raises(UsageError, match="p, r and q must be at least 1; got p=0"):
        EntangledPolynomialCode(0, 1, 1, 5)
    with pytest.raises(UsageError, match=r"worker ids must lie in 0\.\.4; got"):
        EntangledPolynomialCode(2, 2, 1, 5).decode({0: None, 1: None, 7: None})
    with pytest.raises(UsageError, match=r"worker ids must lie in 0\.\.4; got"):
        SystematicCode(2, 1, 5).decode({0: None, 1: None, 7: None})
    with pytest.raises(UsageError, match="workers must be at least 6, the recovery threshold at p=3, q=2; got 5"):
        SystematicCode(3, 2, 5)
    with pytest.raises(
        UsageError, match=r"generators must have the shapes \(1, 2\) and \(1, 1\).*got \(\(2, 2\), \(1, 1\)\)"
    ):
        SystematicCode(2, 1, 3, (np.ones((2, 2)), np.ones((1, 1))))


@given(case=cases(surplus=(1, 3)), seed=seeds)
@settings(max_examples=20)
def test_codes_survive_pickling(case, seed):
    copy = pickle.loads(pickle.dumps(case.code))
    chosen = some_workers(case, seed, case.code.recovery_threshold)
    assert copy.error_estimate(chosen) == case.code.error_estimate(chosen)
    responses = {w: case.responses[w] for w in chosen}
    np.testing.assert_array_equal(copy.decode(responses), case.code.decode(responses))


@given(parts=st.tuples(*[st.integers(1, 3)] * 3), copies=st.integers(1, 3), spare=st.integers(0, 3), seed=seeds)
@settings(max_examples=60)
def test_replication_decodes_from_one_answer_of_each_block(parts, copies, spare, seed):
    rng = np.random.default_rng(seed)
    code = ReplicatedProduct(*parts, workers=int(np.prod(parts)) * copies + spare, copies=copies)
    left, right = rng.standard_normal((5, 7)), rng.standard_normal((7, 4))
    responses = responses_of(code, left, right)
    chosen = [int(rng.choice(sorted(group))) for group in code.groups]
    found = code.decode({worker: responses[worker] for worker in chosen}, (5, 4))
    np.testing.assert_allclose(found, left @ right, atol=1e-12)
    assert min(map(len, code.groups)) >= copies
    if len(chosen) > 1:
        with pytest.raises(NotEnoughWorkers):
            code.decode({worker: responses[worker] for worker in chosen[1:]})


def test_replication_ignores_second_copies():
    code = ReplicatedProduct(1, 2, 1, workers=4, copies=2)
    left = np.arange(8.0).reshape(2, 4)
    np.testing.assert_allclose(code.decode(responses_of(code, left, left.T)), left @ left.T)
