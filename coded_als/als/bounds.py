"""A bound on what the objective can still lose, from the residuals of Ritz pairs.

For Ritz pairs of D = A^T A with residuals r = D x - theta x, and beta the largest eigenvalue outside the subspace, the
eigenvalues of D lie at most about |r|^2 / (theta - beta) above the Ritz values (Parlett, The Symmetric Eigenvalue
Problem, 11.7), and never more than |r| (Weyl). Extrapolating the objective says nothing before its rate is known, and
a slow direction that fast ones still hide has no rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array

# Components of a random start are seldom smaller than this many times 1 / sqrt(l): for a few columns together, once in
# ten thousand starts.
SELDOM = 10.0


def doubt_of(length: int) -> float:
    """How many times its residual above a Ritz value an eigenvalue must be feared, if only a random start speaks against it.

    A Ritz vector with a component c of an eigenvector has at least c times the distance of their values as residual, and
    iterating shrinks no component whose eigenvalue is above the Ritz value.
    """
    return SELDOM * float(np.sqrt(length))


@dataclass(frozen=True)
class Outside:
    """What is known of the eigenvalues outside a subspace.

    Parameters
    ----------
    largest
        The largest of them, or what stands in for it.
    safety
        How many times the quadratic bound must be feared.
    doubt
        How many times its residual above a Ritz value an eigenvalue must be feared; 1 (Weyl) where ``largest`` is sure.
    """

    largest: float
    safety: float = 1.1
    doubt: float = 1.0

    @classmethod
    def guarded(cls, smallest: float, length: int) -> Outside:
        """The smallest of the guards stands in for the largest eigenvalue outside, of l.

        Parameters
        ----------
        smallest
            Ritz value of the last guard.
        length
            l.
        """
        return cls(smallest, safety=2.0, doubt=doubt_of(length))


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

    Parameters
    ----------
    values
        Eigenvalues t, (k,).
    shifts
        What is added to each, s, (k,).
    regularization
        Ridge weight lam.
    """
    low, high = np.sqrt(values), np.sqrt(values + shifts)
    total = np.maximum(low + high, np.finfo(np.float64).tiny)
    both = shifts * np.maximum(1 - 2 * regularization / total, 0.0)
    return np.asarray(np.where(low > regularization, both, np.maximum(high - regularization, 0.0) ** 2))


def loss_bound(values: Array, residuals: Array, outside: Outside, rank: int, regularization: float) -> float:
    """What the objective can still lose when ``rank`` Ritz pairs become eigenpairs.

    Parameters
    ----------
    values, residuals
        Ritz values and norms of their residuals, (k,), descending; those beyond the rank are left out.
    outside
        Of the subspace of the others.
    rank
        Factors d; where fewer pairs are given, the others count as those outside.
    regularization
        Ridge weight lam.
    """
    values, residuals = np.maximum(values[:rank], 0.0), residuals[:rank]
    gaps = values - outside.largest
    quadratic = np.divide(residuals**2, gaps, out=np.full_like(gaps, np.inf), where=gaps > 0)
    linear = outside.doubt * residuals
    shifts = np.maximum(-gaps, 0.0) + np.minimum(outside.safety * quadratic, linear)
    # a direction below lam^2 is left out, which claims that no eigenvalue above it is near
    shifts = np.where(values > regularization**2, shifts, np.maximum(shifts, linear))
    missing = max(outside.largest, 0.0) * np.ones(rank - values.size)
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
