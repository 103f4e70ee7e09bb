"""The influence of a user's ratings on the score of an item."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

from coded_als.arrays import Array, Floats


def influences(rated: Array, curvature: Floats, penalty: Array, gram: Floats | None, wanted: Array) -> Array:
    """What a unit of each target adds to a score: ``y_k . S^-1 v`` with S = sum_k c_k y_k y_k^T + G + diag(penalty).

    S is A^T A, A = Q T, and so they are ``q_k . T^-T v / sqrt(c_k)``: S itself has squared what a small ridge weight leaves
    of the digits.

    Parameters
    ----------
    rated
        y, (k, d), rows of the items that were rated.
    curvature
        c, (k,), not negative.
    penalty
        (d,), positive.
    gram
        G, (d, d), if there is one.
    wanted
        v, (d,), of the item that is scored.

    Returns
    -------
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
