"""The systematic random code: any p of W decode, and it never waits longer than replication."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from coded_als.cluster import AnyOfEach, WellConditioned
from coded_als.cluster.rules import counted_workers
from coded_als.codes import Replicated, Systematic, SystematicCode
from coded_als.delays import DelayStream, arrival_order
from coded_als.errors import NotEnoughWorkers, UsageError
from tests.codes.test_product_codes import relative_error, responses_of

DELAYS = {
    "exp": "exp:mean=5ms",
    "pareto": "pareto:scale=1ms,alpha=1.2",
    "bimodal": "bimodal:p=0.15,fast=5ms,slow=1s+exp:mean=1ms",
    "markov": "markov:fast=5ms,slow=1s,enter=0.05,leave=0.3+exp:mean=1ms",
    "dead": "exp:mean=5ms+dead:n=3",
}


def problem(workers, p, columns=3):
    """A code, its exact product and everybody's response."""
    rng = np.random.default_rng(workers)
    root, right = rng.standard_normal((p + 3, p + 3)), rng.standard_normal((p + 3, columns))
    left = root @ root.T
    code = SystematicCode(p, 1, workers)
    return code, left @ right, responses_of(code, left, right)


def error_from(code, exact, responses, chosen):
    found = code.decode({worker: responses[worker] for worker in chosen}, exact.shape)
    error = relative_error(found, exact)
    assert error <= code.error_estimate(chosen)
    return error


def test_every_twelve_of_sixteen_decode_and_eleven_are_refused():
    code, exact, responses = problem(16, 12)
    errors = [error_from(code, exact, responses, chosen) for chosen in combinations(range(16), 12)]
    assert len(errors) == 1820
    assert max(errors) <= 1e-10
    for few in combinations(range(16), 11):
        assert code.error_estimate(few) == np.inf
    with pytest.raises(NotEnoughWorkers, match="at least 12 workers must be able to respond; 11"):
        code.decode({worker: responses[worker] for worker in range(3, 14)})


@pytest.mark.parametrize(
    ("workers", "p", "random", "step"),
    [
        (200, 150, 1000, 1),
        (1000, 800, 25, 40),
        pytest.param(1000, 800, 1000, 1, marks=pytest.mark.slow),
    ],
)
def test_random_and_contiguous_losses_of_many_workers_are_harmless(workers, p, random, step):
    """Every `step`-th contiguous loss, around the end too."""
    code, exact, responses = problem(workers, p, columns=2)
    rng = np.random.default_rng(0)
    sets = [rng.permutation(workers)[:p].tolist() for _ in range(random)]
    sets += [[(first + offset) % workers for offset in range(p)] for first in range(0, workers, step)]
    assert max(error_from(code, exact, responses, chosen) for chosen in sets) <= 1e-9
    with pytest.raises(NotEnoughWorkers):
        code.decode({worker: responses[worker] for worker in sets[0][1:]})


@pytest.mark.parametrize("model", DELAYS)
@pytest.mark.parametrize("draws", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_on_every_draw_it_stops_no_later_than_replication(model, draws):
    """The same p and the same share on W = 8 .. 60 workers, with the rules that a round uses."""
    rng = np.random.default_rng(0)
    for _ in range(draws // 50):
        workers, copies = int(rng.integers(8, 61)), int(rng.integers(2, 5))
        replication, code = Replicated(copies).for_product(workers), Systematic(workers // copies)
        assert replication.p * replication.r <= workers // copies
        p = replication.p * replication.r
        rules = WellConditioned(SystematicCode(p, 1, workers), code.tolerance), AnyOfEach(replication.groups)
        stream = DelayStream(DELAYS[model], workers, int(rng.integers(2**32)))
        for _ in range(50):
            delays = stream.next_round(1.0)
            coded, replicated = (stop_s(delays, rule) for rule in rules)
            assert coded <= replicated


def stop_s(delays, rule):
    """Seconds until the rule is satisfied; infinite where it never is."""
    try:
        return delays[counted_workers(arrival_order(delays), rule)[-1]]
    except NotEnoughWorkers:
        return np.inf


def test_plain_responses_are_copied_exactly():
    code, exact, responses = problem(9, 6)
    left_out = code.decode({worker: responses[worker] for worker in range(9)}, exact.shape)
    plain = np.concatenate([responses[worker][0] for worker in range(6)])[: len(exact)]
    np.testing.assert_array_equal(left_out, plain)
    rows = len(responses[0][0])
    some = code.decode({worker: responses[worker] for worker in (0, 1, 2, 3, 5, 7)}, exact.shape)
    kept = np.r_[0 : 4 * rows, 5 * rows : len(exact)]
    np.testing.assert_array_equal(some[kept], plain[kept])


def test_decoders_are_prepared_once(monkeypatch):
    code, exact, responses = problem(9, 6)
    chosen = (0, 1, 2, 6, 7, 8)
    code.error_estimate(chosen)
    monkeypatch.setattr("coded_als.codes.systematic.MissingBlocks.of", None)
    assert error_from(code, exact, responses, chosen) < 1e-12


def test_rows_of_ones_own_that_cannot_decode_are_known_beforehand():
    """Equal rows help only once: two plain blocks missing are two unknowns in one equation."""
    code = SystematicCode(3, 1, 5, (np.ones((2, 3)), np.ones((2, 1))))
    assert code.error_estimate([0, 1, 3]) < 1e-14
    assert code.error_estimate([0, 3, 4]) > 1e-3
    assert code.error_estimate([0, 1, 3, 4]) < 1e-14


@pytest.mark.parametrize("bad", [np.zeros((1, 2)), np.full((1, 2), np.nan)])
def test_rows_that_say_nothing_are_refused(bad):
    with pytest.raises(UsageError, match="generators must be finite with no row of zeros"):
        SystematicCode(2, 1, 3, (bad, np.ones((1, 1))))
