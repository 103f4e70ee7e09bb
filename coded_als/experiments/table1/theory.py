"""The paper's formulas beyond its thresholds (`coded_als.codes.thresholds`): redundancy and the expected time (46)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri

from coded_als.codes import iteration_threshold

# Blom's constant: the a of (46), for the expected order statistics of normal variables.
BLOM = 0.375


def redundancy(workers: int, partitions: int) -> float:
    """Storage redundancy mu = W / h^2.

    Parameters
    ----------
    workers
        W.
    partitions
        h.
    """
    return workers / partitions**2


def blom_quantile(k: int, count: int) -> float:
    """Approximate mean of the k-th smallest of ``count`` standard normal variables.

    Parameters
    ----------
    k
        Which of them, from 1.
    count
        How many.
    """
    return float(ndtri((k - BLOM) / (count - 2 * BLOM + 1)))


@dataclass(frozen=True)
class OperationTime:
    """Appendix A's law of one multiplication, over a whole run.

    Parameters
    ----------
    total_mu_s
        T mu_u: iterations times mean seconds of one multiplication.
    total_sigma_s
        T sigma_u.
    """

    total_mu_s: float
    total_sigma_s: float


def formula_terms(columns: int, rank: int, partitions: int, alive: int) -> tuple[float, float]:
    """Factors of T mu_u and T sigma_u in (46).

    Parameters
    ----------
    columns
        The smaller side n of R.
    rank
        d.
    partitions
        h.
    alive
        W - s workers that response.
    """
    quantile = blom_quantile(iteration_threshold(partitions, "real"), alive)
    return columns**2 * rank / partitions**2, quantile * math.sqrt(rank) * columns / partitions


def expected_seconds(law: OperationTime, columns: int, rank: int, partitions: int, alive: int) -> float:
    """Expected time of a run, equation (46).

    Parameters
    ----------
    law
        Time of an operation.
    columns
        Columns n of R.
    rank
        Columns d of the factors.
    partitions
        h.
    alive
        Workers that respond.
    """
    mean_factor, spread_factor = formula_terms(columns, rank, partitions, alive)
    return law.total_mu_s * mean_factor + law.total_sigma_s * spread_factor
