"""What one iteration sends and receives: the paper's three rounds, or one.

Both compute the same quantities of (12): E = D B, F = B^T B, M = B^T E and B+ = E G.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from coded_als.als.placement import Placement, multiplications, rule_for
from coded_als.als.product import RoundLog, StoredProduct
from coded_als.cluster import Array, Round, WellConditioned
from coded_als.codes import EntangledPolynomialCode, FactorCode, InnerProductCode
from coded_als.codes.partition import block_size

DATA = "D"


class Protocol_(Protocol):
    """One iteration, in two halves with the d x d algebra of the algorithm between them."""

    def products(self, factor: Array) -> tuple[Array, Array]:
        """F = B^T B and M = B^T D B of a factor B, (l, d) each giving (d, d)."""
        ...

    def update(self, weights: Array) -> Array:
        """B+ = E G for the factor of the last `products`."""
        ...


class FusedProtocol:
    """One round: the workers compute E = D B, the only product that grows with l^2; the master the rest."""

    def __init__(self, product: Callable[[Array], Array]) -> None:
        self._product = product
        self._image: Array | None = None

    def products(self, factor: Array) -> tuple[Array, Array]:
        self._image = self._product(factor)
        return factor.T @ factor, factor.T @ self._image

    def update(self, weights: Array) -> Array:
        assert self._image is not None
        return self._image @ weights


class PaperProtocol:
    """Three rounds, each waiting for its own threshold.

    (a) send f_R(B) [and f_L(B) at real points]: E = D B and F = B^T B come back;
    (b) send f_R(E): M = B^T E comes back;
    (c) send G to all: f_R(E) G = f_R(E G) comes back and is interpolated.
    """

    def __init__(self, log: RoundLog, placement: Placement, length: int, tolerance: float) -> None:
        h, workers, points = placement.partitions, placement.workers, placement.points
        self._log, self._length, self._tolerance = log, length, tolerance
        self._product_code = EntangledPolynomialCode(h, h, 1, workers, points)
        self._inner_code = InnerProductCode(h, workers, points)
        self._factor_code = FactorCode(h, workers, points)
        # f_L has the powers of the left factor of the inner product; on the circle f_R stands in for it
        self._left_code = EntangledPolynomialCode(1, h, 1, workers, points) if points != "circle" else None

    def products(self, factor: Array) -> tuple[Array, Array]:
        image, gram = self._image_and_gram(factor)
        return gram, self._projected(image)

    def update(self, weights: Array) -> Array:
        columns = weights.shape[0]
        planes, rows, _ = self._product_code.response_shape((self._length, columns))
        round = Round(
            kernel="scaled",
            operands=("f_R(E)",),
            payloads=[(weights,)] * self._product_code.workers,
            response_shapes=((planes, rows, columns),),
            operations=float(planes * rows * columns**2),
            label="B+ = E G",
        )
        responses = self._log.run(round, WellConditioned(self._factor_code, self._tolerance), self._factor_code)
        shares = {worker: result[0] for worker, result in responses.results.items()}
        return self._factor_code.decode(shares, (self._length, columns), self._tolerance)

    def _image_and_gram(self, factor: Array) -> tuple[Array, Array]:
        """Round (a)."""
        shape = (self._length, factor.shape[1])
        right = self._product_code.encode_right(factor)
        payloads: list[tuple[Array, ...]]
        if self._left_code is None:
            payloads, keep = [(share,) for share in right], ("f_L(B)",)
        else:
            left = self._left_code.encode_left(factor)
            payloads, keep = list(zip(right, left, strict=True)), ("f_R(B)", "f_L(B)")
        round = Round(
            kernel="product_and_gram",
            operands=(DATA,),
            payloads=payloads,
            keep=keep,
            response_shapes=(self._product_code.response_shape(shape), (1, shape[1], shape[1])),
            operations=multiplications(self._product_code, self._length, shape) + self._inner_operations(shape[1]),
            label="E = D B, F = B^T B",
        )
        responses = self._log.run(round, rule_for(self._product_code, self._tolerance), self._product_code)
        images = {worker: result[0] for worker, result in responses.results.items()}
        grams = {worker: result[1] for worker, result in responses.results.items()}
        image = self._product_code.decode(images, shape, self._tolerance)
        return image, self._inner_code.decode(grams, self._tolerance)

    def _projected(self, image: Array) -> Array:
        """Round (b)."""
        columns = image.shape[1]
        round = Round(
            kernel="inner_product",
            operands=("f_L(B)",),
            payloads=[(share,) for share in self._product_code.encode_right(image)],
            keep=("f_R(E)",),
            response_shapes=((1, columns, columns),),
            operations=self._inner_operations(columns),
            label="M = B^T E",
        )
        responses = self._log.run(round, WellConditioned(self._inner_code, self._tolerance), self._inner_code)
        projected = {worker: result[0] for worker, result in responses.results.items()}
        return self._inner_code.decode(projected, self._tolerance)

    def _inner_operations(self, columns: int) -> float:
        planes = self._product_code.points.planes
        return float(planes * block_size(self._length, self._product_code.p) * columns**2)


def make_protocol(
    name: str, log: RoundLog, placement: Placement, length: int, tolerance: float
) -> FusedProtocol | PaperProtocol:
    """The protocol of this name for D stored under `DATA`."""
    if name == "paper":
        return PaperProtocol(log, placement, length, tolerance)
    code = placement.product_code()
    return FusedProtocol(StoredProduct(log, code, DATA, (length, length), tolerance, label="E = D B"))


def symmetric(matrix: Array) -> Array:
    """The symmetric part: what is symmetric in exact arithmetic stays so after decoding."""
    return np.asarray((matrix + matrix.T) / 2)
