"""Base of clusters that pass everything on to another one and change part of it on the way."""

from __future__ import annotations

from typing import Self

from coded_als.cluster.machine import Machine, delays_of, machine_of
from coded_als.cluster.seam import Cluster, Observer
from coded_als.delays import DelayModel


class PassingCluster:
    """What a cluster is, as the cluster behind it has it; what goes through it is for the class derived from this.

    Parameters
    ----------
    cluster
        Where everything goes; closing this does not close it.
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
        return machine_of(self._cluster)

    @property
    def delays(self) -> DelayModel | None:
        return delays_of(self._cluster)

    @property
    def virtual(self) -> bool:
        return self._cluster.virtual

    def seconds(self) -> float:
        return self._cluster.seconds()

    def close(self) -> None:
        """Let go of what passed through here."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
