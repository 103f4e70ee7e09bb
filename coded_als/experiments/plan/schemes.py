"""What one iteration of each scheme asks of workers and master, without running it.

A scheme is a way to place the products on W workers. Its schedule (cost and stopping rule of each round of an
iteration) is what the virtual clock charges; a test holds it against the rounds that the algorithm really runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from coded_als.als.lobpcg import GUARD_VECTORS
from coded_als.als.placement import Kind, Placement, rule_for
from coded_als.cluster import StoppingRule, WellConditioned
from coded_als.cluster.virtual import RoundCost
from coded_als.codes import EntangledPolynomialCode, FactorCode, InnerProductCode, PointFamily, ReplicatedProduct
from coded_als.codes.partition import block_size
from coded_als.codes.product import multiplications
from coded_als.errors import UsageError

FLOAT_BYTES = 8


@dataclass(frozen=True)
class Size:
    """The problem: an m x n matrix and the rank d.

    Raises
    ------
    UsageError
        For a rank above both sides.
    """

    rows: int
    columns: int
    rank: int

    def __post_init__(self) -> None:
        if self.rank > self.length:
            raise UsageError(f"rank must be at most min(rows, cols) = {self.length}; got {self.rank}. Lower rank.")

    @property
    def length(self) -> int:
        """l = min(m, n), the side of D."""
        return min(self.rows, self.columns)


@dataclass(frozen=True)
class Scheme:
    """One way to run the factorisation on W workers.

    Parameters
    ----------
    placement
        ``"uncoded"``, ``"replicated"`` or ``"coded"``.
    workers
        W.
    partitions
        h of the coded placement, else None.
    points
        Point family of the coded placement, else None.
    copies
        Copies of the replicated placement, else None.
    protocol
        ``"fused"`` or ``"paper"``.
    solver
        ``"als"`` or ``"lobpcg"``.
    """

    placement: Kind
    workers: int
    partitions: int | None = None
    points: PointFamily | None = None
    copies: int | None = None
    protocol: str = "fused"
    solver: str = "als"

    @property
    def label(self) -> str:
        """For people: ``"coded h=6, circle, fused, lobpcg"``."""
        if self.placement == "coded":
            return f"coded h={self.partitions}, {self.points}, {self.protocol}, {self.solver}"
        copies = f" x{self.copies}" if self.placement == "replicated" else ""
        return f"{self.placement}{copies}, {self.protocol}, {self.solver}"

    @cached_property
    def products(self) -> Placement:
        """Where the products go.

        Raises
        ------
        UsageError
            When the workers are too few.
        """
        return Placement(self.placement, self.workers, self.partitions or 1, self.points or "circle", self.copies or 2)

    @cached_property
    def code(self) -> EntangledPolynomialCode | ReplicatedProduct:
        """The code of E = D B."""
        return self.products.product_code()

    def block_columns(self, size: Size) -> int:
        """Columns of the block that goes to the workers: d, and a few more for the eigensolver."""
        guard = GUARD_VECTORS if self.solver == "lobpcg" else 0
        return min(size.rank + guard, size.length)

    def schedule(self, size: Size, tolerance: float) -> list[tuple[RoundCost, StoppingRule]]:
        """Cost and stopping rule of each round of one iteration, decoded to ``tolerance``."""
        product = self._product_round(size)
        rule = rule_for(self.code, tolerance)
        return [(product, rule)] if self.protocol == "fused" else self._paper_rounds(size, tolerance, product, rule)

    def storage_bytes(self, size: Size) -> int:
        """What one worker holds: its share of D, and the shares of factors that it keeps or works on."""
        rows, columns, inner = self._product_parts(size)
        factors = 1 if self.protocol == "fused" else 3
        share = rows * inner + factors * inner * columns
        return FLOAT_BYTES * self._planes * share

    def startup_operations(self, size: Size) -> float:
        """Multiplications of the master that encode D."""
        coded = self.placement == "coded"
        return float(self.workers * self._planes * size.length**2) if coded else 0.0

    def startup_bytes(self, size: Size) -> float:
        """Bytes of all the workers' shares of D."""
        rows, _, inner = self._product_parts(size)
        return float(FLOAT_BYTES * self._planes * self.workers * rows * inner)

    def master_operations(self, size: Size) -> float:
        """Multiplications of the master in one iteration: encoding, decoding, and what is left of the algebra.

        Decoding is counted at the threshold; responses beyond it are few.
        """
        length, columns = size.length, self.block_columns(size)
        shares = self._planes * length * columns
        encoding = self.workers * shares if self.placement == "coded" else 0
        decoding = self.code.recovery_threshold * shares if self.placement == "coded" else length * columns
        if self.protocol == "paper":
            # two factors are encoded (three at real points, which need f_L besides f_R), two decoded
            return float((2 if self.points == "circle" else 3) * encoding + decoding + (self.partitions or 1) * shares)
        # ALS: F, M and E G. The eigensolver: measured at d = 20, 50 and 200, in units of matrix products; narrow
        # blocks are slower than their multiplications say
        algebra = 33 * columns**2 + 4600 * columns if self.solver == "lobpcg" else 3 * columns**2
        return float(encoding + decoding + length * algebra)

    @property
    def _planes(self) -> int:
        return 2 if self.points == "circle" else 1

    def _product_parts(self, size: Size) -> tuple[int, int, int]:
        """Rows and columns of a response to E = D B, and the length that is contracted."""
        columns = self.block_columns(size)
        _, rows, columns = self.code.response_shape((size.length, columns))
        return rows, columns, block_size(size.length, self.code.r)

    def _product_round(self, size: Size) -> RoundCost:
        rows, columns, inner = self._product_parts(size)
        operations = multiplications(self.code, (size.length, size.length), self.block_columns(size))
        unit = FLOAT_BYTES * self._planes
        return RoundCost(operations, unit * inner * columns, unit * rows * columns)

    def _paper_rounds(
        self, size: Size, tolerance: float, product: RoundCost, rule: StoppingRule
    ) -> list[tuple[RoundCost, StoppingRule]]:
        assert self.partitions is not None
        assert self.points is not None
        h, points, rank = self.partitions, self.points, size.rank
        rows = block_size(size.length, h)
        factor_bytes, gram_bytes = FLOAT_BYTES * self._planes * rows * rank, FLOAT_BYTES * rank**2
        small = float(self._planes * rows * rank**2)
        # at real points f_L(B) travels beside f_R(B); on the circle one is the conjugate of the other
        sent = factor_bytes * (1 if points == "circle" else 2)
        first = RoundCost(product.operations + small, sent, product.response_bytes + gram_bytes)
        inner = WellConditioned(InnerProductCode(h, self.workers, points), tolerance)
        factor = WellConditioned(FactorCode(h, self.workers, points), tolerance)
        return [
            (first, rule),
            (RoundCost(small, factor_bytes, gram_bytes), inner),
            (RoundCost(small, gram_bytes, factor_bytes), factor),
        ]
