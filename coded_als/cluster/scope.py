"""Clusters that pass everything on to another one: the base of such a proxy, a scope of names, and the shares to send again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self, overload

from coded_als.cluster.machine import Machine
from coded_als.cluster.seam import Cluster, Observer, Responses, Round, StoppingRule
from coded_als.delays.models import DelayModel
from coded_als.kernels import Stored


class ProxyCluster:
    """A cluster that answers as the one behind it does, except for the changes of a derived class.

    ``cluster``: where everything goes; closing this does not close it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def size(self) -> int:
        return self._cluster.size

    @property
    def observers(self) -> list[Observer]:
        return self._cluster.observers

    @property
    def machine(self) -> Machine:
        return self._cluster.machine

    @property
    def delays(self) -> DelayModel:
        return self._cluster.delays

    @property
    def virtual(self) -> bool:
        return self._cluster.virtual

    def seconds(self) -> float:
        return self._cluster.seconds()

    def close(self) -> None:
        """Release the arrays that passed through this proxy."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_numbers = itertools.count(1)


class Scope(ProxyCluster):
    """A cluster that gives stored arrays names of its own, and drops them when it is closed.

    A fit in another fit's callback, and two operators on one cluster, each multiply with their own stored arrays.

    ``cluster``: where everything goes; closing the scope does not close it.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._suffix = f"#{next(_numbers)}"
        self._names: set[str] = set()

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        self._cluster.store(self._own(name), shares)

    def drop(self, names: Iterable[str]) -> None:
        dropped = [self._own(name) for name in names]
        self._names.difference_update(dropped)
        self._cluster.drop(dropped)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        keep, operands = (tuple(map(self._own, names)) for names in (round.keep, round.operands))
        return self._cluster.run(replace(round, keep=keep, operands=operands), until)

    def close(self) -> None:
        """Let the workers drop the arrays that were stored through this scope."""
        names, self._names = self._names, set()
        if names:
            self._cluster.drop(names)

    def _own(self, name: str) -> str:
        own = name + self._suffix
        self._names.add(own)
        return own


@dataclass(frozen=True)
class Part:
    """An array that lies on a worker's machine already, instead of one to be sent; for clusters that put it there."""

    # number by which the worker knows it. Never a path: a worker knows one folder, and opens no file but by a number
    number: int


class Shares(Sequence[Stored]):
    """One array for each worker, made on demand: all of them never exist at once.

    ``size``: number of workers W; ``make``: makes them, in order, and the same ones every time.
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

    ``passing``: the same, as they pass.
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
