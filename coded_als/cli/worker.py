"""``coded-als worker``: one worker of a master, on this machine or another one."""

from __future__ import annotations

import os
import sys

import click

from coded_als.worker.blas_threads import blas_threads
from coded_als.worker.logs import LEVELS


@click.command("worker")
@click.option("--connect", "endpoint", required=True, metavar="tcp://HOST:PORT", help="Where the master listens.")
@click.option("--key-file", default="-", show_default=True, help="The file that admits this worker; - for stdin.")
@click.option(
    "--id", "number", type=click.IntRange(0), help="Its number.  [default: of its key, or the first free one]"
)
@click.option(
    "--memory-limit", "memory_limit_mb", type=click.IntRange(1), help="MB that it may hold.  [default: no limit]"
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="BLAS threads of its products.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    help="Log to stderr from this level on.  [default: warning, without times]",
)
@click.option("--log-json", is_flag=True, help="Log one JSON document a line.")
def command(
    endpoint: str,
    key_file: str,
    number: int | None,
    memory_limit_mb: int | None,
    threads: int,
    log_level: str | None,
    log_json: bool,
) -> None:
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
    arguments += [] if threads == 1 else ["--threads", str(threads)]
    arguments += [] if log_level is None else ["--log-level", log_level]
    arguments += ["--log-json"] if log_json else []
    # a process of its own: BLAS threads are counted before NumPy is imported, which this one has done
    os.execve(
        sys.executable,
        [sys.executable, "-m", "coded_als.worker", *arguments],
        {**os.environ, **blas_threads(threads)},
    )
