"""Shares that the master can send again, to a worker that comes back without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import overload

from coded_als.kernels import Stored


@dataclass(frozen=True)
class Part:
    """An array that lies on a worker's machine already, instead of one to be sent; for clusters that put it there.

    Parameters
    ----------
    number
        Number by which the worker knows it. Never a path: a worker knows one folder, and opens no file but by a number.
    """

    number: int


class Shares(Sequence[Stored]):
    """One array for each worker, made on demand: all of them never exist at once.

    Parameters
    ----------
    size
        Number of workers W.
    make
        Makes them, in order, and the same ones every time.
    """

    def __init__(self, size: int, make: Callable[[], Iterable[Stored]]) -> None:
        self._size, self._make = size, make

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._make())

    @overload
    def __getitem__(self, worker: int) -> Stored: ...

    @overload
    def __getitem__(self, worker: slice) -> Sequence[Stored]: ...

    def __getitem__(self, worker: int | slice) -> Stored | Sequence[Stored]:
        if isinstance(worker, slice):
            return list(self)[worker]
        if not 0 <= worker < self._size:
            raise IndexError(worker)
        return next(islice(self._make(), worker, None))


class TeedShares(Shares):
    """Shares that pass by an observer on the first iteration over all of them, and not afterwards.

    Parameters
    ----------
    shares
        The shares.
    passing
        The same, as they pass.
    """

    def __init__(self, shares: Sequence[Stored], passing: Iterable[Stored]) -> None:
        super().__init__(len(shares), lambda: shares)
        self._shares, self._passing = shares, passing

    def __iter__(self) -> Iterator[Stored]:
        passing, self._passing = self._passing, self._shares
        return iter(passing)

    @overload
    def __getitem__(self, worker: int) -> Stored: ...

    @overload
    def __getitem__(self, worker: slice) -> Sequence[Stored]: ...

    def __getitem__(self, worker: int | slice) -> Stored | Sequence[Stored]:
        return self._shares[worker]
