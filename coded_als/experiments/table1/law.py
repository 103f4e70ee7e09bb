"""The law (46) fitted to the paper's own cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from coded_als.experiments.table1.first_responses import errors_of_first
from coded_als.experiments.table1.paper import PaperCell, paper_cells, paper_size
from coded_als.experiments.table1.theory import OperationTime, formula_terms

# Decoding this well is of no concern to the times: cells where real points reach it fit the law (46).
SOUND_ERROR = 1e-8


def fit_law(cells: Sequence[PaperCell]) -> OperationTime:
    """T mu_u and T sigma_u of (46) with the least relative error over the cells, neither below zero."""
    size = paper_size()
    factors = np.array([formula_terms(size.length, size.rank, cell.partitions, cell.live) for cell in cells])
    published = np.array([cell.seconds for cell in cells])
    scale = np.abs(factors).max(axis=0)
    solution, _ = nnls(factors / scale / published[:, np.newaxis], np.ones(len(cells)))
    mu, sigma = solution / scale
    return OperationTime(float(mu), float(sigma))


def sound_cells() -> list[PaperCell]:
    """Cells of those columns in which every cell decodes soundly at real points: where (46) can hold."""
    worst: dict[int, float] = {}
    for cell in paper_cells():
        estimated, _ = errors_of_first(cell, "real", repeats=5, seed=0)
        worst[cell.partitions] = max(worst.get(cell.partitions, 0.0), estimated)
    return [cell for cell in paper_cells() if worst[cell.partitions] <= SOUND_ERROR]
