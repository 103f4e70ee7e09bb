"""The options ``--live`` and ``--serve``, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.common import Command

if TYPE_CHECKING:
    from coded_als.als import CodedALS
    from coded_als.cluster import Cluster
    from coded_als.experiments.live.status import FitStatus
    from coded_als.experiments.live.view import LiveStatus


def live_options(command: Command) -> Command:
    """Add ``--live`` and ``--serve`` to a command."""
    live = click.option("--live", is_flag=True, help="Show workers, rounds, who is late and the time left on stderr.")
    serve = click.option(
        "--serve",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Serve the same as a page on 127.0.0.1; 0 takes any free port.",
    )
    return live(serve(command))


@contextmanager
def displayed(status: LiveStatus, *, live: bool, serve: int | None) -> Iterator[None]:
    """Show a status while the block runs, as asked for."""
    with ExitStack() as stack:
        # both bring threads, and one of them sockets
        if serve is not None:
            from coded_als.experiments.live.server import on_loopback

            click.echo(f"live view: {stack.enter_context(on_loopback(status, serve))}", err=True)
        if live:
            from coded_als.experiments.live.view import on_the_terminal

            stack.enter_context(on_the_terminal(status))
        try:
            yield
        finally:
            status.finish()


@contextmanager
def looked_at(
    model: CodedALS, shape: tuple[int, int], cluster: Cluster, options: Mapping[str, Any]
) -> Iterator[FitStatus | None]:
    """What a fit on this cluster shows while the block runs; None where neither option was given."""
    if not options["live"] and options["serve"] is None:
        yield None
        return
    from coded_als.experiments.live.status import FitStatus

    title = f"{shape[0]} x {shape[1]} matrix, rank {model.rank}, {cluster.size} workers"
    clock = "virtual" if cluster.virtual else "wall"
    status = FitStatus(title, cluster.size, model.tolerance, model.iterations, cluster.seconds, clock)
    cluster.observers.append(status.event)
    with displayed(status, live=options["live"], serve=options["serve"]):
        yield status
