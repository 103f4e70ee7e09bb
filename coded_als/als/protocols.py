"""The paper's three rounds of an iteration, and its post-computation."""

from __future__ import annotations

from collections.abc import Iterator

from coded_als.als.rounds import RoundLog, rule_for
from coded_als.als.updates import inverse_of_gram
from coded_als.arrays import Array
from coded_als.cluster import Round, WellConditioned
from coded_als.codes import Code, Entangled, EntangledPolynomialCode, FactorCode, InnerProductCode
from coded_als.codes.partition import block_size
from coded_als.codes.product import multiplications
from coded_als.errors import UsageError

DATA = "D"


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

        Parameters
        ----------
        factor
            B, (l, d).
        regularization
            Ridge weight lam.

        Returns
        -------
        H = B (B^T B + lam I)^-1, (l, d).
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
        """Broadcast a d x d matrix, and interpolate what the workers' kept shares become under it."""
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


def square(code: Code) -> Entangled:
    """The code itself, once it is known to be the entangled one, cut h x h: what the paper's protocol is defined for.

    Raises
    ------
    UsageError
    """
    if not isinstance(code, Entangled) or not code.square:
        raise UsageError(
            f"protocol 'paper' is defined for an entangled code cut h x h; got code {code.spec}. Use protocol='fused'."
        )
    return code
