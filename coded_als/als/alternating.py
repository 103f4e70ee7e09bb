"""The paper's alternating least squares in its direct form (12), and the eigenpairs that its factor implies."""

from __future__ import annotations

import numpy as np

from coded_als.als.history import Recorder
from coded_als.als.protocols import IterationProtocol
from coded_als.als.ritz import RitzPairs
from coded_als.als.updates import objective, update_matrix
from coded_als.kernels import Array

# Directions that a ridge weight above their singular value has shrunk below this are no longer told from rounding.
FADED = 1e-4


def alternating(
    protocol: IterationProtocol, start: Array, trace: float, regularization: float, iterations: int, recorder: Recorder
) -> Array:
    """B <- E (S^-1 M + lam S)^-1 until the objective has converged (12).

    Parameters
    ----------
    protocol
        Computes the products.
    start
        B, (l, d).
    trace
        tr D.
    regularization
        Ridge weight lam.
    iterations
        The most iterations to run.
    recorder
        Keeps the history and decides when to stop.

    Returns
    -------
    (l, d): an orthonormal basis of the last factor.

    Raises
    ------
    UsageError
        Without regularisation, if the rank asked for is above that of the data.
    """
    factor = start
    for _ in range(iterations):
        gram, projected, image = protocol.products(factor)
        weights = update_matrix(gram, projected, regularization, recorder.error_estimate)
        value = objective(trace, gram, projected, regularization)
        pairs = implied_pairs(factor, gram, projected, image)
        factor = protocol.update(weights)
        if recorder.finish(pairs, factor, value):
            break
    return np.linalg.svd(factor, full_matrices=False)[0]


def implied_pairs(factor: Array, gram: Array, projected: Array, image: Array) -> RitzPairs:
    """The Ritz pairs of D on the span of a factor; their residuals are those of E - B F^-1 M.

    Parameters
    ----------
    factor
        B, (l, d).
    gram, projected
        F = B^T B and M = B^T D B, (d, d).
    image
        E = D B, (l, d).
    """
    squares, axes = np.linalg.eigh((gram + gram.T) / 2)
    told = squares > FADED**2 * squares[-1]
    orthonormal = axes[:, told] / np.sqrt(squares[told])
    restricted = orthonormal.T @ projected @ orthonormal
    values, rotation = np.linalg.eigh((restricted + restricted.T) / 2)
    weights = orthonormal @ rotation[:, ::-1]
    values, vectors = values[::-1], factor @ weights
    return RitzPairs(values, vectors, np.linalg.norm(image @ weights - vectors * values, axis=0))
