"""The factors in closed form, once their subspace is known."""

from __future__ import annotations

import numpy as np

from coded_als.als.ritz import singular_triplets
from coded_als.als.updates import floor_of, rank_error
from coded_als.kernels import Array


def best_factors(basis: Array, image: Array, rank: int, regularization: float, error: float) -> tuple[Array, Array]:
    """The best factors whose rows lie in a subspace, balanced and ordered by singular value.

    For singular triplets (q, sigma, x) of A on the subspace they are q and x times ((sigma - lam)_+)^(1/2). Column signs
    are fixed: they would otherwise depend on the last digits, and so on who was slow.

    Parameters
    ----------
    basis
        Orthonormal columns, (l, k) with k >= rank.
    image
        A times them, (rows, k).
    rank
        Factors d.
    regularization
        Ridge weight lam.
    error
        Relative error of the image.

    Returns
    -------
    (rows, d) and (l, d), whose product A is to be.

    Raises
    ------
    UsageError
        Without regularisation, if the rank is above that of the data as far as it can be told.
    """
    left, sigma, right = singular_triplets(basis, image)
    floor = floor_of(max(left.shape[0], right.shape[0]), error) * sigma[0]
    if regularization == 0 and not sigma[rank - 1] > floor:
        raise rank_error(int(np.sum(sigma > floor)), rank)
    left, right = left[:, :rank], right[:, :rank]
    weights = np.sqrt(np.maximum(sigma[:rank] - regularization, 0.0)) * signs(right)
    return left * weights, right * weights


def signs(vectors: Array) -> Array:
    """1 or -1 for each column: the side of a fixed hyperplane without symmetries, on which it lies.

    The entry of largest size would do for random vectors, but ties are common in ratings.
    """
    normal = np.random.default_rng(0).standard_normal(vectors.shape[0])
    return np.asarray(np.where(normal @ vectors < 0, -1.0, 1.0))
