"""Clusters by name: the one place that opens them for commands and sweeps."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.cluster import Cluster
    from coded_als.cluster.machine import Machine

CLUSTERS = ("local", "inline", "virtual")


def open_cluster(
    kind: str,
    workers: int,
    delays: str,
    seed: int,
    round_timeout_s: float | None = None,
    machine: Machine | None = None,
) -> AbstractContextManager[Cluster]:
    """A cluster of W workers: real processes, the calling process, or a virtual clock."""
    limits: dict[str, Any] = {} if round_timeout_s is None else {"round_timeout_s": round_timeout_s}
    if limits and kind != "local":
        raise UsageError(f"--round-timeout belongs to worker processes; got it with --cluster {kind}. Remove it.")
    # each brings its own dependencies; only the one asked for is imported
    if kind == "local":
        from coded_als.master import LocalCluster

        return LocalCluster(workers, delays=delays, seed=seed, **limits)
    if kind == "virtual":
        from coded_als.cluster.virtual import SimulatedCluster

        return SimulatedCluster(workers, delays, seed, machine)
    from coded_als.cluster.inline import InlineCluster

    return InlineCluster(workers, delays=delays, seed=seed)
