"""``coded-als worker``: one worker of a master, on this machine or another one."""

from __future__ import annotations

import os
import sys

import click

from coded_als.worker.blas_threads import ONE_BLAS_THREAD


@click.command("worker")
@click.option("--connect", "endpoint", required=True, metavar="tcp://HOST:PORT", help="Where the master listens.")
@click.option("--key-file", default="-", show_default=True, help="The file that admits this worker; - for stdin.")
@click.option(
    "--id", "number", type=click.IntRange(0), help="Its number.  [default: of its key, or the first free one]"
)
@click.option(
    "--memory-limit", "memory_limit_mb", type=click.IntRange(1), help="MB that it may hold.  [default: no limit]"
)
def command(endpoint: str, key_file: str, number: int | None, memory_limit_mb: int | None) -> None:
    """Connect to a master, keep shares of a matrix and multiply, until the master ends.

    Workers may join at any time: one that takes the place of another is given its shares.
    """
    if key_file == "-" and sys.stdin.isatty():
        click.echo(
            "waiting for the key on stdin: paste the lines of a key file and press Ctrl-D, or give --key-file FILE",
            err=True,
        )
    arguments = ["--endpoint", endpoint, "--key-file", key_file]
    arguments += [] if number is None else ["--id", str(number)]
    arguments += [] if memory_limit_mb is None else ["--memory-limit", str(memory_limit_mb)]
    # a process of its own: BLAS threads are counted before NumPy is imported, which this one has done
    os.execve(
        sys.executable,
        [sys.executable, "-m", "coded_als.worker", *arguments],
        {**os.environ, **ONE_BLAS_THREAD},
    )
