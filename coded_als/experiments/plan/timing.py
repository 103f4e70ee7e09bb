"""Means, intervals and quantiles of seconds, for the tables of plans and sweeps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from coded_als.arrays import Array

# Samples of the bootstrap.
RESAMPLES = 2000
# Levels of the quantiles stored with every cell: enough to draw the distribution of iteration times again, and to see
# where a mixture of fast and slow workers steps.
QUANTILES = (0.0, 0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99, 1.0)


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


def summary(seconds: Array, clock: str) -> dict[str, Any]:
    """Columns for a table from the seconds of iterations (repeats, iterations), named after their clock.

    The quantiles of the iterations carry their levels, and the middle 95 % of the repetitions' own quantiles.

    Parameters
    ----------
    seconds
        (repeats, iterations).
    clock
        ``"virtual"`` or ``"wall"``.
    """
    mean, low, high = mean_and_interval(seconds.sum(axis=1))
    # seconds that some iteration took: between a fast and a slow one there may be none
    quantiles = np.quantile(seconds, QUANTILES, method="inverted_cdf").tolist()
    of_each = np.quantile(seconds, QUANTILES, axis=1, method="inverted_cdf")
    low_of, high_of = np.quantile(of_each, (0.025, 0.975), axis=1, method="inverted_cdf")
    named = dict(zip(QUANTILES, quantiles, strict=True))
    return {
        f"{clock}_seconds_mean": mean,
        f"{clock}_seconds_low95": low,
        f"{clock}_seconds_high95": high,
        f"{clock}_iteration_seconds_p50": named[0.5],
        f"{clock}_iteration_seconds_p95": named[0.95],
        f"{clock}_iteration_seconds_p99": named[0.99],
        f"{clock}_iteration_seconds_quantiles": {
            "levels": list(QUANTILES),
            "seconds": quantiles,
            "low95": low_of.tolist(),
            "high95": high_of.tolist(),
        },
    }
