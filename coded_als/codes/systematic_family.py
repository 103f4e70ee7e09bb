"""The systematic random row code by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from coded_als.checks import require_whole
from coded_als.codes.family import STRAGGLER_RESERVE, Code, register_code
from coded_als.codes.systematic import SystematicCode
from coded_als.errors import UsageError


@register_code("systematic")
@dataclass(frozen=True)
class Systematic(Code):
    """D in p blocks of rows, one on each of p workers and random combinations on the others: any p responses decode.

    Parameters
    ----------
    p
        Blocks of rows, and responses to wait for; by default three quarters of the workers.
    """

    p: int | None = None

    def __post_init__(self) -> None:
        if self.p is not None:
            require_whole("p", self.p, 1)

    @property
    def tolerance(self) -> float:
        """1e-11, which one to three random sets of p workers in a thousand miss: a round hardly ever waits for another."""
        return 1e-11

    @property
    def fewest_workers(self) -> int:
        return self.p or 1

    def at(self, workers: int, length: int) -> Systematic:
        p = self.p or min(length, max(1, int((1 - STRAGGLER_RESERVE) * workers)))
        if p > length:
            raise UsageError(f"p must be between 1 and min(rows, columns) = {length}; got {p}. Lower p.")
        return super(Systematic, replace(self, p=p)).at(workers, length)

    def threshold(self, workers: int) -> int:
        return self._parts

    def share(self, workers: int) -> float:
        return 1 / self._parts

    def product(self, workers: int) -> SystematicCode:
        return SystematicCode(self._parts, 1, workers)

    def gram(self, workers: int) -> SystematicCode:
        # cutting both factors alike stores and sends the least; a few parts fewer cost less than a narrow cut
        side = math.isqrt(self._parts)
        return SystematicCode(side, self._parts // side, workers)

    @property
    def _parts(self) -> int:
        assert self.p is not None, "tie the code to workers first: Code.at"
        return self.p

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        yield from (cls(p) for p in range(1, workers + 1))
