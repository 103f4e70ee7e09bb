"""``coded-als keys``: key files for a master and its workers."""

from __future__ import annotations

import click

from coded_als.cli.help import CommandWithExamples


@click.command(
    "keys", cls=CommandWithExamples,
    examples=(
        "coded-als keys keys/ --workers 20",
        "scp keys/worker-3.key machine3:",
    ),
)  # fmt: skip
@click.argument("folder", type=click.Path())
@click.option("--workers", default=16, show_default=True, help="Number of workers; each gets a key.")
def command(folder: str, workers: int) -> None:
    """Make keys for a master and remote workers.

    FOLDER gets master.key, and worker-0.key, worker-1.key, ... to copy to the machines of the workers.

    A master with them (`RemoteCluster(..., keys=FOLDER)`) admits only workers that have one of these files, each under
    its own number. Everything is encrypted. The files are readable for their owner alone: keep them so.
    """
    # ZeroMQ makes them, and is imported by no other command that needs none
    from coded_als.master.key_files import make_keys

    master, *others = make_keys(folder, workers)
    click.echo(f"wrote {master} and {len(others)} files for workers, from {others[0]} on")
    click.echo("next, on each worker's machine: coded-als worker --connect tcp://MASTER:PORT --key-file worker-N.key")
