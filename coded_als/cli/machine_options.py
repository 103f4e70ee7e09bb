"""Options that describe master, workers and their link, and the iterations that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from coded_als.cli.common import RATE, TIME, Command
from coded_als.cluster.machine import Machine, parse_worker_speeds
from coded_als.planner.solvers import SOLVERS, typical_iterations

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
