"""New users against the fixed items of a coded fit, and the contributions to their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.als.centring import row_means
from coded_als.als.problem import Weighting, weighted
from coded_als.als.updates import inverse_of_gram
from coded_als.arrays import Array, Integers
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.rating_matrix import checked_ratings
from coded_als.models.recommending import NewRatings, NewUsers


class LinearFolding(FactorModel):
    """A model in which a missing rating counts as zero: a new user's factors are a product of the ratings."""

    regularization: float
    weighting: Weighting
    _folding: Array | None = None

    def fold_in(self, ratings: NewRatings) -> NewUsers:
        """Factors of new users, with the items held fixed: r V (V^T V + lam I)^-1, zeros where nothing is rated.

        Of a centred model r is less its own mean, which is the new user's bias, and less the means of the items.

        ``ratings``: one user as a mapping from item id to rating, or (k, n), dense or sparse, with the model's columns.

        Raises UsageError for an unknown item or another number of columns.
        """
        self._require_fitted()
        rows, _ = weighted(self._new_rows(ratings), self.weighting, self.global_mean_)
        biases = None
        if self.user_biases_ is not None:
            biases = row_means(rows)
        return NewUsers(self._folded(rows, biases), biases)

    def _folded(self, rows: Any, biases: Array | None) -> Array:
        """Factors of rows less their means and those of the items, (k, d)."""
        folder = self._folder()
        if biases is None and self.item_biases_ is None:
            return np.asarray(rows @ folder)
        means = np.zeros(rows.shape[1]) if self.item_biases_ is None else self.item_biases_
        if not sparse.issparse(rows):
            # before the product: afterwards the digits of a large mean would be lost
            return np.asarray((rows - means if biases is None else rows - biases[:, np.newaxis] - means) @ folder)
        factors = np.asarray(rows @ folder) - means @ folder
        return factors if biases is None else factors - np.outer(biases, folder.sum(axis=0))

    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        rows, _ = weighted(self._row(columns, values), self.weighting, self.global_mean_)
        weights = self._folder() @ self.item_factors_[asked]
        if self.user_biases_ is not None:  # a rating moves the user's mean too
            weights += (1.0 - weights.sum()) / weights.size
        return rows.indices, np.asarray(rows.data * weights[rows.indices])

    def _base(self, asked: int) -> float:
        if self.item_biases_ is None:
            return super()._base(asked)
        return float(super()._base(asked) - (self.item_biases_ @ self._folder()) @ self.item_factors_[asked])

    def _new_rows(self, ratings: NewRatings) -> Any:
        if isinstance(ratings, Mapping):
            return self._row(*self._rated(ratings))
        length = len(self.item_factors_)
        ratings = checked_ratings(ratings)
        if ratings.shape[1] != length:
            raise UsageError(
                f"new users must have a column for each of {length} items; got {ratings.shape[1]}. Match the model."
            )
        return ratings

    def _row(self, columns: Integers, values: NDArray[np.float64]) -> sparse.csr_array:
        return sparse.csr_array((values, columns, [0, columns.size]), shape=(1, len(self.item_factors_)))

    def _folder(self) -> Array:
        """(n, d) V (V^T V + lam I)^-1, made at the first new user."""
        if self._folding is None:
            items = self.item_factors_
            self._folding = np.asarray(items @ inverse_of_gram(items.T @ items, self.regularization))
        return self._folding

    def _keep(self, *arguments: Any, **named: Any) -> None:
        super()._keep(*arguments, **named)
        self._folding = None
