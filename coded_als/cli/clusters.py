"""Clusters of the command line: the options that describe one and its machines, and the function that opens it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import click

from coded_als.cli.common import RATE, TIME, Command, is_typed, together
from coded_als.cluster import Cluster
from coded_als.cluster.machine import Machine, parse_worker_speeds, this_machine
from coded_als.errors import UsageError
from coded_als.experiments.cluster_kinds import CLUSTERS, open_cluster
from coded_als.planner.solvers import SOLVERS, typical_iterations


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


# options of workers elsewhere
takes_remote_workers = together(
    click.option("--listen", metavar="ADDRESS", help="Wait for remote workers at this address."),
    click.option("--keys", metavar="FOLDER", help="Keys for --listen, written by `coded-als keys`."),
    click.option(
        "--join-timeout", "join_timeout_s", type=TIME, help="Longest wait for workers to join.  [default: 10min]"
    ),
    click.option(
        "--rejoin-timeout", "rejoin_timeout_s", type=TIME,
        help="Longest wait for lost workers, if a round needs them.  [default: 1min]",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Dask: tcp://HOST:8786, its file, or local:N."),
)  # fmt: skip
# the options that say where the workers of a command run
takes_machines = together(
    click.option(
        "--cluster", "cluster_kind", type=click.Choice(CLUSTERS), metavar="KIND", default="local", show_default=True,
        help="Workers: local processes, inline (this process), or virtual (a simulated clock).",
    ),
    takes_remote_workers,
)  # fmt: skip
# the options that describe a cluster, all but ``--seed``
takes_cluster = together(
    click.option("--workers", default=16, show_default=True, help="Number of workers."),
    takes_machines,
    click.option("--delays", metavar="SPEC", default="none", show_default=True, help="Inject delays into the workers."),
    click.option("--round-timeout", "round_timeout_s", type=TIME, help="Longest time of a round.  [default: 10min]"),
)  # fmt: skip


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


FIELDS = {
    "speed": "multiplications_per_second",
    "bandwidth": "bytes_per_second",
    "latency": "latency_s",
    "message": "message_s",
    "cores": "cores",
}


def takes_machine(command: Command) -> Command:
    """Add ``--speed``, ``--bandwidth``, ``--latency`` and ``--message`` to a command, for `machine_from`."""
    options: dict[str, tuple[Any, str | None, str]] = {
        "speed": (float, None, f"Multiplications/s of a machine.  [default: {Machine.multiplications_per_second:g}]"),
        "worker-speeds": (
            str,
            "NxF,...",
            "Speed of each worker as a factor of --speed, like 10x1,10x0.5; repeated for more workers.",
        ),
        "bandwidth": (
            RATE,
            None,
            f"Rate of the master's link, shared by all messages.  [default: {RATE.written(Machine.bytes_per_second)}]",
        ),
        "latency": (TIME, None, f"Time of a message on its way.  [default: {TIME.written(Machine.latency_s)}]"),
        "message": (TIME, None, f"Time of the master for each message.  [default: {TIME.written(Machine.message_s)}]"),
    }
    for name, (kind, metavar, text) in reversed(options.items()):
        command = click.option(f"--{name}", type=kind, metavar=metavar, help=text)(command)
    return command


def machine_from(options: Mapping[str, Any], machine: Machine | None = None) -> Machine:
    """A machine with the values of the options, the default one for the others; `UsageError` for impossible speeds."""
    given = {field: options[name] for name, field in FIELDS.items() if options.get(name) is not None}
    if options.get("worker_speeds") is not None:
        given["worker_speeds"] = parse_worker_speeds(options["worker_speeds"])
    return replace(Machine() if machine is None else machine, **given)


def takes_iterations(command: Command) -> Command:
    """The options that say how many iterations of each solver are drawn where none is run."""
    for solver in reversed(SOLVERS.values()):
        command = click.option(
            f"--{solver.name}-iterations",
            default=solver.iterations,
            show_default=True,
            type=click.IntRange(1),
            help=f"Iterations that a fit by {solver.name} needs.",
        )(command)
    return command


def iterations_from(options: Mapping[str, Any]) -> dict[str, int]:
    """Iterations of each solver, as the options of `takes_iterations` say."""
    return typical_iterations(**{name: options[f"{name}_iterations"] for name in SOLVERS})
