"""Explanations of a score by the ratings that it comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Floats
from coded_als.models.ids import Ids


def influences(rated: Array, curvature: Floats, penalty: Array, gram: Floats | None, wanted: Array) -> Array:
    """The influence of a unit of each target on a score: ``y_k . S^-1 v``, S = sum_k c_k y_k y_k^T + G + diag(penalty).

    S is A^T A, A = Q T, and so they are ``q_k . T^-T v / sqrt(c_k)``. Forming S would square the condition number of A,
    which a small ridge weight makes large.

    ``rated``: y, (k, d), rows of the items that were rated; ``curvature``: c, (k,), not negative; ``penalty``:
    (d,), positive; ``gram``: G, (d, d), if there is one; ``wanted``: v, (d,), of the item that is scored. Returns
    (k,).
    """
    from scipy.linalg import solve_triangular  # late: few ask for an explanation

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
    """A score, split over the ratings of a user."""

    score: float  # ``base`` and all contributions, also of ratings that are not named
    base: float  # score of the item for an unknown user: mean and bias of the item
    ids: Ids  # (k,) items rated, those that weigh most first
    contributions: NDArray[np.float64]  # (k,) part of the score that comes from each rating, of either sign
