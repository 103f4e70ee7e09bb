"""Means of drawn seconds, and 95 % intervals that hold where long delays are rare, heavy or come in bursts.

A normal interval over a few runs is false there: a rare delay that no run has met widens nothing, and one that a run has met
makes mean and deviation large together. Three things make the intervals of this module true:

* draws are made so that rare delays are met, and weighed by how likely they are (`coded_als.planner.timing`);
* the interval is corrected for the skewness of the mean by Hall's cubic transformation (P. Hall, "On the removal of skewness
  by transformation", J. R. Statist. Soc. B 54, 1992), with the quantiles of Student's t;
* where the mean is more skewed than that corrects for, there is no interval. The rule has the form of Cochran's, "n above
  25 times the squared skewness" (W. G. Cochran, Sampling Techniques, 3rd ed., section 2.15).

The rounds of a recording follow each other, and a burst lasts: the variance of their mean counts their autocorrelations up
to the first pair with a sum that is not positive (C. J. Geyer, "Practical Markov chain Monte Carlo", Statistical
Science 7, 1992).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array

# Skewness of a mean up to which its interval is given. Cochran's rule asks for 0.2 without a correction; with Hall's,
# `benchmarks/plan_intervals.py` finds the intervals true up to this.
MOST_SKEWED = 0.5
# Relative spread below which nothing was random: less is rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A mean, or a ratio of means, with its 95 % interval."""

    value: float  # the estimate
    # the interval; both the value where nothing was random, None where the draws do not suffice for an interval
    low: float | None
    high: float | None

    @property
    def is_random(self) -> bool:
        """Whether anything varied between the draws."""
        return self.low is None or self.low != self.high

    def draws_to_tell_from(self, threshold: float, draws: int) -> int:
        """Estimated number of draws that put the whole interval on one side of a threshold.

        The width of the interval falls with the root of the number.
        """
        if self.low is None or self.high is None:
            return 4 * draws
        half = self.high - self.value if self.value < threshold else self.value - self.low
        # a ratio at the threshold itself would never be distinguished from it
        distance = max(abs(self.value - threshold), half / 30)
        return math.ceil(draws * max(2.0, (1.2 * half / distance) ** 2))


@dataclass(frozen=True)
class Sampling:
    """The sampling of some draws."""

    weights: Array  # the weight of each draw, (n,): its density under the delays over that under which it was drawn
    strata: tuple[int, ...]  # numbers of draws that were made alike, in their order; their sum is n
    # rounds of a recording that the draws go through in turns, as often as they are; 0 where draws are independent
    rounds: int = 0

    @classmethod
    def plain(cls, draws: int) -> Sampling:
        """Independent draws that count the same."""
        return cls(np.ones(draws), (draws,))

    def __len__(self) -> int:
        return len(self.weights)

    def thinned(self, step: int) -> Array:
        """Number of draws of its stratum that each draw stands for, (n,), if only every ``step``-th is used.

        The number is 0 for the other draws.
        """
        ends = np.cumsum(self.strata)
        stands = np.zeros(len(self))
        for start, end in zip(ends - np.array(self.strata), ends, strict=True):
            stands[start:end:step] = (end - start) / len(range(start, end, step))
        return stands

    def mean(self, values: Array) -> float:
        """The weighted mean of one value for each draw, (n,)."""
        lowest = float(values.min())
        # about the least: a constant comes out as itself
        return lowest + float(self.weights @ (values - lowest) / self.weights.sum())

    def estimate(self, values: Array) -> Estimate:
        """The mean of one value for each draw with its interval, which is cut off at the least value.

        ``values``: (n,).
        """
        mean = self.mean(values)
        found = self._interval(mean, self.weights * (values - mean) / self.weights.mean())
        return found if found.low is None else Estimate(mean, max(found.low, float(values.min())), found.high)

    def ratio(self, numerators: Array, denominators: Array) -> Estimate:
        """The ratio of two means over the same draws, with its interval by linearisation.

        ``numerators, denominators``: (n,) each, of the same draws: their common part cancels.
        """
        below = self.mean(denominators)
        ratio = self.mean(numerators) / below
        return self._interval(ratio, self.weights * (numerators - ratio * denominators) / (below * self.weights.mean()))

    def _interval(self, value: float, residuals: Array) -> Estimate:
        """The interval of a value that is off by the mean of the residuals."""
        moments = self._recorded(residuals) if self.rounds else self._drawn(residuals)
        if moments is None:
            return Estimate(value, None, None)
        error, skewness, freedom = moments
        if error <= ROUNDING * abs(value):
            return Estimate(value, value, value)
        if abs(skewness) > MOST_SKEWED:
            return Estimate(value, None, None)
        from scipy.special import stdtrit  # loading it takes longer than most plans

        low, high = (value - error * unskewed(side, skewness) for side in stdtrit(freedom, (0.975, 0.025)))
        return Estimate(value, float(low), float(high))

    def _drawn(self, residuals: Array) -> tuple[float, float, float] | None:
        """Standard error, skewness and degrees of freedom of the mean of independent residuals; None of too few."""
        counts = np.array(self.strata)
        if counts.min() < 2:
            return None
        parts = np.split(residuals, np.cumsum(counts)[:-1])
        variance = sum(count * part.var(ddof=1) for count, part in zip(counts, parts, strict=True)) / counts.sum() ** 2
        third = sum(((part - part.mean()) ** 3).sum() for part in parts) / counts.sum() ** 3
        skewness = third / variance**1.5 if variance > 0 else 0.0
        return math.sqrt(variance), float(skewness), float(counts.sum() - counts.size)

    def _recorded(self, residuals: Array) -> tuple[float, float, float] | None:
        """The same of the rounds of a recording, in their order; draws of the same round are averaged."""
        series = residuals.reshape(-1, self.rounds).mean(axis=0)
        effective = self.rounds / correlation_time(series)
        if effective <= 2:
            return None
        deviation = float(series.std(ddof=1))
        third = float(((series - series.mean()) ** 3).mean())
        skewness = third / deviation**3 / math.sqrt(effective) if deviation > 0 else 0.0
        return deviation / math.sqrt(effective), skewness, effective - 1


def unskewed(quantile: float, skewness: float) -> float:
    """The quantile of a studentised mean with a known skewness, from that of a symmetric one: Hall's inverse."""
    if abs(skewness) < 1e-6:
        return quantile
    return 3 / skewness * (float(np.cbrt(1 + skewness * (quantile - skewness / 6))) - 1)


def correlation_time(series: Array) -> float:
    """Number of successive values that are worth one independent one: at least 1. ``series``: (n,), in their order."""
    centred = series - series.mean()
    power = float(centred @ centred)
    if power == 0:
        return 1.0
    time = -1.0
    for lag in range(0, series.size - 1, 2):
        pair = sum(float(centred[: series.size - k] @ centred[k:]) for k in (lag, lag + 1)) / power
        if pair <= 0:
            break
        time += 2 * pair
    return max(1.0, time)


def mean_and_interval(totals: Array) -> tuple[float, float | None, float | None]:
    """Mean of repetitions and its 95 % interval by Student's t, cut off at the least that was seen: never below zero.

    No interval from a single repetition, and none where all are the same: nothing was random, or too rare to be seen.

    ``totals``: of each repetition, (n,).
    """
    mean = float(totals.mean())
    if totals.size < 2 or np.ptp(totals) <= ROUNDING * abs(mean):
        return mean, None, None
    from scipy.special import stdtrit

    half = float(stdtrit(totals.size - 1, 0.975) * totals.std(ddof=1) / np.sqrt(totals.size))
    return mean, max(mean - half, float(totals.min())), mean + half
