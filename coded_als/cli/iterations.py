"""The options of commands that draw the times of fits instead of running them."""

from __future__ import annotations

from dataclasses import fields

import click

from coded_als.als.timing import Iterations
from coded_als.cli.common import Command


def takes_iterations(command: Command) -> Command:
    """The options that say how many iterations of each solver are drawn where none is run."""
    for solver in reversed(fields(Iterations)):
        command = click.option(
            f"--{solver.name}-iterations",
            default=solver.default,
            show_default=True,
            type=click.IntRange(1),
            help=f"Iterations that a fit by {solver.name} is taken to need.",
        )(command)
    return command
