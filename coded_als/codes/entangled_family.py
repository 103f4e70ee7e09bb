"""The entangled polynomial codes by name, among them the one of the paper."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self, get_args

from coded_als.checks import require_one_of, require_whole
from coded_als.codes.entangled import EntangledPolynomialCode
from coded_als.codes.family import STRAGGLER_RESERVE, Code, register_code
from coded_als.codes.points import PointFamily
from coded_als.codes.thresholds import iteration_threshold, largest_partitions, product_threshold
from coded_als.errors import UsageError

# Past these h a plan does not look: the entangled code's own algebra outgrows what the workers save, or real points have lost their digits.
LARGEST_PARTITIONS: dict[PointFamily, int] = {"circle": 20, "real": 8, "equispaced": 8}


@register_code("entangled")
@dataclass(frozen=True)
class Entangled(Code):
    """The paper's code: D cut h x h, or p x r, and both factors evaluated as polynomials at a point of each worker.

    Parameters
    ----------
    h
        Parts of rows and of columns; by default as many as leave a quarter of the workers as stragglers.
    p, r
        Instead of h: parts of rows and of columns. With r = 1 the payload is real and the same for all.
    points
        ``"circle"`` (each worker worth two evaluations), ``"real"`` or ``"equispaced"``.
    """

    h: int | None = None
    p: int | None = None
    r: int | None = None
    points: PointFamily = "circle"

    def __post_init__(self) -> None:
        require_one_of("points", self.points, get_args(PointFamily))
        for key in ("h", "p", "r"):
            if getattr(self, key) is not None:
                require_whole(key, getattr(self, key), 1)
        if (self.h is not None and (self.p, self.r) != (None, None)) or (self.r is not None and self.p is None):
            raise UsageError(f"an entangled code is cut either h x h or p x r; got {self.spec}. Give h, or p and r.")

    @property
    def tolerance(self) -> float:
        """1e-12 on the circle, 1e-8 at real points, which cannot keep to less beyond h = 2.

        1e-12 costs a response more than the threshold in one round of four at h = 6 and W = 30, and leaves the
        iterates of ALS, which magnify it by some hundreds, below 1e-8.
        """
        return 1e-12 if self.points == "circle" else 1e-8

    @property
    def fixed(self) -> bool:
        """Whether the cut is given and not left open."""
        return self.h is not None or self.p is not None

    @property
    def square(self) -> bool:
        """Whether the cut is h x h, for a given or an open h."""
        return not self.fixed or self.cut[0] == self.cut[1]

    @property
    def cut(self) -> tuple[int, int]:
        """Parts of the rows and of the columns of D."""
        assert self.fixed, "tie the code to workers first: Code.at"
        return (self.h, self.h) if self.h else (self.p or 1, self.r or 1)

    @property
    def fewest_workers(self) -> int:
        return product_threshold(*self.cut, 1, self.points) if self.fixed else 1

    def at(self, workers: int, length: int) -> Entangled:
        found = self if self.fixed else replace(self, h=default_partitions(workers, length, self.points))
        if max(found.cut) > length:
            raise UsageError(
                f"parts must be between 1 and min(rows, columns) = {length}; got {found.spec}. Lower partitions."
            )
        return super(Entangled, found).at(workers, length)

    def threshold(self, workers: int) -> int:
        return self.fewest_workers

    def share(self, workers: int) -> float:
        planes = 2 if self.points == "circle" and self.cut != (1, 1) else 1
        return planes / math.prod(self.cut)

    def product(self, workers: int) -> EntangledPolynomialCode:
        return EntangledPolynomialCode(*self.cut, 1, workers, self.points)

    def gram(self, workers: int) -> EntangledPolynomialCode:
        side = self._gram_parts
        return EntangledPolynomialCode(side, 1, side, workers, self.points)

    def last(self, workers: int) -> EntangledPolynomialCode:
        return EntangledPolynomialCode(1, self._gram_parts, 1, workers, self.points)

    @property
    def _gram_parts(self) -> int:
        """g with g^2 <= p r: what decodes a product decodes the Gram matrix; h for h x h."""
        return math.isqrt(math.prod(self.cut))

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        for points in ("circle", "real"):
            most = min(largest_partitions(workers, points), LARGEST_PARTITIONS[points])
            yield from (cls(h, points=points) for h in range(2, most + 1))
        # rows alone, on the circle: of the two p that wait for as many the larger, which cuts finer
        yield from (cls(p=p, r=1) for p in range(4, min(2 * workers, LARGEST_PARTITIONS["circle"] ** 2) + 1, 2))
        for r in range(2, 2 * workers):
            for p in range(1, min(2 * workers // r + 1, LARGEST_PARTITIONS["circle"] ** 2 // r + 1)):
                if p != r and product_threshold(p, r, 1, "circle") <= workers:
                    yield cls(p=p, r=r)


def default_partitions(workers: int, length: int, points: PointFamily = "circle") -> int:
    """The largest h that leaves a quarter of the workers as stragglers; at most ``length``, at least 1.

    Parameters
    ----------
    workers
        W.
    length
        Rows of D, which cannot be cut into more parts.
    points
        Where the code is evaluated.
    """
    h = 1
    while h < length and iteration_threshold(h + 1, points) <= (1 - STRAGGLER_RESERVE) * workers:
        h += 1
    return h
