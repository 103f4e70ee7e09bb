"""Intervals against closed forms and against how often they hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from coded_als.planner.statistics import MOST_SKEWED, Estimate, Sampling, correlation_time, mean_and_interval, unskewed


@pytest.mark.parametrize("skewness", [-0.4, -0.05, 1e-9, 0.05, 0.4])
@pytest.mark.parametrize("quantile", [-1.96, 0.0, 1.96])
def test_halls_transformation_and_its_inverse(quantile: float, skewness: float) -> None:
    t = unskewed(quantile, skewness)
    assert t + skewness * (t**2 / 3 + 1 / 6) + skewness**2 * t**3 / 27 == pytest.approx(quantile, abs=1e-6)


@pytest.mark.parametrize(("draws", "least"), [(100, 0.93), (400, 0.94)])
def test_intervals_of_skewed_draws_hold_the_mean(draws: int, least: float) -> None:
    """Exponential draws: 95 % of the intervals hold the mean, and they miss it above less often than Student's do."""
    rng = np.random.default_rng(1)
    samples = rng.exponential(size=(1500, draws))
    found = [estimate for estimate in map(Sampling.plain(draws).estimate, samples) if estimate.low is not None]
    assert len(found) > 0.98 * len(samples)
    highs = np.array([estimate.high for estimate in found])
    lows = np.array([estimate.low for estimate in found])
    assert np.mean((lows <= 1.0) & (highs >= 1.0)) > least
    students = np.array([mean_and_interval(sample)[2] for sample in samples])
    assert np.mean(highs < 1.0) < 0.8 * np.mean(students < 1.0)


def test_one_rare_draw_is_no_interval() -> None:
    """A mean that rests on a single draw of a hundred could be anything."""
    values = np.ones(100)
    values[7] = 50.0
    assert Sampling.plain(100).estimate(values) == Estimate(pytest.approx(1.49), None, None)  # type: ignore[arg-type]
    assert stats.skew(values) / 10 > MOST_SKEWED


def test_nothing_random_is_known_exactly_and_too_few_draws_tell_nothing() -> None:
    constant = Sampling.plain(50).estimate(np.full(50, 3.0))
    assert (constant.value, constant.low, constant.high, constant.is_random) == (3.0, 3.0, 3.0, False)
    assert Sampling.plain(1).estimate(np.array([3.0])) == Estimate(3.0, None, None)


def test_strata_take_what_lies_between_them_out_of_the_error() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(1.0, 0.1, 50), rng.normal(9.0, 0.1, 50)])
    in_strata, mixed = (Sampling(np.ones(100), strata).estimate(values) for strata in ((50, 50), (100,)))
    assert in_strata.high is not None
    assert mixed.high is not None
    assert in_strata.high - in_strata.value == pytest.approx(1.98 * 0.1 / 10, rel=0.2)
    assert mixed.high - mixed.value > 20 * (in_strata.high - in_strata.value)


def test_weights_count() -> None:
    """Draws from (0, 1/2) and (1/2, 1), the upper ones three times as many as they should be."""
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.uniform(0, 0.5, 200), rng.uniform(0.5, 1, 600)])
    found = Sampling(np.repeat([2.0, 2 / 3], [200, 600]), (200, 600)).estimate(values)
    assert found.value == pytest.approx(0.5, abs=0.02)
    assert found.low is not None
    assert found.low <= 0.5


def test_ratios_are_of_pairs() -> None:
    """What both share cancels: the interval is far narrower than those of the means."""
    rng = np.random.default_rng(4)
    shared, own = rng.exponential(1.0, 400), rng.normal(1.0, 0.01, 400)
    found = Sampling.plain(400).ratio(2 * shared + own, shared)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    # by linearisation; the resampling of pairs, which shares no code with it, agrees
    picked = np.random.default_rng(5).integers(400, size=(4000, 400))
    ratios = (2 * shared + own)[picked].mean(axis=1) / shared[picked].mean(axis=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(ratios, (0.025, 0.975)), abs=0.02)


def test_rounds_that_follow_each_other_count_for_fewer() -> None:
    """A first-order autoregression of coefficient .8: nine successive values are worth one."""
    rng = np.random.default_rng(6)
    series = np.zeros(20_000)
    for index in range(1, series.size):
        series[index] = 0.8 * series[index - 1] + rng.normal()
    assert correlation_time(series) == pytest.approx(9.0, rel=0.15)
    assert correlation_time(rng.normal(size=2000)) < 1.3
    plain, recorded = (Sampling(np.ones(2000), (2000,), rounds).estimate(series[:2000]) for rounds in (0, 2000))
    assert plain.high is not None
    assert recorded.high is not None
    assert (recorded.high - recorded.value) / (plain.high - plain.value) == pytest.approx(3.0, rel=0.35)


def test_turns_through_a_recording_are_no_new_rounds() -> None:
    values = np.random.default_rng(7).exponential(size=100)
    once, often = (Sampling(np.ones(100 * k), (100 * k,), 100).estimate(np.tile(values, k)) for k in (1, 5))
    assert often.high == pytest.approx(once.high)


def test_thinned_draws_stand_for_their_stratum() -> None:
    sampling = Sampling(np.ones(17), (10, 7))
    stands = sampling.thinned(3)
    assert stands[:10].sum() == pytest.approx(10)
    assert stands[10:].sum() == pytest.approx(7)
    assert np.flatnonzero(stands).tolist() == [0, 3, 6, 9, 10, 13, 16]


@pytest.mark.parametrize("value", [1.0, 1.2])
def test_as_many_draws_as_it_says_tell(value: float) -> None:
    """The width falls with the root of the draws: at that number the threshold is outside."""
    estimate = Estimate(value, value - 0.5, value + 0.5)
    needed = estimate.draws_to_tell_from(1.05, 400)
    half = 0.5 * math.sqrt(400 / needed)
    assert not value - half <= 1.05 <= value + half
    assert Estimate(1.05, 1.0, 1.1).draws_to_tell_from(1.05, 400) < 10**7
