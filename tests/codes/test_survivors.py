"""The search for the worst survivors against all sets, and how many responses are always enough."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from coded_als.codes import EntangledPolynomialCode, LinearCode, SystematicCode, parse_code
from coded_als.codes.survivors import enough_by_structure, enough_for, worst_survivors


class Light(LinearCode):
    """A combination of two of four blocks on each worker: some sets of four do not decode."""

    def __init__(self, workers=9):
        rng = np.random.default_rng(0)
        chosen = rng.random((workers, 4)).argsort(axis=1) < 2
        super().__init__((chosen * rng.standard_normal(chosen.shape))[:, np.newaxis], np.arange(4))


class Unknown:
    """A code of one's own that says no more than its error."""

    def __init__(self, code):
        self.workers, self.recovery_threshold, self.error_estimate = (
            code.workers,
            code.recovery_threshold,
            code.error_estimate,
        )


CODES = [SystematicCode(7, 1, 12), SystematicCode(2, 3, 11), EntangledPolynomialCode(3, 3, 1, 13), Light()]


def estimates(code, size):
    return sorted((code.error_estimate(chosen) for chosen in combinations(range(code.workers), size)), reverse=True)


@pytest.mark.parametrize("code", [*CODES, *map(Unknown, CODES)], ids=lambda code: type(code).__name__)
def test_few_sets_are_all_looked_at(code):
    for size in (code.recovery_threshold, code.recovery_threshold + 1):
        expected = estimates(code, size)
        found = worst_survivors(code, size, looked_at=len(expected))
        assert found.exhaustive
        assert found.looked_at == len(expected)
        np.testing.assert_array_equal(found.estimates, expected[: len(found.estimates)])
        assert [code.error_estimate(chosen) for chosen in found.sets] == list(found.estimates)


@pytest.mark.parametrize("code", CODES, ids=lambda code: type(code).__name__)
def test_a_search_over_a_third_of_the_sets_comes_close_to_the_worst(code):
    size = code.recovery_threshold
    expected = estimates(code, size)
    found = worst_survivors(code, size, looked_at=len(expected) // 3)
    assert not found.exhaustive
    assert found.looked_at <= len(expected) // 2
    assert found.worst >= expected[3]


def test_a_search_finds_what_random_sets_do_not():
    code, rng = SystematicCode(21, 1, 30), np.random.default_rng(1)
    random = max(code.error_estimate(rng.permutation(30)[:21]) for _ in range(400))
    assert worst_survivors(code, 21, looked_at=400).worst > 10 * random


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_copies_tolerate_one_worker_less_than_the_smallest_group(copies):
    code = parse_code(f"replicated:copies={copies}").for_product(14)
    enough = enough_by_structure(code)
    decodes = {
        size: [np.isfinite(code.error_estimate(chosen)) for chosen in combinations(range(14), size)]
        for size in range(1, 15)
    }
    assert enough.at_best == min(size for size in decodes if any(decodes[size]))
    assert enough.always == min(size for size in decodes if all(decodes[size]))
    assert enough.tolerated == copies - 1
    assert enough == enough_for(code, 1e-12)


@pytest.mark.parametrize("tolerance", [1e-15, 3e-14, 1e-13, 1e-12, 1e-3])
@pytest.mark.parametrize("code", CODES, ids=lambda code: type(code).__name__)
def test_always_enough_is_what_all_sets_say(code, tolerance):
    sizes = range(code.recovery_threshold, code.workers + 1)
    expected = next((size for size in sizes if estimates(code, size)[0] <= tolerance), None)
    found = enough_for(code, tolerance)
    assert found.always == expected
    assert found.proved
    assert found.tolerated == (0 if expected is None else code.workers - expected)


@pytest.mark.parametrize("code", [SystematicCode(21, 1, 30), EntangledPolynomialCode(6, 6, 1, 50)])
def test_where_sets_are_many_it_is_a_search_and_said_to_be(code):
    found = enough_for(code, 1e-12, looked_at=150)
    assert not found.proved
    assert code.recovery_threshold < found.always < code.workers
    assert found.worst <= 1e-12
    rng = np.random.default_rng(0)
    assert any(
        code.error_estimate(rng.permutation(code.workers)[: code.recovery_threshold]) > 1e-12 for _ in range(999)
    )


def test_a_code_of_ones_own_is_asked_for_every_set():
    code = Light()
    enough = enough_by_structure(code)
    assert enough.at_best == 4
    assert enough.always == next(size for size in range(4, 10) if estimates(code, size)[0] < 1e-2)
    assert enough.always > 4
