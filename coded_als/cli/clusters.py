"""Clusters of the command line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from coded_als.cluster import Cluster
from coded_als.cluster.machine import Machine, this_machine
from coded_als.experiments.cluster_kinds import open_cluster


@dataclass(frozen=True)
class ClusterOptions:
    """Options of a command that describe its cluster."""

    workers: int
    cluster_kind: str
    scheduler: str | None  # of Dask, in place of the kind
    delays: str
    seed: int
    round_timeout_s: float | None


def cluster_of(options: ClusterOptions) -> AbstractContextManager[Cluster]:
    """The cluster that the options of a command describe."""
    common, timeout_s = (options.workers, options.delays, options.seed), options.round_timeout_s
    if options.scheduler is None:
        return open_cluster(options.cluster_kind, *common, round_timeout_s=timeout_s)
    # Dask is loaded for its clusters alone
    from coded_als.dask.scheduler import open_dask_cluster

    limits: dict[str, Any] = {} if timeout_s is None else {"round_timeout_s": timeout_s}
    return open_dask_cluster(options.scheduler, *common, **limits)


def machine_of(options: ClusterOptions) -> Machine:
    """The machine of that cluster, before it is opened."""
    return this_machine() if cluster_name(options) == "local" else Machine()


def cluster_name(options: ClusterOptions) -> str:
    """The name of that cluster in a summary."""
    return options.cluster_kind if options.scheduler is None else "dask"
