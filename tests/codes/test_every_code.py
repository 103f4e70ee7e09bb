"""What holds for every code alike: the error is known first, decoders are kept, shares are encoded one at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from coded_als.cluster.rules import rule_for
from coded_als.codes import parse_code
from coded_als.errors import DecodingError
from tests.codes.test_product_codes import relative_error, responses_of

WORKERS = 20
SPECS = (
    "uncoded",
    "replicated:copies=3",
    "systematic:p=12",
    "entangled:h=4",
    "entangled:p=20,r=1",
    "entangled:p=4,r=2",
    "entangled:h=3,points=real",
)


@pytest.fixture(scope="module", params=SPECS)
def spec(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def problem(spec: str):
    """A product code, its exact product and everybody's response."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((30, 30)), rng.standard_normal((30, 3))
    code = parse_code(spec).for_product(WORKERS)
    return code, left @ right, responses_of(code, left, right)


def orders(count):
    rng = np.random.default_rng(1)
    return [rng.permutation(WORKERS).tolist() for _ in range(count)]


def test_the_error_is_known_before_anything_is_decoded(problem):
    code, exact, responses = problem
    for order in orders(30):
        for count in range(1, WORKERS + 1):
            estimate = code.error_estimate(order[:count])
            assert estimate > 0
            if np.isfinite(estimate):
                chosen = {worker: responses[worker] for worker in order[:count]}
                assert relative_error(code.decode(chosen, exact.shape), exact) <= estimate


def test_a_round_ends_at_the_first_response_that_decodes_well_enough(problem, spec):
    code, exact, responses = problem
    tolerance = parse_code(spec).tolerance
    rule = rule_for(code, tolerance)
    for order in orders(30):
        satisfied = [rule.satisfied(order[:count]) for count in range(1, WORKERS + 1)]
        good = [code.error_estimate(order[:count]) <= tolerance for count in range(1, WORKERS + 1)]
        assert satisfied == good
        first = satisfied.index(True) + 1
        assert first >= code.recovery_threshold
        chosen = {worker: responses[worker] for worker in order[:first]}
        assert relative_error(code.decode(chosen, exact.shape, tolerance), exact) <= tolerance


def test_no_code_decodes_worse_than_it_is_asked_for(problem, spec):
    code, exact, responses = problem
    if spec.startswith(("uncoded", "replicated")):
        pytest.skip("copies have no error to speak of")
    with pytest.raises(DecodingError):
        code.decode(responses, exact.shape, 1e-18)


def test_a_set_of_workers_that_comes_back_is_not_prepared_again(problem, monkeypatch):
    code, exact, responses = problem
    order = orders(1)[0]
    first = code.decode({worker: responses[worker] for worker in order}, exact.shape)
    for name in ("qr", "cholesky", "solve", "inv", "lstsq"):
        monkeypatch.setattr(np.linalg, name, None)
    assert code.error_estimate(order[::-1]) < 1e-6
    again = code.decode({worker: responses[worker] for worker in order}, exact.shape)
    np.testing.assert_array_equal(first, again)


def test_shares_are_encoded_a_few_at_a_time(spec, monkeypatch):
    """The master never holds many of them, however many workers there are."""
    monkeypatch.setattr("coded_als.codes.product.STREAM_BYTES", 1)
    monkeypatch.setattr("coded_als.codes.product.STREAM_PART", 0.0)
    matrix = np.ones((1200, 1200))
    code = parse_code(spec).for_product(WORKERS)
    panel_bytes = 2 * 2**20
    tracemalloc.start()
    try:
        count = sum(1 for _ in code.encode_left(matrix))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    share_bytes = 8 * np.prod(code.left_shape(matrix.shape))
    assert count == WORKERS
    assert peak_bytes <= 3 * share_bytes + panel_bytes
