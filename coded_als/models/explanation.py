"""Explanations of a score by the ratings that it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.models.ids import Ids


@dataclass(frozen=True, eq=False)
class Explanation:
    """A score, split over the ratings of a user.

    Parameters
    ----------
    score
        ``base`` and all contributions, also of ratings that are not named.
    base
        What the item scores for a user of whom nothing is known: mean and bias of the item.
    ids
        (k,) items rated, those that weigh most first.
    contributions
        (k,) what each adds to the score, or takes off it.
    """

    score: float
    base: float
    ids: Ids
    contributions: NDArray[np.float64]


def explained(base: float, ids: Ids, contributions: NDArray[Any], n: int) -> Explanation:
    """The n ratings that weigh most.

    Parameters
    ----------
    base
        Score without any rating.
    ids, contributions
        (ratings,) of all.
    n
        How many to name.
    """
    order = np.argsort(-np.abs(contributions), kind="stable")[:n]
    total = float(base + contributions.sum())
    return Explanation(total, float(base), ids[order], np.asarray(contributions[order], dtype=np.float64))
