"""The options ``--live`` and ``--serve``, and their views of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from coded_als.cli.common import Command

if TYPE_CHECKING:
    from coded_als.als import CodedALS
    from coded_als.cluster import Cluster
    from coded_als.experiments.live.status import FitStatus
    from coded_als.experiments.live.view import LiveStatus


@dataclass(frozen=True)
class LiveOptions:
    """The options that `live_options` adds."""

    live: bool
    serve: int | None


def live_options(command: Command) -> Command:
    """Add ``--live`` and ``--serve`` to a command."""
    live = click.option("--live", is_flag=True, help="Show workers, rounds, stragglers and the time left on stderr.")
    serve = click.option(
        "--serve",
        type=click.IntRange(0, 65535),
        metavar="PORT",
        help="Serve the same as a page on 127.0.0.1; 0 takes any free port.",
    )
    return live(serve(command))


@contextmanager
def displayed(status: LiveStatus, options: LiveOptions) -> Iterator[None]:
    """Show a status while the block runs."""
    with ExitStack() as stack:
        # both bring threads, and one of them sockets
        if options.serve is not None:
            from coded_als.experiments.live.server import on_loopback

            click.echo(f"live view: {stack.enter_context(on_loopback(status, options.serve))}", err=True)
        if options.live:
            from coded_als.experiments.live.view import on_the_terminal

            stack.enter_context(on_the_terminal(status))
        try:
            yield
        finally:
            status.finish()


@contextmanager
def live_view(
    model: CodedALS, shape: tuple[int, int], cluster: Cluster, options: LiveOptions
) -> Iterator[FitStatus | None]:
    """The status of a fit on this cluster, shown while the block runs; None without either option."""
    if not options.live and options.serve is None:
        yield None
        return
    from coded_als.experiments.live.status import FitStatus

    title = f"{shape[0]} x {shape[1]} matrix, rank {model.rank}, {cluster.size} workers"
    clock = "virtual" if cluster.virtual else "wall"
    status = FitStatus(title, cluster.size, model.tolerance, model.iterations, cluster.seconds, clock)
    cluster.observers.append(status.event)
    with displayed(status, options):
        yield status
