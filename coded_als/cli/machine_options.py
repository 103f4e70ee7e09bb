"""Options that describe master, workers and their link, amounts of memory, and the iterations that are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from coded_als.cli.common import Command
from coded_als.cluster.machine import Machine, parse_worker_speeds
from coded_als.errors import UsageError
from coded_als.planner.solvers import SOLVERS, typical_iterations

UNITS = {"": 1.0, "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
FIELDS = {
    "speed": "multiplications_per_second",
    "bandwidth": "bytes_per_second",
    "latency": "latency_s",
    "message": "message_s",
    "cores": "cores",
}


def takes_machine(command: Command) -> Command:
    """Add ``--speed``, ``--bandwidth``, ``--latency`` and ``--message`` to a command, for `machine_from`."""
    helps = {
        "speed": f"Multiplications/s.  [default: {Machine.multiplications_per_second:g}]",
        "bandwidth": "Bytes/s of the master's link, which all messages share.  "
        f"[default: {Machine.bytes_per_second:g}]",
        "latency": f"Seconds of any message.  [default: {Machine.latency_s:g}]",
        "message": f"Seconds of the master for each message.  [default: {Machine.message_s:g}]",
    }
    command = click.option(
        "--worker-speeds",
        metavar="NxF,...",
        help="Speed of each worker as a factor of --speed, like 10x1,10x0.5; starts over where the workers are more.",
    )(command)
    for name in reversed(helps):
        command = click.option(f"--{name}", type=float, help=helps[name])(command)
    return command


def machine_from(options: Mapping[str, Any], machine: Machine | None = None) -> Machine:
    """A machine with the values of the options, the default one for the others; `UsageError` for impossible speeds."""
    given = {field: options[name] for name, field in FIELDS.items() if options.get(name) is not None}
    if options.get("worker_speeds") is not None:
        given["worker_speeds"] = parse_worker_speeds(options["worker_speeds"])
    return replace(Machine() if machine is None else machine, **given)


def parse_bytes(text: str, option: str, like: str = "500MB or 2GB") -> float:
    """Bytes from ``500MB``; `UsageError` for anything else."""
    match = re.fullmatch(r"([0-9.]+)\s*([A-Za-z]*)", text.strip())
    try:
        if match is None:
            raise ValueError(text)
        return float(match[1]) * UNITS[match[2]]
    except (ValueError, KeyError):
        raise UsageError(f"{option} must be like {like}; got {text!r}. Correct it.") from None


def takes_iterations(command: Command) -> Command:
    """The options that say how many iterations of each solver are drawn where none is run."""
    for solver in reversed(SOLVERS.values()):
        command = click.option(
            f"--{solver.name}-iterations",
            default=solver.iterations,
            show_default=True,
            type=click.IntRange(1),
            help=f"Iterations that a fit by {solver.name} is taken to need.",
        )(command)
    return command


def iterations_from(options: Mapping[str, Any]) -> dict[str, int]:
    """Iterations of each solver, as the options of `takes_iterations` say."""
    return typical_iterations(**{name: options[f"{name}_iterations"] for name in SOLVERS})
