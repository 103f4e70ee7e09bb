"""Explanations of a score by the ratings that it comes from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.ids import Id, Ids
from coded_als.models.top_n import require_count


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


class Explaining(FactorModel):
    """A model whose scores for a user who is folded in are linear in the ratings."""

    def explain(self, ratings: Mapping[Id, float], item: Id, n: int = 10) -> Explanation:
        """Which of a user's ratings a score comes from.

        Folded in, the user's row is linear in the ratings, and so is the score of an item (Hu, Koren, Volinsky 2008,
        section 5): ``score = base + sum of contributions``, where the base is what the item scores for anybody.

        Parameters
        ----------
        ratings
            The user's, by item id.
        item
            The id of the item whose score is to be explained.
        n
            How many contributions to name; the rest is in the total.

        Returns
        -------
        An `Explanation`, of the score that `fold_in` gives.

        Raises
        ------
        UsageError
            For an unknown item, no rating, or n < 1.
        """
        self._require_fitted()
        require_count(n)
        column = self._item_lookup.index(item)
        if not ratings:
            raise UsageError("a score must come from ratings to be explained; got none. Give what the user rated.")
        rated, contributions = self._contributions(*self._rated(ratings), column)
        base = self.global_mean_ + (0.0 if self.item_biases_ is None else float(self.item_biases_[column]))
        order = np.argsort(-np.abs(contributions), kind="stable")[:n]
        total = float(base + contributions.sum())
        return Explanation(total, base, self.item_ids[rated[order]], contributions[order])

    @abstractmethod
    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """What ratings (k,) in ascending columns (k,) add to the score of a column: columns and parts, (k,) each."""
