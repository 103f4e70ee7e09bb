"""Clusters of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from coded_als.cluster import Cluster
from coded_als.errors import UsageError

CLUSTERS = ("local", "inline", "virtual")


def open_cluster(
    kind: str,
    workers: int,
    delays: str,
    seed: int,
    scheduler: str | None = None,
    round_timeout_s: float | None = None,
) -> AbstractContextManager[Cluster]:
    """A cluster of W workers: real processes, here or on a Dask cluster, the calling process, or a virtual clock.

    Parameters
    ----------
    kind
        One of `CLUSTERS`.
    workers
        W.
    delays
        Delay SPEC.
    seed
        Of the delays.
    scheduler
        Of a Dask cluster, instead of ``kind``.
    round_timeout_s
        Seconds that a round of worker processes may take; None for their default.

    Raises
    ------
    UsageError
        For a limit where there are no worker processes.
    """
    limits: dict[str, Any] = {} if round_timeout_s is None else {"round_timeout_s": round_timeout_s}
    if limits and kind != "local" and scheduler is None:
        raise UsageError(f"--round-timeout belongs to worker processes; got it with --cluster {kind}. Remove it.")
    # each brings its own dependencies; only the one asked for is imported
    if scheduler is not None:
        from coded_als.dask.scheduler import open_dask_cluster

        return open_dask_cluster(scheduler, workers, delays, seed, **limits)
    if kind == "local":
        from coded_als.master import LocalCluster

        return LocalCluster(workers, delays=delays, seed=seed, **limits)
    if kind == "virtual":
        from coded_als.cluster.virtual import SimulatedCluster

        return SimulatedCluster(workers, delays=delays, seed=seed)
    from coded_als.cluster.inline import InlineCluster

    return InlineCluster(workers, delays=delays, seed=seed)


def cluster_of(options: Mapping[str, Any]) -> AbstractContextManager[Cluster]:
    """The cluster that the options of a command ask for."""
    return open_cluster(
        options["cluster_kind"],
        options["workers"],
        options["delays"],
        options["seed"],
        options["scheduler"],
        options["round_timeout_s"],
    )


def cluster_name(options: Mapping[str, Any]) -> str:
    """What a summary calls that cluster."""
    return str(options["cluster_kind"]) if options["scheduler"] is None else "dask"
