"""Codes by name: what spreads each product of a factorisation, for any number of workers.

A family member (`Systematic(p=21)`, in a SPEC ``systematic:p=21``) says how to cut; tied to W workers it gives the
`ProductCode` of each product. Register a class of your own with `register_code`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar, get_args

from coded_als.checks import require_one_of, require_whole
from coded_als.codes.entangled import EntangledPolynomialCode
from coded_als.codes.points import PointFamily
from coded_als.codes.product import ProductCode
from coded_als.codes.replication import ReplicatedProduct
from coded_als.codes.systematic import SystematicCode
from coded_als.codes.thresholds import iteration_threshold, largest_partitions, product_threshold
from coded_als.errors import UsageError

# What is left open leaves this share of the workers as stragglers that nobody waits for.
STRAGGLER_RESERVE = 0.25
# Past these h a plan does not look: the entangled code's own algebra outgrows what the workers save, or real points have lost their digits.
LARGEST_PARTITIONS: dict[PointFamily, int] = {"circle": 20, "real": 8, "equispaced": 8}


class Code(ABC):
    """A way to spread the products of a factorisation; subclasses are frozen dataclasses.

    Only `product` must be written. The rest has defaults that are right, if not always fastest.
    """

    name: ClassVar[str] = ""

    @property
    def tolerance(self) -> float:
        """Relative error that a decoded product may have unless asked otherwise."""
        return 1e-12

    @property
    def fewest_workers(self) -> int:
        """The fewest workers that it can be tied to."""
        return 1

    def at(self, workers: int, length: int) -> Self:
        """The same code with what is left open chosen for W workers and a square D of this length.

        Raises
        ------
        UsageError
            When it cannot be tied to them.
        """
        del length
        if workers < self.fewest_workers:
            raise UsageError(
                f"workers must be at least {self.fewest_workers} for code {self.spec}; got {workers}. "
                "Add workers or choose a code with fewer parts."
            )
        return self

    @abstractmethod
    def product(self, workers: int) -> ProductCode:
        """For E = D B, and any A B with A stored and B sent."""

    def gram(self, workers: int) -> ProductCode:
        """For D = A^T A, both factors stored."""
        return self.product(workers)

    def last(self, workers: int) -> ProductCode | None:
        """For the other factor A H from the transposed left shares of `gram`; None where they cannot serve it."""
        del workers
        return None

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        """The members of the family that a plan for W workers tries."""
        member = cls()
        if member.fewest_workers <= workers:
            yield member

    @property
    def spec(self) -> str:
        """What `parse_code` reads as this code: ``"systematic:p=21"``."""
        given = [f"{key}={value}" for key, value in vars(self).items() if value != getattr(type(self), key, None)]
        return self.name + (":" + ",".join(given) if given else "")


CODES: dict[str, type[Code]] = {}
Family = TypeVar("Family", bound=type[Code])


def register_code(name: str) -> Callable[[Family], Family]:
    """Class decorator: makes a code known by this name to every command and parameter that takes a SPEC."""

    def register(family: Family) -> Family:
        family.name = name
        CODES[name] = family
        return family

    return register


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

    def product(self, workers: int) -> ReplicatedProduct:
        return Replicated(1).product(workers)

    def gram(self, workers: int) -> ReplicatedProduct:
        return Replicated(1).gram(workers)


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
        """1e-11, which fewer than one set of p workers in a thousand misses: a round hardly ever waits for another."""
        return 1e-11

    @property
    def fewest_workers(self) -> int:
        return self.p or 1

    def at(self, workers: int, length: int) -> Systematic:
        p = self.p or min(length, max(1, int((1 - STRAGGLER_RESERVE) * workers)))
        if p > length:
            raise UsageError(f"p must be between 1 and min(rows, columns) = {length}; got {p}. Lower p.")
        return super(Systematic, Systematic(p)).at(workers, length)

    def product(self, workers: int) -> SystematicCode:
        return SystematicCode(self._parts, 1, workers)

    def gram(self, workers: int) -> SystematicCode:
        # cutting both factors stores and sends far less than giving everybody the whole of the right one
        return SystematicCode(*most_parts(self._parts), workers)

    @property
    def _parts(self) -> int:
        assert self.p is not None, "tie the code to workers first: Code.at"
        return self.p

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        yield from (cls(p) for p in range(1, workers + 1))


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
    def cut(self) -> tuple[int, int]:
        """Parts of the rows and of the columns of D."""
        assert self.h or self.p, "tie the code to workers first: Code.at"
        return (self.h, self.h) if self.h else (self.p or 1, self.r or 1)

    @property
    def fewest_workers(self) -> int:
        return product_threshold(*self.cut, 1, self.points) if self.h or self.p else 1

    def at(self, workers: int, length: int) -> Entangled:
        found = self if self.h or self.p else replace(self, h=default_partitions(workers, length, self.points))
        if max(found.cut) > length:
            raise UsageError(
                f"parts must be between 1 and min(rows, columns) = {length}; got {found.spec}. Lower partitions."
            )
        return super(Entangled, found).at(workers, length)

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


def most_parts(blocks: int) -> tuple[int, int]:
    """(p, q) with p <= q and as many parts p q <= blocks as possible, as square as that allows."""
    p = max(range(1, math.isqrt(blocks) + 1), key=lambda p: (p * (blocks // p), p))
    return p, blocks // p


def default_partitions(workers: int, length: int, points: PointFamily = "circle") -> int:
    """The largest h that leaves a quarter of the workers as stragglers; at most ``length``, at least 1."""
    h = 1
    while h < length and iteration_threshold(h + 1, points) <= (1 - STRAGGLER_RESERVE) * workers:
        h += 1
    return h
