"""Means, intervals and quantiles of seconds, for the tables of plans and sweeps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from coded_als.arrays import Array

# Samples of the bootstrap.
RESAMPLES = 2000


def mean_and_interval(totals: Array) -> tuple[float, float | None, float | None]:
    """Mean of repetitions and its 95 % interval by Student's t, cut off at the least that was seen: never below zero.

    No interval from a single repetition, and none where all are the same: nothing was random, or too rare to be seen.
    """
    mean = float(totals.mean())
    if totals.size < 2 or np.ptp(totals) <= 1e-9 * abs(mean):
        return mean, None, None
    half = float(stats.t.ppf(0.975, totals.size - 1) * totals.std(ddof=1) / np.sqrt(totals.size))
    return mean, max(mean - half, float(totals.min())), mean + half


def ratio_and_interval(numerators: Array, denominators: Array) -> tuple[float, float, float]:
    """Ratio of two means over the same repetitions, (repeats,) each, and its 95 % interval by the bootstrap of pairs.

    Parameters
    ----------
    numerators
        Seconds of each repetition, (repeats,).
    denominators
        Seconds of the same repetitions, (repeats,).
    """
    ratio = float(numerators.mean() / denominators.mean())
    chosen = _resampled(numerators.size)
    ratios = numerators[chosen].mean(axis=1) / denominators[chosen].mean(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return ratio, float(low), float(high)


@lru_cache(maxsize=8)
def _resampled(count: int) -> NDArray[np.int64]:
    """Which repetitions each of the bootstrap's samples holds, (samples, count)."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
