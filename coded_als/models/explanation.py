"""Explanations of a score by the ratings that it comes from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from coded_als.arrays import Array, Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.ids import Id, Ids
from coded_als.models.top_n import require_count


def influences(rated: Array, curvature: Floats, penalty: Array, gram: Floats | None, wanted: Array) -> Array:
    """What a unit of each target adds to a score: ``y_k . S^-1 v`` with S = sum_k c_k y_k y_k^T + G + diag(penalty).

    S is A^T A, A = Q T, and so they are ``q_k . T^-T v / sqrt(c_k)``: S itself has squared what a small ridge weight leaves
    of the digits.

    ``rated``: y, (k, d), rows of the items that were rated; ``curvature``: c, (k,), not negative; ``penalty``:
    (d,), positive; ``gram``: G, (d, d), if there is one; ``wanted``: v, (d,), of the item that is scored. Returns
    (k,).
    """
    weights = np.sqrt(np.asarray(curvature, dtype=np.float64))
    blocks = [weights[:, np.newaxis] * rated, np.diag(np.sqrt(penalty))]
    if gram is not None:
        sizes, axes = np.linalg.eigh(np.asarray(gram, dtype=np.float64))
        blocks.append(np.sqrt(np.maximum(sizes, 0.0))[:, np.newaxis] * axes.T)
    orthogonal, triangle = np.linalg.qr(np.vstack(blocks))
    common = solve_triangular(triangle, wanted, trans="T")
    found = rated @ solve_triangular(triangle, common)
    np.divide(orthogonal[: len(rated)] @ common, weights, out=found, where=weights > 0)
    return np.asarray(found)


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

        Returns an `Explanation`, of the score that `fold_in` gives.

        Raises UsageError for an unknown item, no rating, or n < 1.
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
