"""Laws of every way to spread C = A^T B, against NumPy's own product."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coded_als.codes import EntangledPolynomialCode, ReplicatedProduct
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError
from coded_als.kernels import run_to_end, transposed_product
from tests.strategies import seeds


@dataclass(frozen=True)
class Case:
    """A code, random operands, and what each worker would answer."""

    code: EntangledPolynomialCode
    left: np.ndarray
    right: np.ndarray
    responses: dict[int, np.ndarray]

    @property
    def exact(self) -> np.ndarray:
        return self.left.T @ self.right


def responses_of(code, left, right):
    shares = zip(code.stream_left(left), code.encode_right(right), strict=True)
    return {worker: run_to_end(transposed_product(*pair))[0] for worker, pair in enumerate(shares)}


def relative_error(found, exact):
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


@st.composite
def cases(draw, families=("circle", "real"), surplus=(0, 4)):
    parts = st.integers(1, 4)
    p, r, q = draw(parts), draw(parts), draw(parts)
    family = draw(st.sampled_from(families))
    evaluations = p * q * r + r - 1
    # real points lose a digit with every second coefficient; the law below is about decoding, not about them
    assume(family == "circle" or evaluations <= 12)
    threshold = -(-evaluations // 2) if family == "circle" else evaluations
    code = EntangledPolynomialCode(p, r, q, threshold + draw(st.integers(*surplus)), family)
    rng = np.random.default_rng(draw(seeds))
    sizes = [draw(st.integers(1, 12)) for _ in range(3)]
    left, right = rng.standard_normal((sizes[0], sizes[1])), rng.standard_normal((sizes[0], sizes[2]))
    return Case(code, left, right, responses_of(code, left, right))


def some_workers(case, seed, count):
    return [int(w) for w in np.random.default_rng(seed).permutation(case.code.workers)[:count]]


@given(case=cases(), seed=seeds)
@settings(deadline=None, max_examples=150)
def test_any_threshold_workers_decode_within_the_estimate(case, seed):
    chosen = some_workers(case, seed, case.code.recovery_threshold)
    found = case.code.decode({w: case.responses[w] for w in chosen}, case.exact.shape)
    assert found.shape == case.exact.shape
    # the estimate is relative to typical products; a small product of large operands is measured against those
    scale = max(np.linalg.norm(case.exact), np.linalg.norm(case.left) * np.linalg.norm(case.right) / 10)
    assert np.linalg.norm(found - case.exact) <= 10 * case.code.error_estimate(chosen) * scale


@given(case=cases(), seed=seeds)
@settings(deadline=None, max_examples=50)
def test_one_worker_fewer_is_refused(case, seed):
    assume(case.code.recovery_threshold > 1)
    chosen = some_workers(case, seed, case.code.recovery_threshold - 1)
    with pytest.raises(NotEnoughWorkers, match=f"at least {case.code.recovery_threshold} workers"):
        case.code.decode({w: case.responses[w] for w in chosen})
    assert case.code.error_estimate(chosen) == np.inf


@given(case=cases(), seed=seeds)
@settings(deadline=None, max_examples=50)
def test_decoding_does_not_depend_on_order_of_arrival(case, seed):
    chosen = some_workers(case, seed, case.code.recovery_threshold)
    first = case.code.decode({w: case.responses[w] for w in chosen})
    second = case.code.decode({w: case.responses[w] for w in reversed(chosen)})
    np.testing.assert_array_equal(first, second)


@given(case=cases(families=("circle",)), seed=seeds, factor=st.floats(-10, 10))
@settings(deadline=None, max_examples=50)
def test_decoding_is_linear(case, seed, factor):
    chosen = some_workers(case, seed, case.code.recovery_threshold)
    other = responses_of(case.code, case.left, np.flip(case.right, axis=0))
    combined = case.code.decode({w: case.responses[w] + factor * other[w] for w in chosen})
    parts = [case.code.decode({w: source[w] for w in chosen}) for source in (case.responses, other)]
    bound = 1e2 * case.code.error_estimate(chosen) * (1 + sum(map(np.linalg.norm, parts)))
    assert np.linalg.norm(combined - (parts[0] + factor * parts[1])) <= (1 + abs(factor)) * bound


@given(case=cases(surplus=(1, 6)), seed=seeds)
@settings(deadline=None, max_examples=80)
def test_surplus_responses_never_worsen_the_estimate(case, seed):
    order = some_workers(case, seed, case.code.workers)
    counts = range(case.code.recovery_threshold, case.code.workers + 1)
    estimates = [case.code.error_estimate(order[:count]) for count in counts]
    assert all(late <= early * (1 + 1e-6) for early, late in pairwise(estimates))


@given(case=cases())
@settings(deadline=None, max_examples=30)
def test_streamed_shares_are_the_encoded_shares(case):
    np.testing.assert_allclose(list(case.code.stream_left(case.left)), case.code.encode_left(case.left), atol=1e-14)
    np.testing.assert_allclose(list(case.code.stream_right(case.right)), case.code.encode_right(case.right), atol=1e-14)


def test_streaming_holds_few_shares(monkeypatch):
    monkeypatch.setattr("coded_als.codes.entangled.STREAM_BYTES", 1)
    code, matrix = EntangledPolynomialCode(2, 2, 1, 6), np.arange(30.0).reshape(6, 5)
    np.testing.assert_allclose(list(code.stream_left(matrix)), code.encode_left(matrix), atol=1e-14)


def test_circle_halves_every_threshold():
    paper = {2: 5, 3: 11, 4: 19, 5: 29, 6: 41}
    circle = {2: 3, 3: 6, 4: 10, 5: 15, 6: 21}
    for h in paper:
        assert EntangledPolynomialCode(h, h, 1, 60, "real").recovery_threshold == paper[h]
        assert EntangledPolynomialCode(h, h, 1, 60, "circle").recovery_threshold == circle[h]


def test_responses_are_the_paper_polynomials():
    """(4) and (5) written out with complex numbers, at the points the code says it uses."""
    rng = np.random.default_rng(5)
    p, r, q, size = 2, 3, 2, 2
    code = EntangledPolynomialCode(p, r, q, 9)
    left, right = rng.standard_normal((r * size, p * size)), rng.standard_normal((r * size, q * size))
    for worker, response in responses_of(code, left, right).items():
        z = complex(*code.points.powers(np.array([1]))[worker, :, 0])
        block = lambda m, j, i: m[j * size : (j + 1) * size, i * size : (i + 1) * size]  # noqa: E731
        a = sum(block(left, j, i) * z ** (j + i * r) for j in range(r) for i in range(p))
        b = sum(block(right, j, k) * z ** (r - 1 - j + k * r * p) for j in range(r) for k in range(q))
        np.testing.assert_allclose(response[0] + 1j * response[1], a.T @ b, atol=1e-12)


def test_decode_refuses_worse_than_the_tolerance():
    code = EntangledPolynomialCode(6, 6, 1, 41, "real")
    responses = {w: np.zeros((1, 1, 1)) for w in range(41)}
    with pytest.raises(DecodingError, match=r"accurate to 1\.0e-08; the estimated error is \d.*points='circle'"):
        code.decode(responses, tolerance=1e-8)


def test_bad_parameters_are_named():
    with pytest.raises(UsageError, match="workers must be at least 21, the recovery threshold"):
        EntangledPolynomialCode(6, 6, 1, 20)
    with pytest.raises(UsageError, match="p, r and q must be at least 1; got p=0"):
        EntangledPolynomialCode(0, 1, 1, 5)
    with pytest.raises(UsageError, match=r"worker ids must lie in 0\.\.4; got"):
        EntangledPolynomialCode(2, 2, 1, 5).decode({0: None, 1: None, 7: None})


def test_codes_survive_pickling():
    code = EntangledPolynomialCode(3, 2, 1, 9, "circle")
    copy = pickle.loads(pickle.dumps(code))
    np.testing.assert_array_equal(copy.coefficients, code.coefficients)
    assert copy.error_estimate(range(9)) == code.error_estimate(range(9))


@given(parts=st.tuples(*[st.integers(1, 3)] * 3), copies=st.integers(1, 3), spare=st.integers(0, 3), seed=seeds)
@settings(deadline=None, max_examples=60)
def test_replication_decodes_from_one_answer_of_each_block(parts, copies, spare, seed):
    rng = np.random.default_rng(seed)
    code = ReplicatedProduct(*parts, workers=int(np.prod(parts)) * copies + spare, copies=copies)
    left, right = rng.standard_normal((7, 5)), rng.standard_normal((7, 4))
    responses = responses_of(code, left, right)
    chosen = [int(rng.choice(sorted(group))) for group in code.groups]
    found = code.decode({worker: responses[worker] for worker in chosen}, (5, 4))
    np.testing.assert_allclose(found, left.T @ right, atol=1e-12)
    assert min(map(len, code.groups)) >= copies
    if len(chosen) > 1:
        with pytest.raises(NotEnoughWorkers):
            code.decode({worker: responses[worker] for worker in chosen[1:]})


def test_replication_ignores_second_copies():
    code = ReplicatedProduct(1, 2, 1, workers=4, copies=2)
    left = np.arange(8.0).reshape(4, 2)
    np.testing.assert_allclose(code.decode(responses_of(code, left, left)), left.T @ left)
