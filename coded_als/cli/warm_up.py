"""``coded-als warm-up``: compile the loops of the sparse methods beforehand."""

from __future__ import annotations

import time

import click

from coded_als.cli.common import progress
from coded_als.cli.help import CommandWithExamples


@click.command(
    "warm-up", cls=CommandWithExamples,
    examples=(
        "coded-als warm-up",
        "NUMBA_CACHE_DIR=/var/cache/numba coded-als warm-up",
    ),
)  # fmt: skip
def command() -> None:
    """Compile the loops of the sparse methods, and keep the machine code for later processes.

    Without it, the first fit and the first new user of an installation wait for the compiler. In a container image, run
    it as the user that will fit, or with the same NUMBA_CACHE_DIR.
    """
    started = time.perf_counter()
    with progress("compiling") as line:
        # numba takes a second to load
        from coded_als.baselines.every_loop import warm_up

        folder = warm_up(lambda name: line.say(f"compiling {name}"))
    done = f"all loops are compiled, in {time.perf_counter() - started:.1f} s"
    if folder is None:
        click.echo(f"{done}; they are kept nowhere. Set NUMBA_CACHE_DIR to a folder that only you can write to.")
        raise SystemExit(1)
    click.echo(f"{done}; they are kept in {folder}")
