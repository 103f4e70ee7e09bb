"""``coded-als keys``: key files for a master and its workers."""

from __future__ import annotations

import click


@click.command("keys")
@click.argument("folder", type=click.Path())
@click.option("--workers", default=16, show_default=True, help="Workers W: a key for each.")
def command(folder: str, workers: int) -> None:
    """Write keys into FOLDER: master.key, and worker-0.key, worker-1.key, ... to copy to the workers' machines.

    A master with them (`RemoteCluster(..., keys=FOLDER)`) admits only workers that have one of these files, each under
    its own number. Everything is encrypted. The files are readable for their owner alone: keep them so.
    """
    # ZeroMQ makes them, and is imported by no other command that needs none
    from coded_als.master.key_files import make_keys

    master, *others = make_keys(folder, workers)
    click.echo(f"wrote {master} and {len(others)} files for workers, from {others[0]} on")
    click.echo("next, on each worker's machine: coded-als worker --connect tcp://MASTER:PORT --key-file worker-N.key")
