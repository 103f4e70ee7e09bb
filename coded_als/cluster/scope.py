"""A scope of names on a cluster: what one of its users stores is seen and replaced by nobody else."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

from coded_als.cluster import Cluster, Responses, Round, StoppingRule
from coded_als.cluster.passing import PassingCluster
from coded_als.kernels import Stored

_numbers = itertools.count(1)


class Scope(PassingCluster):
    """A cluster whose stored arrays have names of their own, and which drops them when it is closed.

    A fit in another fit's callback, and two operators on one cluster, each multiply with what they stored themselves.

    Parameters
    ----------
    cluster
        Where everything goes; closing the scope does not close it.
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
        """Let the workers forget what was stored here."""
        names, self._names = self._names, set()
        if names:
            self._cluster.drop(names)

    def _own(self, name: str) -> str:
        own = name + self._suffix
        self._names.add(own)
        return own
