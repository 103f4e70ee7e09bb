"""The expected time of the paper, equation (46), and the law of an operation's time fitted to the published seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls
from scipy.special import ndtri

from coded_als.codes import iteration_threshold
from coded_als.experiments.table1.paper_table import OperationTime, PaperCell, paper_size

# Iterations that the draws of the virtual clock spread the fitted totals over.
NOMINAL_ITERATIONS = 1000
# Blom's constant: the a of (46), for the expected order statistics of normal variables.
BLOM = 0.375


def blom_quantile(k: int, count: int) -> float:
    """Approximate mean of the k-th smallest of ``count`` standard normal variables."""
    return float(ndtri((k - BLOM) / (count - 2 * BLOM + 1)))


def constants(law: OperationTime) -> str:
    """The fitted constants for people."""
    return f"T mu = {law.total_mu_s:.4g} s, T sigma = {law.total_sigma_s:.4g} s for a multiplication of a whole run"


def formula_terms(columns: int, rank: int, partitions: int, alive: int) -> tuple[float, float]:
    """Factors of T mu_u and T sigma_u in (46)."""
    quantile = blom_quantile(iteration_threshold(partitions, "real"), alive)
    return columns**2 * rank / partitions**2, quantile * math.sqrt(rank) * columns / partitions


def expected_seconds(law: OperationTime, columns: int, rank: int, partitions: int, alive: int) -> float:
    """Expected time of a run, equation (46)."""
    mean_factor, spread_factor = formula_terms(columns, rank, partitions, alive)
    return law.total_mu_s * mean_factor + law.total_sigma_s * spread_factor


def fit_law(cells: Sequence[PaperCell]) -> OperationTime:
    """T mu_u and T sigma_u of (46) with the least relative error over the cells, neither below zero."""
    size = paper_size()
    factors = np.array([formula_terms(size.length, size.rank, cell.partitions, cell.live) for cell in cells])
    published = np.array([cell.seconds for cell in cells])
    scale = np.abs(factors).max(axis=0)
    solution, _ = nnls(factors / scale / published[:, np.newaxis], np.ones(len(cells)))
    mu, sigma = solution / scale
    return OperationTime(float(mu), float(sigma))
