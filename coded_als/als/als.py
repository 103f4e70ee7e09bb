"""The paper's alternating least squares in its direct form, eq. (12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from coded_als.als.history import Recorder
from coded_als.als.products import DATA, RoundLog
from coded_als.als.ritz import RitzPairs, require_orthonormal
from coded_als.als.solving import SolverInput
from coded_als.als.updates import inverse_of_gram, objective, swept_coordinates, symmetric, update_matrix
from coded_als.arrays import EPS, Array
from coded_als.cluster.rules import WellConditioned, rule_for
from coded_als.cluster.seam import Round
from coded_als.codes import Entangled, EntangledPolynomialCode, FactorCode, InnerProductCode
from coded_als.codes.entangled import square
from coded_als.codes.product import block_size, multiplications
from coded_als.models.checkpoint import arrays_like


class PaperProtocol:
    """Three rounds, each waiting for its own threshold.

    (a) send f_R(B) [and f_L(B) at real points]: E = D B and F = B^T B come back;
    (b) send f_R(E): M = B^T E comes back;
    (c) send G to all: f_R(E) G = f_R(E G) comes back and is interpolated.
    """

    def __init__(self, log: RoundLog, code: Entangled, length: int, tolerance: float) -> None:
        (h, _), points, workers = code.cut, code.points, log.cluster.size
        self._log, self._length, self._tolerance = log, length, tolerance
        self._product_code = EntangledPolynomialCode(h, h, 1, workers, points)
        self._inner_code = InnerProductCode(h, workers, points)
        self._factor_code = FactorCode(h, workers, points)
        self._left_factor_code = (
            self._factor_code if points == "circle" else FactorCode(h, workers, points, side="left")
        )
        # f_L has the powers of a left factor cut by rows; on the circle f_R stands in for it
        self._left_code = EntangledPolynomialCode(h, 1, 1, workers, points) if points != "circle" else None

    def products(self, factor: Array) -> tuple[Array, Array, Array]:
        """F = B^T B and M = B^T E, (d, d) each, and E = D B, (l, d), of a factor B, (l, d)."""
        image, gram = self._image_and_gram(factor)
        return gram, self._projected(image), image

    def update(self, weights: Array) -> Array:
        """B+ = E G, (l, d), for the factor of the last `products` and a (d, d) matrix G."""
        return self._scaled("E", weights, self._factor_code, "B+ = E G")

    def other_factor_weights(self, factor: Array, regularization: float) -> Array:
        """The paper's post-computation in five steps: F is decoded, its inverse sent, H interpolated.

        ``factor``: B, (l, d). Returns H = B (B^T B + lam I)^-1, (l, d).
        """
        shares = self._left_shares(factor)
        payloads: list[tuple[Array, ...]]
        keep: tuple[str, ...]
        if self._left_code is None:
            payloads, keep = [(share,) for share in shares], ("B",)
        else:
            right = self._product_code.encode_right(factor)
            payloads, keep = list(zip(shares, right, strict=True)), ("B", "f_R(B)")
        columns = factor.shape[1]
        gram = self._inner("F = B^T B", payloads, keep, (), columns)
        inverse = inverse_of_gram(gram, regularization)
        return self._scaled("B", inverse, self._left_factor_code, "H = B F^-1")

    def _left_shares(self, factor: Array) -> Iterator[Array]:
        """f_L(B), or f_R(B) on the circle, where it stands in for it."""
        code = self._left_code
        return self._product_code.encode_right(factor) if code is None else code.encode_left(factor)

    def _scaled(self, operand: str, matrix: Array, code: FactorCode, label: str) -> Array:
        """Broadcast a d x d matrix, and interpolate the products of the workers' kept shares with it."""
        columns = matrix.shape[0]
        planes, rows, _ = self._product_code.right_shape((self._length, columns))
        round = Round(
            kernel="scaled",
            operands=(operand,),
            payloads=[(matrix,)] * code.workers,
            response_shapes=((planes, rows, columns),),
            operations=float(planes * rows * columns**2),
            label=label,
            dtype=self._product_code.dtype,
        )
        responses = self._log.run(round, WellConditioned(code, self._tolerance), code)
        return code.decode(responses.first(), (self._length, columns), self._tolerance)

    def _image_and_gram(self, factor: Array) -> tuple[Array, Array]:
        """Round (a)."""
        shape = (self._length, factor.shape[1])
        right = self._product_code.encode_right(factor)
        payloads: list[tuple[Array, ...]]
        keep: tuple[str, ...]
        if self._left_code is None:
            payloads, keep = [(share,) for share in right], ("B",)
        else:
            payloads, keep = list(zip(right, self._left_shares(factor), strict=True)), ("f_R(B)", "B")
        round = Round(
            kernel="product_and_gram",
            operands=(DATA,),
            payloads=payloads,
            keep=keep,
            response_shapes=(self._product_code.response_shape(shape), (1, shape[1], shape[1])),
            operations=multiplications(self._product_code, (self._length,) * 2, shape[1])
            + self._inner_operations(shape[1]),
            label="E = D B, F = B^T B",
            dtype=self._product_code.dtype,
        )
        responses = self._log.run(round, rule_for(self._product_code, self._tolerance), self._product_code)
        image = self._product_code.decode(responses.first(), shape, self._tolerance)
        grams = {worker: result[1] for worker, result in responses.results.items()}
        return image, self._inner_code.decode(grams, self._tolerance)

    def _projected(self, image: Array) -> Array:
        """Round (b)."""
        payloads: list[tuple[Array, ...]] = [(share,) for share in self._product_code.encode_right(image)]
        return self._inner("M = B^T E", payloads, ("E",), ("B",), image.shape[1])

    def _inner(
        self,
        label: str,
        payloads: list[tuple[Array, ...]],
        keep: tuple[str, ...],
        operands: tuple[str, ...],
        columns: int,
    ) -> Array:
        """One round of inner products, decoded: (columns, columns)."""
        round = Round(
            kernel="inner_product",
            operands=operands,
            payloads=payloads,
            keep=keep,
            response_shapes=((1, columns, columns),),
            operations=self._inner_operations(columns),
            label=label,
            dtype=self._product_code.dtype,
        )
        responses = self._log.run(round, WellConditioned(self._inner_code, self._tolerance), self._inner_code)
        return self._inner_code.decode(responses.first(), self._tolerance)

    def _inner_operations(self, columns: int) -> float:
        planes = self._product_code.planes
        return float(planes * block_size(self._length, self._product_code.p) * columns**2)


# A direction that is this part of the largest, or less, can't be told from rounding: F = B^T B squares it. A ridge weight above
# a singular value shrinks its direction so far.
SMALLEST_DIRECTION = 1e-4
# Coordinates beyond it are scaled down before they overflow.
LARGEST = 1e100


@dataclass(frozen=True)
class Products:
    """The products of a sweep with its factor B, as Ritz pairs."""

    pairs: RitzPairs  # the Ritz pairs of D on the span of B; their residuals are those of E - B F^-1 M
    coordinates: Array  # C with B = X C for their vectors X, (k, d)


class FusedSweeps:
    """One round: the workers compute D X, the only product that grows with l^2; the master does the rest.

    The factor is held as B = X T with orthonormal X. Its spans are those of a subspace iteration for any T. So a
    direction that a ridge weight shrinks, or that a large leading singular value hides, keeps its digits.

    ``product``: X -> D X in one round; ``start``: X, (l, d), orthonormal; T = I.
    """

    def __init__(self, product: Callable[[Array], Array], start: Array) -> None:
        self._product = product
        self._basis, self._coordinates = start, np.eye(start.shape[1])
        self._image, self._last = start, Products(RitzPairs.none(), self._coordinates)

    def products(self) -> Products:
        """The products of the present factor."""
        image = self._product(self._basis)
        restricted = self._basis.T @ image
        values, rotation = np.linalg.eigh(symmetric(restricted))
        values, rotation = values[::-1], rotation[:, ::-1]
        self._basis, self._image = self._basis @ rotation, image @ rotation
        self._coordinates = rotation.T @ self._coordinates
        residuals = np.linalg.norm(self._image - self._basis * values, axis=0)
        self._last = Products(RitzPairs(values, self._basis, residuals), self._coordinates)
        return self._last

    def update(self, regularization: float, error: float) -> None:
        """Go on to B+ = E G, (l, d), when E has this relative error."""
        # eq. (12) in Ritz coordinates: S^-1 M and M^-1 F would lose the digits of the small ones
        sizes = np.maximum(self._last.pairs.values, EPS * self._last.pairs.values[0])
        directions, coordinates = self._image / sizes, self._coordinates
        if regularization > 0:
            coordinates = swept_coordinates(coordinates, sizes, regularization)
        elif (largest := np.abs(coordinates).max()) > LARGEST:
            # only the span matters here, and a vanishing direction of a coarse product grows without end
            coordinates = coordinates / largest
        self._basis, triangle = np.linalg.qr(directions)
        self._coordinates = triangle @ coordinates

    def basis(self, *, judged: bool) -> Array:
        """An orthonormal basis, (l, d), of the present factor, or of the one that the last products judged."""
        return self._last.pairs.vectors if judged else self._basis

    def other_factor_weights(self, basis: Array) -> Array:
        """H = X (X^T X)^-1 of a basis X, (l, d), as the workers have it."""
        return basis

    def state(self) -> dict[str, Array]:
        """The present factor before its products, (l, k) and (k, d), as `go_on` takes it."""
        return {"basis": self._basis, "coordinates": self._coordinates}

    def go_on(self, state: Mapping[str, Array]) -> None:
        """Make the factor of another run, as its `state` was, the present one."""
        length, columns = self._basis.shape
        state = arrays_like(state, basis=(length, "k"), coordinates=("k", columns))
        require_orthonormal(state["basis"])
        self._basis, self._coordinates = state["basis"], state["coordinates"]


class PaperSweeps:
    """The paper's three rounds, and its post-computation. ``protocol``: runs the rounds; ``start``: B, (l, d)."""

    def __init__(self, protocol: PaperProtocol, start: Array) -> None:
        self._protocol, self._factor, self._judged = protocol, start, start
        self._gram = self._projected = np.eye(start.shape[1])

    def products(self) -> Products:
        """The products of the present factor."""
        self._judged = self._factor
        self._gram, self._projected, image = self._protocol.products(self._factor)
        return Products(*implied_pairs(self._factor, self._gram, self._projected, image))

    def update(self, regularization: float, error: float) -> None:
        """Go on to B+ = E G, (l, d), when E has this relative error."""
        weights = update_matrix(self._gram, self._projected, regularization, error)
        self._factor = self._protocol.update(weights)

    def basis(self, *, judged: bool) -> Array:
        """An orthonormal basis, (l, d), of the present factor, or of the one that the last products judged."""
        return np.linalg.svd(self._judged if judged else self._factor, full_matrices=False)[0]

    def other_factor_weights(self, basis: Array) -> Array:
        """H = X (X^T X)^-1 of a basis X, (l, d), as the workers have it."""
        return self._protocol.other_factor_weights(basis, 0.0)

    def state(self) -> dict[str, Array]:
        """The present factor before its products, (k, d), as `go_on` takes it."""
        return {"factor": self._factor}

    def go_on(self, state: Mapping[str, Array]) -> None:
        """Make the factor of another run, as its `state` was, the present one."""
        self._factor = arrays_like(state, factor=self._factor)["factor"]


Sweeps = FusedSweeps | PaperSweeps


def implied_pairs(factor: Array, gram: Array, projected: Array, image: Array) -> tuple[RitzPairs, Array]:
    """The Ritz pairs of D on the span of a factor; their residuals are those of E - B F^-1 M.

    ``factor``: B, (l, d); ``gram, projected``: F = B^T B and M = B^T D B, (d, d); ``image``: E = D B, (l, d).
    Returns the pairs, and C with B = X C for their vectors X, (k, d), without the smallest directions.
    """
    squares, axes = np.linalg.eigh(symmetric(gram))
    told = squares > SMALLEST_DIRECTION**2 * squares[-1]
    orthonormal = axes[:, told] / np.sqrt(squares[told])
    restricted = orthonormal.T @ projected @ orthonormal
    values, rotation = np.linalg.eigh(symmetric(restricted))
    weights = orthonormal @ rotation[:, ::-1]
    values, vectors = values[::-1], factor @ weights
    coordinates = rotation[:, ::-1].T @ (np.sqrt(squares[told])[:, np.newaxis] * axes[:, told].T)
    return RitzPairs(values, vectors, np.linalg.norm(image @ weights - vectors * values, axis=0)), coordinates


def alternating(sweeps: Sweeps, trace: float, regularization: float, iterations: int, recorder: Recorder) -> Array:
    """B <- E (S^-1 M + lam S)^-1 until the objective has converged, eq. (12).

    Returns (l, d): an orthonormal basis of the factor that was found good enough, or of the last one.

    Raises UsageError in the paper's protocol without regularisation, if the requested rank is above that of the data.
    """
    recorder.resumed(sweeps.go_on)
    for _ in range(len(recorder.history), iterations):
        recorder.keep(**sweeps.state())
        products = sweeps.products()
        sweeps.update(regularization, recorder.error_estimate)
        # without a ridge weight the objective is that of the span
        ridged = None
        if regularization > 0:
            ridged = objective(trace, products.pairs.values, products.coordinates, regularization)
        length, found = products.pairs.vectors.shape
        if recorder.finish(products.pairs, ridged, exhausted=found == length):
            return sweeps.basis(judged=True)
    return sweeps.basis(judged=False)


def solve(given: SolverInput) -> tuple[Array, Array]:
    """The paper's update from an orthonormal start, in one round each or in the paper's three; both results (l, d)."""
    start = np.linalg.qr(given.start)[0]
    sweeps: Sweeps
    if given.protocol == "paper":
        protocol = PaperProtocol(given.log, square(given.code), given.problem.length, given.tolerance)
        sweeps = PaperSweeps(protocol, start)
    else:
        sweeps = FusedSweeps(given.held.gram_product, start)
    basis = alternating(sweeps, given.problem.squared_norm, given.ridge, given.iterations, given.recorder)
    return basis, sweeps.other_factor_weights(basis)
