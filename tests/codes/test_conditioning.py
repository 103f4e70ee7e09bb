"""How well random and worst survivors decode, and that the estimate tells."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from coded_als.cluster import WellConditioned
from coded_als.codes import EntangledPolynomialCode, SystematicCode
from tests.codes.test_product_codes import relative_error, responses_of


def operands(h, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((6 * h, 6 * h))
    return root @ root.T, rng.standard_normal((6 * h, 3))


def errors_of_random_subsets(h, workers, threshold, draws):
    """Relative errors of decoding from random K-subsets; none may be above its estimate."""
    left, right = operands(h)
    code = EntangledPolynomialCode(h, h, 1, workers)
    responses, exact = responses_of(code, left, right), left @ right
    rng = np.random.default_rng(workers)
    errors = []
    for _ in range(draws):
        chosen = [int(w) for w in rng.permutation(workers)[:threshold]]
        error = relative_error(code.decode({w: responses[w] for w in chosen}, exact.shape), exact)
        assert error <= code.error_estimate(chosen)
        errors.append(error)
    return errors


@pytest.mark.parametrize("draws", [4, pytest.param(300, marks=pytest.mark.slow)])
def test_random_threshold_subsets_decode(draws):
    """h <= 8 and W up to 1.25 K: 99 of 100 random K-subsets decode to 1e-9."""
    errors = []
    for h in range(2, 9):
        threshold = EntangledPolynomialCode(h, h, 1, 1000).recovery_threshold
        for workers in range(threshold, int(1.25 * threshold) + 1):
            errors += errors_of_random_subsets(h, workers, threshold, draws)
    assert np.mean(np.array(errors) < 1e-9) >= 0.99


@pytest.mark.parametrize("points", ["circle", "real"])
@pytest.mark.parametrize("tolerance", [1e-8, 1e-12, 1e-14])
def test_the_conditioning_rule_keeps_to_its_tolerance_or_says_no(points, tolerance):
    h, workers = 4, 24
    left, right = operands(h)
    code = EntangledPolynomialCode(h, h, 1, workers, points)
    responses, exact = responses_of(code, left, right), left @ right
    rule = WellConditioned(code, tolerance)
    rng = np.random.default_rng(1)
    for _ in range(20):
        order = [int(w) for w in rng.permutation(workers)]
        counts = range(code.recovery_threshold, workers + 1)
        count = next((count for count in counts if rule.satisfied(order[:count])), None)
        if count is None:
            assert "the estimated error is" in str(rule.refusal(order))
        else:
            found = code.decode({w: responses[w] for w in order[:count]}, exact.shape, tolerance)
            assert relative_error(found, exact) <= tolerance


def test_any_three_losses_of_32_are_harmless():
    """The worst of all subsets at W = 32 and s = 3, where the code has 29 coefficients (h = 5)."""
    code = EntangledPolynomialCode(5, 5, 1, 32)
    assert code.unknowns == 29
    left, right = operands(5)
    responses, exact = responses_of(code, left, right), left @ right
    everyone = frozenset(range(32))
    worst = max((tuple(everyone - set(lost)) for lost in combinations(range(32), 3)), key=code.error_estimate)
    assert code.error_estimate(worst) < 1e-12
    assert relative_error(code.decode({w: responses[w] for w in worst}, exact.shape), exact) < 1e-12


def test_losing_neighbours_is_harmless_and_a_gap_in_the_angles_is_not():
    code = EntangledPolynomialCode(6, 6, 1, 31)
    by_angle = np.argsort(code.points.turns(np.array([1]))[:, 0])
    assert code.error_estimate(by_angle[10:]) > 1e-5
    for first in range(31):
        survivors = [(first + step) % 31 for step in range(21)]
        assert code.error_estimate(survivors) < 1e-12


def test_real_points_break_down_and_say_so():
    estimates = {h: EntangledPolynomialCode(h, h, 1, h * h + h - 1, "real") for h in (2, 4, 6)}
    errors = {h: code.error_estimate(range(code.workers)) for h, code in estimates.items()}
    assert errors[2] < 1e-13 < errors[4] < 1e-7
    assert errors[6] > 1e-3


@pytest.mark.parametrize(
    "code", [EntangledPolynomialCode(3, 3, 1, 12), SystematicCode(6, 1, 12)], ids=["circle", "sys"]
)
def test_where_the_product_cancels_the_estimate_is_relative_to_what_is_multiplied(code):
    """D has one eigenvalue 10,000 times the others, and X is orthogonal to its vector: |D X| is far below |D| |X|."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((36, 36)))[0]
    left, right = (axes * np.append(1e4, np.ones(35))) @ axes.T, axes[:, 1:4]
    responses = responses_of(code, left, right)
    for _ in range(20):
        chosen = rng.permutation(12)[: code.recovery_threshold].tolist()
        found = code.decode({worker: responses[worker] for worker in chosen}, (36, 3))
        error = np.linalg.norm(found - left @ right)
        assert error <= code.error_estimate(chosen) * np.linalg.norm(left) * np.linalg.norm(right)
