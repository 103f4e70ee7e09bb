"""Where the block products of one factorisation go: coded, replicated or uncoded.

The algorithm is the same for all three; a placement is a choice of codes and of the rules by which rounds stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from coded_als.cluster import AnyOfEach, StoppingRule, WellConditioned
from coded_als.codes import EntangledPolynomialCode, PointFamily, ProductCode, ReplicatedProduct, iteration_threshold
from coded_als.errors import UsageError

Kind = Literal["coded", "replicated", "uncoded"]
# A default h leaves this share of the workers as stragglers that nobody waits for.
STRAGGLER_RESERVE = 0.25


@dataclass(frozen=True)
class Placement:
    """The codes of the phases of one factorisation.

    Parameters
    ----------
    kind
        ``"coded"``, ``"replicated"`` or ``"uncoded"``.
    workers
        Number of workers W.
    partitions
        Parts h of the coded placement; the other two cut as finely as the workers allow.
    points
        Point family of the code.
    copies
        Copies of each block product of the replicated placement.
    """

    kind: Kind
    workers: int
    partitions: int
    points: PointFamily = "circle"
    copies: int = 2

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"placement must be one of {', '.join(get_args(Kind))}; got {self.kind!r}. Use 'coded'.")
        if self.kind == "coded":
            needed = iteration_threshold(self.partitions, self.points)
            if self.workers < needed:
                raise UsageError(
                    f"workers must be at least {needed}, the recovery threshold at partitions={self.partitions} with "
                    f"{self.points} points; got {self.workers}. Add workers or lower partitions."
                )
        elif self.blocks < 1:
            raise UsageError(
                f"workers must be at least copies={self.copies}; got {self.workers}. Add workers or lower copies."
            )

    @property
    def blocks(self) -> int:
        """Distinct block products that replication can keep in the asked number of copies."""
        return self.workers // (self.copies if self.kind == "replicated" else 1)

    def product_code(self) -> EntangledPolynomialCode | ReplicatedProduct:
        """For E = D B: D is cut h x h, B h x 1."""
        if self.kind == "coded":
            return EntangledPolynomialCode(self.partitions, self.partitions, 1, self.workers, self.points)
        columns = max(range(1, math.isqrt(self.blocks) + 1), key=lambda p: (p * (self.blocks // p), p))
        return self._replicated(columns, self.blocks // columns, 1)

    def gram_code(self) -> EntangledPolynomialCode | ReplicatedProduct:
        """For D = A^T A: the rows of A^T are cut in h (r = 1), so that left shares serve `last_code` too."""
        if self.kind == "coded":
            return EntangledPolynomialCode(self.partitions, 1, self.partitions, self.workers, self.points)
        columns = math.isqrt(self.blocks)
        return self._replicated(columns, self.blocks // columns**2, columns)

    def last_code(self) -> EntangledPolynomialCode | ReplicatedProduct:
        """For the other factor A H: A is cut into h parts of columns, or into blocks of rows."""
        if self.kind == "coded":
            return EntangledPolynomialCode(1, self.partitions, 1, self.workers, self.points)
        return self._replicated(self.blocks, 1, 1)

    def _replicated(self, p: int, r: int, q: int) -> ReplicatedProduct:
        return ReplicatedProduct(p, r, q, self.workers, self.copies if self.kind == "replicated" else 1)


def default_partitions(workers: int, length: int, points: PointFamily = "circle") -> int:
    """The largest h that leaves a quarter of the workers as stragglers; at most ``length``, at least 1."""
    h = 1
    while h < length and iteration_threshold(h + 1, points) <= (1 - STRAGGLER_RESERVE) * workers:
        h += 1
    return h


def default_tolerance(points: PointFamily) -> float:
    """Relative error a decoded product may have unless asked otherwise.

    1e-12 costs a response more than the threshold in one round of four at h = 6 and W = 30, and leaves the iterates
    of ALS, which magnify it by some hundreds, below 1e-8. Real points cannot keep to that beyond h = 2.
    """
    return 1e-12 if points == "circle" else 1e-8


def rule_for(code: ProductCode, tolerance: float) -> StoppingRule:
    """The rule by which a round of this code stops."""
    if isinstance(code, ReplicatedProduct):
        return AnyOfEach(code.groups)
    return WellConditioned(code, tolerance)
