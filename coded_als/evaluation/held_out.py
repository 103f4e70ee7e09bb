"""Fitted models against a part of each row, left out and predicted from the rest of that row.

Folding a row in and predicting that same row measures how much a model can bend, and the largest rank always wins.
What is left out depends on the rows alone, so that models are compared on the same ratings.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from coded_als.evaluation.left_out import leave_out, score_blocks
from coded_als.models.factor_model import FactorModel


def held_out_rmse(model: FactorModel, ratings: Any) -> float:
    """Root mean squared error on a fifth of each row's ratings, predicted from the other ones.

    Parameters
    ----------
    model
        Fitted, with fold-in.
    ratings
        (k, n) rows of users, known to the model or not.

    Returns
    -------
    At least 0.

    Raises
    ------
    UsageError
        When no row has two ratings.
    """
    kept, rows, columns, values = leave_out(ratings)
    errors = np.empty(values.size)
    for start, scores in score_blocks(model, kept):
        part = (rows >= start) & (rows < start + len(scores))
        errors[part] = scores[rows[part] - start, columns[part]] - values[part]
    return float(np.sqrt(np.mean(np.square(errors))))


def held_out_auc(model: FactorModel, ratings: Any) -> float:
    """The chance that an item left out of a row scores above one that is not in the row at all.

    Parameters
    ----------
    model
        Fitted, with fold-in.
    ratings
        (k, n) interactions of users, known to the model or not; their values do not matter.

    Returns
    -------
    Mean over the rows of which something is left out and something else is missing, 0 to 1; 0.5, chance, where there
    is no such row. A tie counts half.

    Raises
    ------
    UsageError
        When no row has two entries.
    """
    from scipy.stats import rankdata

    kept, rows, columns, _ = leave_out(ratings)
    ends = np.searchsorted(rows, np.arange(kept.shape[0] + 1))
    chances = []
    for start, block in score_blocks(model, kept):
        for row, scores in enumerate(block, start):
            left_out = columns[ends[row] : ends[row + 1]]
            known = kept.indices[kept.indptr[row] : kept.indptr[row + 1]]
            others = scores.size - known.size - left_out.size
            if not left_out.size or not others:
                continue
            scores[known] = -np.inf
            # ranks among the items left out and the missing ones; the known ones are all below
            above = rankdata(scores)[left_out] - known.size
            wins = above.sum() - left_out.size * (left_out.size + 1) / 2
            chances.append(wins / (left_out.size * others))
    return float(np.mean(chances)) if chances else 0.5
