"""Columns of seconds of a sweep: means, intervals and quantiles of iterations, named after their clock."""

from __future__ import annotations

from typing import cast

import numpy as np

from coded_als.als.statistics import mean_and_interval
from coded_als.arrays import Array
from coded_als.experiments.sweep.rows import Figures, Quantiles, SweepRow

# Levels of the quantiles stored with every cell: enough to draw the distribution of iteration times again, and to see
# where a mixture of fast and slow workers steps.
QUANTILES = (0.0, 0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99, 1.0)


def with_seconds(figures: Figures, seconds: Array, clock: str) -> Figures:
    """Figures of a cell with those of its seconds, (repeats, iterations), named after their clock.

    The quantiles of the iterations carry their levels, and the middle 95 % of the repetitions' own quantiles.

    Parameters
    ----------
    figures
        The others.
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
    columns = {
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
    # a test holds the keys against the type
    return cast(Figures, {**figures, **columns})


def mean_seconds(row: SweepRow, clock: str) -> float:
    """Mean seconds until convergence of a cell that is done.

    Parameters
    ----------
    row
        Of the cell.
    clock
        ``"virtual"`` or ``"wall"``.
    """
    return float(row["virtual_seconds_mean"] if clock == "virtual" else row["wall_seconds_mean"])


def interval_seconds(row: SweepRow, clock: str) -> tuple[float, float]:
    """The 95 % interval of `mean_seconds`, or the mean twice where there is none.

    Parameters
    ----------
    row, clock
        As for `mean_seconds`.
    """
    virtual = clock == "virtual"
    low = row["virtual_seconds_low95"] if virtual else row["wall_seconds_low95"]
    high = row["virtual_seconds_high95"] if virtual else row["wall_seconds_high95"]
    return known_interval(mean_seconds(row, clock), low, high)


def known_interval(mean: float, low: float | None, high: float | None) -> tuple[float, float]:
    """An interval that can be drawn: the mean twice where there is none, since nothing varied.

    Parameters
    ----------
    mean, low, high
        As stored.
    """
    return (mean, mean) if low is None or high is None else (max(low, 0.0), high)


def iteration_quantiles(row: SweepRow, clock: str) -> Quantiles:
    """Stored quantiles of the iteration times of a cell that is done.

    Parameters
    ----------
    row, clock
        As for `mean_seconds`.
    """
    return row["virtual_iteration_seconds_quantiles"] if clock == "virtual" else row["wall_iteration_seconds_quantiles"]
