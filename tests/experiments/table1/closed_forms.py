"""Closed forms of the paper and of order statistics, as oracles."""

from __future__ import annotations

import math


def threshold_from_redundancy(workers: int, mu: float) -> float:
    """Theorem 1: K = W / mu + sqrt(W / mu) - 1.

    Parameters
    ----------
    workers
        W.
    mu
        Storage redundancy.
    """
    return workers / mu + math.sqrt(workers / mu) - 1


def exponential_order_mean(k: int, count: int, mean: float, shift: float = 0.0) -> float:
    """Mean of the k-th smallest of ``count`` (shifted) exponential variables: shift + mean (H_W - H_(W-k)).

    Parameters
    ----------
    k
        Which of them, from 1.
    count
        How many, W.
    mean
        Of one, beyond the shift.
    shift
        Added to each.
    """
    return shift + mean * sum(1.0 / (count - i) for i in range(k))


def uniform_order_mean(k: int, count: int, low: float, high: float) -> float:
    """Mean of the k-th smallest of ``count`` uniform variables: low + (high - low) k / (W + 1).

    Parameters
    ----------
    k
        Which of them, from 1.
    count
        How many, W.
    low
        The least that one can be.
    high
        The most that one can be.
    """
    return low + (high - low) * k / (count + 1)
