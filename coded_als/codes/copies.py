"""The codes of plain blocks: one of each, or copies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from coded_als.checks import require_whole
from coded_als.codes.family import Code, register_code
from coded_als.codes.replication import ReplicatedProduct


@register_code("replicated")
@dataclass(frozen=True)
class Replicated(Code):
    """Every block product on several workers: waits for the first copy of each.

    Parameters
    ----------
    copies
        Copies of each block product; D is cut as finely as the workers allow.
    """

    copies: int = 2
    coded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("copies", self.copies, 1)

    @property
    def fewest_workers(self) -> int:
        return self.copies

    def product(self, workers: int) -> ReplicatedProduct:
        rows, columns = most_parts(workers // self.copies)
        return ReplicatedProduct(rows, columns, 1, workers, self.copies)

    def gram(self, workers: int) -> ReplicatedProduct:
        blocks = workers // self.copies
        side = math.isqrt(blocks)
        return ReplicatedProduct(side, blocks // side**2, side, workers, self.copies)

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        # of the numbers that cut D alike, the largest: what is left over serves as further copies anyway
        for blocks in sorted({workers // copies for copies in range(2, workers + 1)}, reverse=True):
            yield cls(workers // blocks)


@register_code("uncoded")
@dataclass(frozen=True)
class Uncoded(Code):
    """Every block product on one worker: waits for all of them."""

    coded: ClassVar[bool] = False

    def product(self, workers: int) -> ReplicatedProduct:
        return Replicated(1).product(workers)

    def gram(self, workers: int) -> ReplicatedProduct:
        return Replicated(1).gram(workers)


def most_parts(blocks: int) -> tuple[int, int]:
    """(p, q) with p <= q and as many parts p q <= blocks as possible, as square as that allows."""
    p = max(range(1, math.isqrt(blocks) + 1), key=lambda p: (p * (blocks // p), p))
    return p, blocks // p
