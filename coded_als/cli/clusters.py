"""Clusters of the command line: the options that describe one, and the function that opens it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import click

from coded_als.cli.common import TIME, Command, is_typed
from coded_als.cluster import Cluster
from coded_als.cluster.machine import Machine, this_machine
from coded_als.errors import UsageError
from coded_als.experiments.cluster_kinds import CLUSTERS, open_cluster


@dataclass(frozen=True)
class ClusterOptions:
    """Options of a command that describe its cluster."""

    workers: int
    cluster_kind: str
    scheduler: str | None  # of Dask, in place of the kind
    listen: str | None  # an address for workers of other machines, in place of the kind
    keys: str | None
    join_timeout_s: float | None
    rejoin_timeout_s: float | None
    delays: str
    seed: int
    round_timeout_s: float | None


def takes_machines(command: Command) -> Command:
    """Add the options that say where the workers of a command run."""
    kind = click.option(
        "--cluster",
        "cluster_kind",
        type=click.Choice(CLUSTERS),
        metavar="KIND",
        default="local",
        show_default=True,
        help="Workers: local processes, inline (this process), or virtual (a simulated clock).",
    )
    return kind(takes_remote_workers(command))


def takes_remote_workers(command: Command) -> Command:
    """Add the options of workers elsewhere."""
    options = (
        click.option("--listen", metavar="ADDRESS", help="Wait for remote workers at this address."),
        click.option("--keys", metavar="FOLDER", help="Keys for --listen, written by `coded-als keys`."),
        click.option(
            "--join-timeout", "join_timeout_s", type=TIME, help="Longest wait for workers to join.  [default: 10min]"
        ),
        click.option(
            "--rejoin-timeout",
            "rejoin_timeout_s",
            type=TIME,
            help="Longest wait for lost workers, if a round needs them.  [default: 1min]",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Dask: tcp://HOST:8786, its file, or local:N.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def takes_cluster(command: Command) -> Command:
    """Add the options that describe a cluster, all but ``--seed``."""
    options = (
        click.option("--workers", default=16, show_default=True, help="Number of workers."),
        takes_machines,
        click.option(
            "--delays", metavar="SPEC", default="none", show_default=True, help="Inject delays into the workers."
        ),
        click.option(
            "--round-timeout", "round_timeout_s", type=TIME, help="Longest time of a round.  [default: 10min]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def require_cluster(context: click.Context, options: ClusterOptions) -> None:
    """`UsageError` for options of a cluster that contradict each other, and for keys that cannot be read."""
    named = {
        "--listen": options.listen is not None,
        "--scheduler": options.scheduler is not None,
        "--cluster": "cluster_kind" in context.params and is_typed(context, "cluster_kind"),
    }
    first, *others = [option for option, given in named.items() if given] or [""]
    if others:
        raise UsageError(f"{first} and {others[0]} must not be given together; got both. Remove one of them.")
    if options.listen is None:
        only = {"--keys": options.keys, "--join-timeout": options.join_timeout_s}
        for option, value in (only | {"--rejoin-timeout": options.rejoin_timeout_s}).items():
            if value is not None:
                raise UsageError(f"{option} must come with --listen tcp://HOST:PORT; got it alone. Add the address.")
        return
    if options.keys is None:
        raise UsageError(
            f"--listen must come with --keys FOLDER; got {options.listen} alone. Make keys with "
            f"coded-als keys FOLDER --workers {options.workers}."
        )
    from coded_als.master.key_files import MasterKeys

    MasterKeys.read(options.keys).require(options.workers, options.keys)


def cluster_of(options: ClusterOptions) -> AbstractContextManager[Cluster]:
    """The cluster that the options of a command describe."""
    common, timeout_s = (options.workers, options.delays, options.seed), options.round_timeout_s
    limits: dict[str, Any] = {} if timeout_s is None else {"round_timeout_s": timeout_s}
    if options.listen is not None:
        from coded_als.master import RemoteCluster

        for name in ("join_timeout_s", "rejoin_timeout_s"):
            if (seconds := getattr(options, name)) is not None:
                limits[name] = seconds
        limits.setdefault("join_timeout_s", JOIN_TIMEOUT_S)
        delays, seed = options.delays, options.seed
        return RemoteCluster(options.listen, options.workers, keys=options.keys, delays=delays, seed=seed, **limits)
    if options.scheduler is None:
        return open_cluster(options.cluster_kind, *common, round_timeout_s=timeout_s)
    # Dask is loaded for its clusters alone
    from coded_als.dask.cluster import open_dask_cluster

    return open_dask_cluster(options.scheduler, *common, **limits)


# People start the workers of other machines by hand, or a supervisor starts them again after half a minute.
JOIN_TIMEOUT_S = 600.0


def machine_of(options: ClusterOptions) -> Machine:
    """The machine of that cluster, before it is opened."""
    return this_machine() if cluster_name(options) == "local" else Machine()


def cluster_name(options: ClusterOptions) -> str:
    """The name of that cluster in a summary."""
    if options.listen is not None:
        return "remote"
    return options.cluster_kind if options.scheduler is None else "dask"


def cluster_words(options: ClusterOptions) -> list[str]:
    """The words of a command that open the same cluster, its workers and its delays apart."""
    if options.listen is not None:
        return ["--listen", options.listen, "--keys", str(options.keys)]
    if options.scheduler is not None:
        return ["--scheduler", options.scheduler]
    return [] if options.cluster_kind == "local" else ["--cluster", options.cluster_kind]
