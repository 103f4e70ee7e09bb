"""A family of codes and the registry of their names: what a SPEC stands for, before the workers are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import ClassVar, Self, TypeVar

from coded_als.codes.product import ProductCode, share_of_left
from coded_als.errors import UsageError
from coded_als.specs import required

# A side of D divisible by every number of parts up to 16: shares come out as the fractions that they are.
# What is left open leaves this share of the workers as stragglers that nobody waits for.
STRAGGLER_RESERVE = 0.25
LONG = 720_720


class Code(ABC):
    """A way to spread the products of a factorisation; subclasses are frozen dataclasses.

    Only `product` must be written. The rest has defaults that are right, if not always fastest.
    """

    name: ClassVar[str] = ""
    # whether it is a code at all, and not plain copies: what "coding pays" is about
    coded: ClassVar[bool] = True

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

        Parameters
        ----------
        workers
            W.
        length
            Rows of D.

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

    def threshold(self, workers: int) -> int:
        """Responses of W workers without which no product decodes."""
        return self.product(workers).recovery_threshold

    def share(self, workers: int) -> float:
        """What one of W workers holds of D, as a fraction of it."""
        return share_of_left(self.product(workers), (LONG, LONG))

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        """The members of the family that a plan for W workers tries; by default the one with nothing but defaults."""
        if not any(required(field) for field in fields(cls)):  # type: ignore[arg-type]
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
