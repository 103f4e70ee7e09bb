"""``coded-als worker``: one worker of a master, on this machine or another one."""

from __future__ import annotations

import os
import sys

import click

from coded_als.cli.common import SIZE
from coded_als.cli.help import CommandWithExamples
from coded_als.worker.blas_threads import blas_threads
from coded_als.worker.logs import LEVELS


@click.command(
    "worker", cls=CommandWithExamples,
    examples=(
        "coded-als worker --connect tcp://master:5555 --key-file worker-3.key",
        "ssh machine3 coded-als worker --connect tcp://master:5555 < worker-3.key",
    ),
)  # fmt: skip
@click.option("--connect", "endpoint", required=True, metavar="tcp://HOST:PORT", help="Address of the master.")
@click.option(
    "--key-file", default="-", show_default=True, metavar="FILE", help="Key file of this worker; - for stdin."
)
@click.option(
    "--id", "number", type=click.IntRange(0),
    help="Number of this worker.  [default: that of its key, or the first free one]",
)  # fmt: skip
@click.option(
    "--memory-limit", "memory_limit_bytes", type=SIZE, help="Most memory of this worker.  [default: no limit]"
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Number of BLAS threads.")
@click.option(
    "--log-level", type=click.Choice(LEVELS), metavar="LEVEL",
    help="Log from debug, info, warning or error on.  [default: warning, without times]",
)  # fmt: skip
@click.option("--log-json", is_flag=True, help="Log one JSON document a line.")
def command(
    endpoint: str,
    key_file: str,
    number: int | None,
    memory_limit_bytes: float | None,
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
    arguments += [] if memory_limit_bytes is None else ["--memory-limit", str(max(1, round(memory_limit_bytes / 1e6)))]
    arguments += [] if threads == 1 else ["--threads", str(threads)]
    arguments += [] if log_level is None else ["--log-level", log_level]
    arguments += ["--log-json"] if log_json else []
    # a process of its own: BLAS threads are counted before NumPy is imported, which this one has done
    os.execve(
        sys.executable,
        [sys.executable, "-m", "coded_als.worker", *arguments],
        {**os.environ, **blas_threads(threads)},
    )
