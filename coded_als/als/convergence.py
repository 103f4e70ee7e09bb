"""The stopping rule of `CodedALS`: a bound on what the objective can still lose, from the residuals of Ritz pairs.

For Ritz pairs of D = A^T A with residuals r = D x - theta x, and beta the largest eigenvalue outside the subspace, the
eigenvalues of D lie at most about |r|^2 / (theta - beta) above the Ritz values (Parlett, The Symmetric Eigenvalue
Problem, 11.7), and never more than |r| (Weyl). Extrapolating the objective says nothing before its rate is known, and
a slow direction that fast ones still hide has no rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from coded_als.als.phases import Problem
from coded_als.als.ritz import (
    RitzPairs,
    orthonormal_complement,
    rayleigh_ritz,
    search_directions,
    singular_triplets,
    stepped,
)
from coded_als.kernels import Array

Outcome = Literal["running", "converged", "undecided"]

EPS = float(np.finfo(np.float64).eps)
# Rounding of a product of two float64 matrices, in units of eps times their norms: some were measured, doubled.
ROUNDING_UNITS = 8.0
# The bound holds for the exact outside eigenvalue; an estimate stands in for it.
SAFETY = 2.0
# Guards tell the largest eigenvalue outside only once they have found it. Where a Ritz value is below lam^2 its direction
# is left out, and claims that none above lam^2 exists: a random start has an overlap of more than a hundredth with it.
GUARDED_DOUBT = 100.0
# The part of the tolerance that the iterations must reach: rounding takes the rest of it.
MARGIN = 0.9
# Residuals below this many times the estimated rounding may be nothing else.
ROUNDED = 100.0
# Iterations without a better bound after which residuals at the level of rounding are as small as they get.
PATIENCE = 5
# The residuals of an iteration far below those of the data itself: D has been rounded or decoded too coarsely.
OUTRUN = 30.0
PROBE_COLUMNS, PROBE_STEPS = 4, 16
# A probe ends when its residual is this part of the gap.
TOLD_APART = 0.1


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


@dataclass(frozen=True)
class Verdict:
    """What an iteration comes to: objective, bound on its relative distance from the optimum, and the outcome.

    ``cancelled`` tells that the objective had to be computed from the data.
    """

    objective: float
    remaining: float
    outcome: Outcome
    cancelled: bool


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


@dataclass
class Stopping:
    """Judges the subspaces of one fit, in order.

    Parameters
    ----------
    problem
        The data.
    rank
        Factors d.
    regularization
        Ridge weight lam, in the unit of the data.
    tolerance
        The relative distance of the objective from the optimum to reach.
    """

    problem: Problem
    rank: int
    regularization: float
    tolerance: float
    certificate: Certificate | None = None
    outcome: Outcome = "running"
    _probe: Probe | None = None
    _trigger: float = np.inf
    _best: float = np.inf
    _idle: int = 0
    _last_residual: float = 0.0

    def judge(self, pairs: RitzPairs, error: float, *, exhausted: bool = False) -> Verdict:
        """Whether the subspace of an iteration is good enough, as bad as it will stay, or neither.

        Parameters
        ----------
        pairs
            Its Ritz pairs, with guards or, where there are none, as the paper's update has them.
        error
            Estimated decoding error of the products so far, relative to the norms of what was multiplied.
        exhausted
            Whether another iteration could not change it.
        """
        noise = (error + ROUNDING_UNITS * EPS) * self.problem.squared_norm
        expected, proved = self._expected_outside(pairs), self._proved_outside(pairs)
        hoped = self._certificate(pairs, 0.0, expected)
        if (
            proved is not None
            and (sure := self._certificate(pairs, noise, proved)).remaining <= MARGIN * self.tolerance
        ):
            return self._verdict(pairs, sure, "converged")
        stalled = exhausted or self._stalled(pairs, hoped.loss, noise)
        if not (stalled or hoped.remaining <= min(self._trigger, MARGIN * self.tolerance)):
            return self._verdict(pairs, hoped, "running")
        self._trigger = hoped.remaining / 4
        verified, outside = self.verify(pairs)
        if verified.remaining <= self.tolerance:
            return self._verdict(pairs, verified, "converged")
        iterated = Certificate(verified.objective, self._certificate(pairs, 0.0, outside).loss)
        hopeless = stalled or OUTRUN * iterated.remaining <= verified.remaining
        return self._verdict(pairs, verified, "undecided" if hopeless else "running")

    def verify(self, pairs: RitzPairs) -> tuple[Certificate, float]:
        """The certificate of a subspace from the data alone: neither the rounding of D nor decoding enters it.

        Returns
        -------
        The certificate, and the largest eigenvalue outside the subspace.
        """
        left, sigma, right = singular_triplets(pairs.vectors, self.problem.image(pairs.vectors))
        residuals = sigma * np.linalg.norm(self.problem.adjoint(left) - right * sigma, axis=0)
        exact = RitzPairs(sigma**2, right, residuals, pairs.guards)
        if pairs.guards == 0 and pairs.values.size < self.problem.length:
            self._probe = probed(self.problem, right, float(sigma[-1] ** 2), self._probe)
        outside = self._proved_outside(exact)
        assert outside is not None
        return self._certificate(exact, 0.0, outside), outside

    def outcome_of(self, objective: float) -> Outcome:
        """The outcome of the fit, from the objective of its factors as measured on the data."""
        if self.outcome == "converged":
            assert self.certificate is not None
            if not objective <= (1 + self.tolerance) * self.certificate.optimum:
                return "undecided"
        return self.outcome

    def _verdict(self, pairs: RitzPairs, certificate: Certificate, outcome: Outcome) -> Verdict:
        self.certificate, self.outcome = certificate, outcome
        cancelled = self.problem.cancels(float(pairs.values[: self.rank].sum()))
        return Verdict(certificate.objective, certificate.remaining, outcome, cancelled)

    def _certificate(self, pairs: RitzPairs, noise: float, outside: float) -> Certificate:
        values = pairs.values[: self.rank]
        explained = float(values.sum())
        left_out = self.problem.left_out(pairs.vectors[:, : self.rank], explained)
        rounding = self.rank * (ROUNDING_UNITS * EPS) ** 2 * self.problem.squared_norm
        if not self.problem.cancels(explained):
            rounding += noise
        doubt = GUARDED_DOUBT if pairs.guards > 0 else SAFETY
        loss = loss_bound(pairs.values, pairs.residuals + noise, outside, self.rank, self.regularization, doubt)
        return Certificate(spectral_objective(left_out, values, self.regularization), loss + rounding)

    def _proved_outside(self, pairs: RitzPairs) -> float | None:
        """The largest eigenvalue outside the subspace, as its guards or a probe of the data show it."""
        if pairs.values.size == self.problem.length:
            return 0.0
        if pairs.guards > 0:
            return float(pairs.values[-1])
        if self._probe is None or self._probe.inside > pairs.values.size:
            return None
        return self._probe.value + self._probe.residual

    def _expected_outside(self, pairs: RitzPairs) -> float:
        """The same without proof for the paper's update, which has no guards: from the rate of its residuals.

        They shrink by lambda_(d+1) / lambda_d an iteration in the end.
        """
        if pairs.guards > 0 or pairs.values.size == self.problem.length:
            return self._proved_outside(pairs) or 0.0
        residual = float(np.linalg.norm(pairs.residuals))
        rate = min(residual / self._last_residual, 1.0) if self._last_residual > 0 else 1.0
        self._last_residual = residual
        known = self._proved_outside(pairs) is not None
        return max(rate * float(pairs.values[-1]), self._probe.value if known and self._probe else 0.0)

    def _stalled(self, pairs: RitzPairs, loss: float, noise: float) -> bool:
        """Whether the residuals are at the level of rounding and have stopped falling."""
        if loss < 0.99 * self._best:
            self._best, self._idle = loss, 0
        else:
            self._idle += 1
        return self._idle >= PATIENCE and float(pairs.residuals[: self.rank].max()) <= ROUNDED * noise


@dataclass(frozen=True)
class Probe:
    """The largest eigenvalue that a few products with the data find outside a subspace.

    Parameters
    ----------
    inside
        The dimension of the subspace.
    value, residual
        Its Ritz value, and the norm of its residual.
    vectors
        Where the next probe starts, (l, k).
    """

    inside: int
    value: float
    residual: float
    vectors: Array


def probed(problem: Problem, vectors: Array, below: float, last: Probe | None) -> Probe:
    """The largest eigenvalue of D outside a subspace.

    Parameters
    ----------
    problem
        The data.
    vectors
        An orthonormal basis of the subspace, (l, k) with k < l.
    below
        The smallest Ritz value inside; the probe ends when it has told the two apart.
    last
        An earlier probe, of another subspace, to go on from.
    """

    def multiply(columns: Array) -> Array:
        image = problem.adjoint(problem.image(columns))
        return np.asarray(image - vectors @ (vectors.T @ image))

    columns = np.random.default_rng(vectors.shape).standard_normal((problem.length, PROBE_COLUMNS))
    if last is not None:
        columns = np.hstack([last.vectors, columns[:, :1]])
    start = orthonormal_complement(columns, [vectors])
    basis = rayleigh_ritz([start], [multiply(start)], keep=start.shape[1])
    for _ in range(PROBE_STEPS):
        residual = float(np.linalg.norm(basis.residuals[:, 0]))
        probe = Probe(vectors.shape[1], float(basis.values[0]), residual, basis.vectors)
        directions = search_directions(basis, [vectors])
        if probe.residual <= TOLD_APART * abs(below - probe.value) or directions.shape[1] == 0:
            break
        basis = stepped(basis, directions, multiply(directions))
    return probe
