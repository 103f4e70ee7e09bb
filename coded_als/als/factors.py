"""The factors in closed form, once their subspace is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.als.problem import Problem
from coded_als.als.ritz import singular_triplets
from coded_als.als.updates import floor_of, rank_error
from coded_als.arrays import Array


@dataclass(frozen=True)
class BestFactors:
    """The best factors with rows in a subspace, balanced and ordered by singular value.

    For singular triplets (q, sigma, x) of A on the subspace they are q and x times ((sigma - lam)_+)^(1/2). Column signs
    are fixed: they would otherwise depend on the last digits, and so on the workers that were slow.
    """

    # the leading triplets, (rows, d), (d,) and (l, d)
    left: Array
    sigma: Array
    right: Array
    regularization: float  # ridge weight lam

    @classmethod
    def on(cls, basis: Array, image: Array, rank: int, regularization: float, error: float) -> BestFactors:
        """The best factors on a subspace.

        ``basis``: orthonormal columns, (l, k) with k >= rank; ``image``: A times them, (rows, k).

        Raises UsageError without regularisation, if the rank is above that of the data as far as rounding shows.
        """
        left, sigma, right = singular_triplets(basis, image)
        floor = floor_of(max(left.shape[0], right.shape[0]), error) * sigma[0]
        if regularization == 0 and not sigma[rank - 1] > floor:
            raise rank_error(int(np.sum(sigma > floor)), rank)
        side = signs(right[:, :rank])
        return cls(left[:, :rank] * side, sigma[:rank], right[:, :rank] * side, regularization)

    @property
    def kept(self) -> Array:
        """The singular values less the ridge weight, (d,), none below zero."""
        return np.maximum(self.sigma - self.regularization, 0.0)

    @property
    def factors(self) -> tuple[Array, Array]:
        """(rows, d) and (l, d); A is about their product."""
        weights = np.sqrt(self.kept)
        return self.left * weights, self.right * weights

    def measured(self, problem: Problem) -> tuple[float, float]:
        """The exact objective, and the part of it caused by the decoding error of A X.

        The loss is second order in that difference but for the ridge term, and it is not lost in the rounding of the
        objective near an exact fit.
        """
        image = problem.image(self.right)
        # column by column: with millions of rows each copy counts
        columns = range(self.kept.size)
        along = np.array([np.sum(image[:, column] * self.left[:, column]) for column in columns])
        explained = 2 * float(along @ self.kept) - float(self.kept @ self.kept)
        left_out = problem.squared_norm - explained
        if problem.cancels(explained):
            left_out = problem.squared_error(self.left * self.kept, self.right)
        moved = 0.0
        for column in np.flatnonzero(self.kept > 0):
            left = self.left[:, column]
            difference = image[:, column] - left * self.sigma[column]
            moved += float(np.sum(difference**2)) + 2 * self.regularization * abs(float(np.sum(difference * left)))
        return left_out + 2 * self.regularization * float(self.kept.sum()), moved


def signs(vectors: Array) -> Array:
    """1 or -1 for each column, (d,): the side of a fixed hyperplane without symmetries, on which it lies.

    The entry of largest size would do for random vectors, but ties are common in ratings.
    """
    normal = np.random.default_rng(0).standard_normal(vectors.shape[0])
    return np.asarray(np.where(normal @ vectors < 0, -1.0, 1.0))
