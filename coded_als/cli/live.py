"""The options ``--live`` and ``--serve``, and their views of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coded_als.cli.common import together
from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.als import CodedALS
    from coded_als.cluster import Cluster
    from coded_als.experiments.live.status import FitStatus
    from coded_als.experiments.live.view import LiveStatus


@dataclass(frozen=True)
class LiveOptions:
    """The options that `live_options` adds."""

    live: bool
    serve: str | None
    serve_token: Path | None

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port of ``--serve``; `UsageError` for anything else."""
        host, _, port = (self.serve or "").rpartition(":")
        if not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
            raise UsageError(f"--serve must be PORT or HOST:PORT, like 8080 or 0.0.0.0:8080; got {self.serve!r}.")
        return host or "127.0.0.1", int(port)

    @property
    def token(self) -> str:
        """The token in the file of ``--serve-token``; empty without one."""
        if self.serve_token is None:
            return ""
        try:
            token = self.serve_token.read_text().strip()
        except OSError as error:
            raise UsageError(
                f"--serve-token must be a readable file; got {self.serve_token}: {error.strerror}."
            ) from None
        if not token:
            raise UsageError(f"--serve-token must hold a token; got the empty file {self.serve_token}.")
        return token


live_options = together(
    click.option("--live", is_flag=True, help="Show workers, rounds and stragglers on stderr."),
    click.option(
        "--serve", metavar="[HOST:]PORT",
        help="Serve a page, /healthz, /status and /metrics; on 127.0.0.1 without a host.",
    ),
    click.option(
        "--serve-token", type=click.Path(path_type=Path),
        help="File with the token that readers must give; needed off this machine.",
    ),
)  # fmt: skip


@contextmanager
def displayed(status: LiveStatus, options: LiveOptions) -> Iterator[None]:
    """Show a status while the block runs."""
    with ExitStack() as stack:
        # both bring threads, and one of them sockets
        if options.serve is not None:
            from coded_als.experiments.live.server import served

            address = stack.enter_context(served(status, *options.address, options.token))
            click.echo(f"live view: {address}", err=True)
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
    from coded_als.experiments.live.status import watched

    with watched(model, shape, cluster) as status, displayed(status, options):
        yield status
