"""A bound on what the objective can still lose, from the residuals of Ritz pairs.

For Ritz pairs of D = A^T A with residuals r = D x - theta x, and beta the largest eigenvalue outside the subspace, the
eigenvalues of D lie at most about |r|^2 / (theta - beta) above the Ritz values (Parlett, The Symmetric Eigenvalue
Problem, 11.7), and never more than |r| (Weyl). Extrapolating the objective says nothing before its rate is known, and
a slow direction that fast ones still hide has no rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.kernels import Array

# The bound holds for the exact outside eigenvalue; an estimate stands in for it.
SAFETY = 2.0


@dataclass(frozen=True)
class Certificate:
    """What is known about the best factors on a subspace.

    Parameters
    ----------
    objective
        Theirs.
    loss
        Bound on how far that is above the optimum.
    """

    objective: float
    loss: float

    @property
    def optimum(self) -> float:
        """Lower bound of the optimum."""
        return self.objective - self.loss

    @property
    def remaining(self) -> float:
        """Bound on the distance from the optimum, relative to it."""
        return self.loss / self.optimum if self.optimum > 0 else np.inf


def gain(values: Array, shifts: Array, regularization: float) -> Array:
    """How much more of the objective eigenvalues t + s explain than eigenvalues t, without cancellation.

    An eigenvalue t = sigma^2 explains ((sigma - lam)_+)^2.
    """
    low, high = np.sqrt(values), np.sqrt(values + shifts)
    total = np.maximum(low + high, np.finfo(np.float64).tiny)
    both = shifts * np.maximum(1 - 2 * regularization / total, 0.0)
    return np.asarray(np.where(low > regularization, both, np.maximum(high - regularization, 0.0) ** 2))


def loss_bound(
    values: Array, residuals: Array, outside: float, rank: int, regularization: float, doubt: float
) -> float:
    """What the objective can still lose when ``rank`` Ritz pairs become eigenpairs.

    Parameters
    ----------
    values, residuals
        Ritz values and norms of their residuals, (k,), descending; those beyond the rank are left out.
    outside
        The largest eigenvalue outside the subspace.
    rank
        Factors d; where fewer pairs are given, the others count as ``outside``.
    regularization
        Ridge weight lam.
    doubt
        How many times its residual above a Ritz value below lam^2 an eigenvalue must be feared.
    """
    values, residuals = np.maximum(values[:rank], 0.0), residuals[:rank]
    gaps = values - outside
    quadratic = np.divide(residuals**2, gaps, out=np.full_like(gaps, np.inf), where=gaps > 0)
    shifts = np.maximum(-gaps, 0.0) + SAFETY * np.minimum(quadratic, residuals)
    shifts = np.where(values > regularization**2, shifts, np.maximum(shifts, doubt * residuals))
    missing = max(outside, 0.0) * np.ones(rank - values.size)
    unseen = gain(np.zeros_like(missing), missing, regularization)
    return float(gain(values, shifts, regularization).sum() + unseen.sum())


def spectral_objective(left_out: float, values: Array, regularization: float) -> float:
    """The objective of the best factors on given eigenvectors of D, from the eigenvalues sigma^2.

    A singular value above lam is shrunk to sigma - lam and costs 2 lam sigma - lam^2; the others cost sigma^2.

    Parameters
    ----------
    left_out
        |A - A X X^T|^2 of the eigenvectors X.
    values
        (d,)
    regularization
        Ridge weight lam.
    """
    values = np.maximum(values, 0.0)
    sigma = np.sqrt(values)
    kept = np.where(sigma > regularization, regularization * (2 * sigma - regularization), values)
    return float(left_out + kept.sum())
