"""The two ways to the leading subspace of D: the paper's ALS update, and a locally optimal block iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from coded_als.als.protocols import IterationProtocol
from coded_als.als.rounds import RoundLog
from coded_als.als.stopping import remaining_error
from coded_als.als.updates import floor_of, objective, rank_error, update_matrix
from coded_als.kernels import Array

# Vectors that `lobpcg` carries beyond the rank: the rate is then set by the gap behind them.
GUARD_VECTORS = 5


@dataclass(frozen=True)
class Iteration:
    """One iteration of a fit.

    Parameters
    ----------
    index
        1, 2, 3, ...
    objective
        Exact objective of the factor that the iteration started from, with the best other factor.
    remaining
        Estimated relative distance of the objective from its limit; infinite while unknown.
    seconds
        Seconds on the cluster's clock from the start of the iteration to its end.
    responses
        Responses used in each of its rounds.
    error_estimate
        The largest estimated decoding error of its rounds.
    """

    index: int
    objective: float
    remaining: float
    seconds: float
    responses: tuple[int, ...]
    error_estimate: float


Callback = Callable[[Iteration, Array], None]


class Recorder:
    """Turns the rounds of each iteration into one `Iteration` and decides when to stop."""

    def __init__(self, log: RoundLog, scale: float, tolerance: float, callback: Callback | None) -> None:
        self._log, self._scale, self._tolerance, self._callback = log, scale, tolerance, callback
        self.history: list[Iteration] = []
        self._rounds_before, self._started = len(log.records), log.cluster.seconds()

    @property
    def error_estimate(self) -> float:
        """The largest estimated error of the rounds of the running iteration."""
        return max((record.error_estimate for record in self._log.records[self._rounds_before :]), default=0.0)

    def finish(self, value: float, factor: Array) -> bool:
        """Close the running iteration; True when the objective has converged."""
        now = self._log.cluster.seconds()
        rounds = self._log.records[self._rounds_before :]
        remaining = remaining_error([entry.objective for entry in self.history] + [value], self._scale)
        entry = Iteration(
            index=len(self.history) + 1,
            objective=value,
            remaining=remaining,
            seconds=now - self._started,
            responses=tuple(record.responses for record in rounds),
            error_estimate=self.error_estimate,
        )
        self.history.append(entry)
        self._rounds_before, self._started = len(self._log.records), now
        if self._callback is not None:
            self._callback(entry, factor)
        return remaining <= self._tolerance


def alternating(
    protocol: IterationProtocol, start: Array, trace: float, regularization: float, iterations: int, recorder: Recorder
) -> tuple[Array, bool]:
    """B <- E (S^-1 M + lam S)^-1 until the objective has converged (12).

    Returns
    -------
    The factor B, (l, d), and whether it has converged.
    """
    factor = start
    for _ in range(iterations):
        gram, projected = protocol.products(factor)
        value = objective(trace, gram, projected, regularization)
        weights = update_matrix(gram, projected, regularization, recorder.error_estimate)
        factor = protocol.update(weights)
        if recorder.finish(value, factor):
            return factor, True
    return factor, False


@dataclass(frozen=True)
class RitzBasis:
    """Orthonormal Ritz vectors X, their images D X, the directions P of the last step and D P, (l, b) each."""

    values: Array
    vectors: Array
    images: Array
    directions: Array | None = None
    direction_images: Array | None = None

    def parts(self) -> tuple[list[Array], list[Array]]:
        """The basis of the subspace so far, and its images."""
        if self.directions is None or self.direction_images is None:
            return [self.vectors], [self.images]
        return [self.vectors, self.directions], [self.images, self.direction_images]


def locally_optimal(
    multiply: Callable[[Array], Array],
    start: Array,
    rank: int,
    trace: float,
    regularization: float,
    iterations: int,
    recorder: Recorder,
) -> tuple[Array, Array, bool]:
    """Leading eigenpairs of D by a locally optimal block iteration, one product with D a round (Knyazev's LOBPCG).

    Rayleigh-Ritz on the span of the Ritz vectors, their residuals and the last directions. Nothing is locked and the
    basis stays orthonormal, so it needs no restart; images of everything but the residuals are known already.

    Returns
    -------
    The ``rank`` largest Ritz values, descending, their vectors (l, rank), and whether they have converged.

    Raises
    ------
    UsageError
        If fewer than ``rank`` eigenvalues differ from zero.
    """
    vectors = np.linalg.qr(start)[0]
    basis = _rayleigh_ritz([vectors], [multiply(vectors)], keep=vectors.shape[1])
    for iteration in range(iterations):
        value = spectral_objective(trace, basis.values[:rank], regularization)
        converged = recorder.finish(value, basis.vectors[:, :rank])
        if converged or iteration == iterations - 1:
            break
        spaces, images = basis.parts()
        residuals = _orthonormal_complement(basis.images - basis.vectors * basis.values, spaces)
        if residuals.shape[1] == 0:
            converged = True
            break
        basis = _rayleigh_ritz(
            [spaces[0], residuals, *spaces[1:]], [images[0], multiply(residuals), *images[1:]], keep=vectors.shape[1]
        )
    values = basis.values[:rank]
    floor = floor_of(start.shape[0], max((entry.error_estimate for entry in recorder.history), default=0.0))
    if regularization == 0 and not values[-1] > floor * values[0]:
        raise rank_error(int(np.sum(values > floor * values[0])), rank)
    return values, basis.vectors[:, :rank], converged


def spectral_objective(trace: float, values: Array, regularization: float) -> float:
    """The objective of the best factors on given eigenvectors of D, from the eigenvalues sigma^2.

    A singular value above lam is shrunk to sigma - lam and costs 2 lam sigma - lam^2; the others cost sigma^2.
    """
    sigma = np.sqrt(np.maximum(values, 0.0))
    kept = np.where(sigma > regularization, 2 * regularization * sigma - regularization**2, values)
    return float(trace - values.sum() + kept.sum())


def _rayleigh_ritz(spaces: list[Array], images: list[Array], keep: int) -> RitzBasis:
    """The ``keep`` best vectors of an orthonormal basis whose images are known."""
    space, image = np.hstack(spaces), np.hstack(images)
    projected = space.T @ image
    values, rotation = np.linalg.eigh((projected + projected.T) / 2)
    best = rotation[:, ::-1][:, :keep]
    basis = RitzBasis(values[::-1][:keep], space @ best, image @ best)
    if len(spaces) == 1:
        return basis
    # the last directions: what the best vectors took from outside the old ones, made orthogonal to the new ones
    outside = best.copy()
    outside[:keep] = 0.0
    steps = _orthonormal_complement(outside, [best])
    return replace(basis, directions=space @ steps, direction_images=image @ steps)


def _orthonormal_complement(columns: Array, spaces: list[Array]) -> Array:
    """Orthonormal basis of the columns outside the orthonormal spaces; columns that vanish there are dropped."""
    space = np.hstack(spaces)
    room = space.shape[0] - space.shape[1]
    columns = columns / np.maximum(np.linalg.norm(columns, axis=0), np.finfo(np.float64).tiny)
    # twice is enough (Kahan and Parlett)
    for _ in range(2):
        columns = columns - space @ (space.T @ columns)
        left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
        kept = sizes > 1e-10 * max(float(sizes[0]), 1e-300) if sizes.size else np.zeros(0, dtype=bool)
        columns = left[:, kept][:, :room]
    return np.asarray(columns)
