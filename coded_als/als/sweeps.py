"""One ALS sweep (12) on the workers: by one round for an orthonormal basis of the factor, or by the paper's three.

Both compute E = D B, F = B^T B, M = B^T E and B+ = E G, and so the same iterates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from coded_als.als.protocols import PaperProtocol
from coded_als.als.ritz import RitzPairs, require_orthonormal
from coded_als.als.updates import swept_coordinates, update_matrix
from coded_als.arrays import EPS, Array
from coded_als.models.snapshot import arrays_like

# Directions that a ridge weight above their singular value has shrunk below this are no longer told from rounding.
FADED = 1e-4
# Coordinates beyond it are scaled down before they overflow.
LARGEST = 1e100


@dataclass(frozen=True)
class Products:
    """What a sweep knows of its factor B.

    Parameters
    ----------
    pairs
        The Ritz pairs of D on the span of B; their residuals are those of E - B F^-1 M.
    coordinates
        C with B = X C for their vectors X, (k, d).
    """

    pairs: RitzPairs
    coordinates: Array


class Sweeps(Protocol):
    """ALS from a start B, one sweep at a time, in two halves with the decision to stop after them."""

    def products(self) -> Products:
        """The products of the present factor."""
        ...

    def update(self, regularization: float, error: float) -> Array:
        """Go on to B+ = E G, (l, d), when E has this relative error.

        Parameters
        ----------
        regularization
            Ridge weight lam.
        error
            Relative error of E.
        """
        ...

    def basis(self, *, judged: bool) -> Array:
        """An orthonormal basis, (l, d), of the present factor, or of the one that the last products judged."""
        ...

    def other_factor_weights(self, basis: Array) -> Array:
        """H = X (X^T X)^-1 of a basis X, (l, d), as the workers have it."""
        ...

    def state(self) -> dict[str, Array]:
        """The present factor, (l, d), before its products, as `go_on` takes it."""
        ...

    def go_on(self, state: Mapping[str, Array]) -> None:
        """Make the factor of another run the present one.

        Parameters
        ----------
        state
            What that run's `state` was.
        """
        ...


class FusedSweeps:
    """One round: the workers compute D X, the only product that grows with l^2; the master does the rest.

    The factor is held as B = X T with orthonormal X. Its spans are those of a subspace iteration whatever T is, so
    what a ridge weight shrinks, or a large leading singular value hides, keeps its digits.

    Parameters
    ----------
    product
        X -> D X in one round.
    start
        X, (l, d), orthonormal; T = I.
    """

    def __init__(self, product: Callable[[Array], Array], start: Array) -> None:
        self._product = product
        self._basis, self._coordinates = start, np.eye(start.shape[1])
        self._image, self._last = start, Products(RitzPairs.none(), self._coordinates)

    def products(self) -> Products:
        image = self._product(self._basis)
        restricted = self._basis.T @ image
        values, rotation = np.linalg.eigh((restricted + restricted.T) / 2)
        values, rotation = values[::-1], rotation[:, ::-1]
        self._basis, self._image = self._basis @ rotation, image @ rotation
        self._coordinates = rotation.T @ self._coordinates
        residuals = np.linalg.norm(self._image - self._basis * values, axis=0)
        self._last = Products(RitzPairs(values, self._basis, residuals), self._coordinates)
        return self._last

    def update(self, regularization: float, error: float) -> Array:
        # (12) in Ritz coordinates: S^-1 M and M^-1 F would lose the digits of the small ones
        sizes = np.maximum(self._last.pairs.values, EPS * self._last.pairs.values[0])
        directions, coordinates = self._image / sizes, self._coordinates
        if regularization > 0:
            coordinates = swept_coordinates(coordinates, sizes, regularization)
        elif (largest := np.abs(coordinates).max()) > LARGEST:
            # only the span matters here, and what a coarse product makes of a vanishing direction grows without end
            coordinates = coordinates / largest
        self._basis, triangle = np.linalg.qr(directions)
        self._coordinates = triangle @ coordinates
        return np.asarray(directions @ coordinates)

    def basis(self, *, judged: bool) -> Array:
        return self._last.pairs.vectors if judged else self._basis

    def other_factor_weights(self, basis: Array) -> Array:
        return basis

    def state(self) -> dict[str, Array]:
        return {"basis": self._basis, "coordinates": self._coordinates}

    def go_on(self, state: Mapping[str, Array]) -> None:
        length, columns = self._basis.shape
        state = arrays_like(state, basis=(length, "k"), coordinates=("k", columns))
        require_orthonormal(state["basis"])
        self._basis, self._coordinates = state["basis"], state["coordinates"]


class PaperSweeps:
    """The paper's three rounds, and its post-computation.

    Parameters
    ----------
    protocol
        Runs the rounds.
    start
        B, (l, d).
    """

    def __init__(self, protocol: PaperProtocol, start: Array) -> None:
        self._protocol, self._factor, self._judged = protocol, start, start
        self._gram = self._projected = np.eye(start.shape[1])

    def products(self) -> Products:
        self._judged = self._factor
        self._gram, self._projected, image = self._protocol.products(self._factor)
        return Products(*implied_pairs(self._factor, self._gram, self._projected, image))

    def update(self, regularization: float, error: float) -> Array:
        weights = update_matrix(self._gram, self._projected, regularization, error)
        self._factor = self._protocol.update(weights)
        return self._factor

    def basis(self, *, judged: bool) -> Array:
        return np.linalg.svd(self._judged if judged else self._factor, full_matrices=False)[0]

    def other_factor_weights(self, basis: Array) -> Array:
        return self._protocol.other_factor_weights(basis, 0.0)

    def state(self) -> dict[str, Array]:
        return {"factor": self._factor}

    def go_on(self, state: Mapping[str, Array]) -> None:
        self._factor = arrays_like(state, factor=self._factor)["factor"]


def implied_pairs(factor: Array, gram: Array, projected: Array, image: Array) -> tuple[RitzPairs, Array]:
    """The Ritz pairs of D on the span of a factor; their residuals are those of E - B F^-1 M.

    Parameters
    ----------
    factor
        B, (l, d).
    gram, projected
        F = B^T B and M = B^T D B, (d, d).
    image
        E = D B, (l, d).

    Returns
    -------
    The pairs, and C with B = X C for their vectors X, (k, d), but for what has faded.
    """
    squares, axes = np.linalg.eigh((gram + gram.T) / 2)
    told = squares > FADED**2 * squares[-1]
    orthonormal = axes[:, told] / np.sqrt(squares[told])
    restricted = orthonormal.T @ projected @ orthonormal
    values, rotation = np.linalg.eigh((restricted + restricted.T) / 2)
    weights = orthonormal @ rotation[:, ::-1]
    values, vectors = values[::-1], factor @ weights
    coordinates = rotation[:, ::-1].T @ (np.sqrt(squares[told])[:, np.newaxis] * axes[:, told].T)
    return RitzPairs(values, vectors, np.linalg.norm(image @ weights - vectors * values, axis=0)), coordinates
