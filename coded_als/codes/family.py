"""A family of codes and the registry of their names: the meaning of a SPEC before the workers are known."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Any, ClassVar, Self, TypeVar

from coded_als.checks import require_whole
from coded_als.codes.product import MatrixCode, share_of_left
from coded_als.errors import UsageError
from coded_als.specs import load_plugins, read_fields, required, unknown

# A parameter that is left open is chosen so that the master does not wait for this share of the workers.
STRAGGLER_RESERVE = 0.25
# A side of D divisible by every number of parts up to 16: shares come out as the fractions that they are.
LONG = 720_720


class CodeSpec(ABC):
    """A way to spread the products of a factorization; subclasses are frozen dataclasses.

    Only `for_product` must be written. The rest has defaults that are right, if not always fastest.

    Examples
    --------
    >>> from coded_als.codes import parse_code
    >>> spec = parse_code("systematic")
    >>> spec.bind(workers=8, length=1000).spec
    'systematic:p=6'
    """

    name: ClassVar[str] = ""
    # whether it is a code, and not plain copies: "coding pays" compares the two
    coded: ClassVar[bool] = True
    # pieces of a share (`coded_als.codes.pieces`): None leaves them open. A code of which each row of a response is a
    # combination of rows of blocks declares ``pieces: int | None = None`` among its parameters; any other keeps shares
    # whole.
    pieces: int | None = 1

    @property
    def tolerance(self) -> float:
        """Relative error that a decoded product may have unless asked otherwise."""
        return 1e-12

    @property
    def fewest_workers(self) -> int:
        """The fewest workers that it can be tied to."""
        return 1

    def bind(self, workers: int, length: int) -> Self:
        """Return the same code with its open parameters chosen for W workers and a square D of this length.

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

    def partitioned(self, partitions: int) -> CodeSpec:
        """Return the same code with D cut h x h, for a code of the paper's that leaves h open.

        Parameters
        ----------
        partitions
            h.

        Raises
        ------
        UsageError
            For any other code.
        """
        raise UsageError(
            f"partitions needs an entangled code without h, p and r; got it with code {self.spec}. Remove one of the two."
        )

    @abstractmethod
    def for_product(self, workers: int) -> MatrixCode:
        """Return the code of E = D B, and of any A B with A stored and B sent."""

    def for_gram(self, workers: int) -> MatrixCode:
        """Return the code of D = A^T A, both factors stored."""
        return self.for_product(workers)

    def for_other_factor(self, workers: int) -> MatrixCode | None:
        """Return the code of the other factor A H from the transposed left shares of `for_gram`; None where they cannot serve it."""
        del workers
        return None

    def threshold(self, workers: int) -> int:
        """Return the responses of W workers without which no product decodes."""
        return self.for_product(workers).recovery_threshold

    def share(self, workers: int) -> float:
        """Return the part of D that one of W workers holds, as a fraction of D."""
        return share_of_left(self.for_product(workers), (LONG, LONG))

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        """Return the members of the family that a plan for W workers tries; by default the one with nothing but defaults."""
        if not any(required(field) for field in fields(cls)):  # type: ignore[arg-type]
            member = cls()
            if member.fewest_workers <= workers:
                yield member

    @property
    def spec(self) -> str:
        """The SPEC that `parse_code` reads as this code: ``"systematic:p=21"``."""
        given = [f"{key}={value}" for key, value in vars(self).items() if value != getattr(type(self), key, None)]
        return self.name + (":" + ",".join(given) if given else "")


CODES: dict[str, type[CodeSpec]] = {}
Family = TypeVar("Family", bound=type[CodeSpec])


def register_code(name: str) -> Callable[[Family], Family]:
    """Make a code known by this name, as a class decorator, to every command and parameter that takes a SPEC.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from coded_als.codes import MatrixCode, SystematicCode, parse_code
    >>> from coded_als.codes import CodeSpec, register_code
    >>> @register_code("halves")
    ... @dataclass(frozen=True)
    ... class Halves(CodeSpec):
    ...     "Any half of the workers is enough."
    ...     def for_product(self, workers: int) -> MatrixCode:
    ...         return SystematicCode(workers // 2, 1, workers)
    >>> parse_code("halves").threshold(8)
    4
    """

    def register(family: Family) -> Family:
        family.name = name
        CODES[name] = family
        return family

    return register


def parse_code(spec: str) -> CodeSpec:
    """Return the code that a SPEC names; `CodeSpec.bind` chooses the omitted parameters when the workers are known.

    Raises
    ------
    UsageError
        For an unknown code, and for an unknown, missing or unreadable parameter.

    Examples
    --------
    >>> parse_code("entangled:p=20,r=2").spec
    'entangled:p=20,r=2'
    """
    name = spec.partition(":")[0].strip()
    if name not in CODES:
        load_plugins()
    if name not in CODES:
        raise unknown("code", name, CODES)
    return _read_once(spec, CODES[name])


@lru_cache(maxsize=4096)
def _read_once(spec: str, family: type[CodeSpec]) -> CodeSpec:
    """The code of a SPEC of this family; a plan asks for the same ones a hundred times."""
    return family(**read_fields("code", spec, family, _value))


def asked_code(spec: str, partitions: int | None) -> CodeSpec | None:
    """The code that a user asks for; None where ``"auto"`` leaves the choice open.

    Parameters
    ----------
    spec
        SPEC of a code, or ``"auto"``: with partitions the paper's code.
    partitions
        h of the paper's h x h cut, or None for the SPEC as it is.

    Raises
    ------
    UsageError
        For a SPEC that cannot be read, and for partitions of another code.
    """
    if partitions is None:
        return None if spec == "auto" else parse_code(spec)
    require_whole("partitions", partitions, 1)
    return parse_code("entangled" if spec == "auto" else spec).partitioned(partitions)


def default_code() -> CodeSpec:
    """The code where the choice is open and nothing is known of delays: a systematic one."""
    return parse_code("systematic")


def _value(key: str, text: str) -> Any:
    """Whole numbers and decimals as numbers, the rest as it stands; the code itself checks its parameters."""
    text = text.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.?\d+)(e[+-]?\d+)?", text):
        return float(text)
    if not text:
        raise UsageError(f"{key} must have a value; got none. Write {key}=... in the code SPEC.")
    return text
