"""The options ``--log-level`` and ``--log-json``."""

from __future__ import annotations

from typing import Any

import click

from coded_als.cli.common import Command
from coded_als.worker.logs import LEVELS, start_logging

_AS_JSON = "coded_als.log_json"


def takes_logging(command: Command) -> Command:
    """Add ``--log-level`` and ``--log-json`` to a command; they take effect before it runs."""
    level = click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        callback=_start,
        expose_value=False,
        metavar="LEVEL",
        help="Log from debug, info, warning or error on.  [default: warning, without times]",
    )
    as_json = click.option(
        "--log-json",
        is_flag=True,
        is_eager=True,
        callback=lambda context, _, value: context.meta.__setitem__(_AS_JSON, value),
        expose_value=False,
        help="Log one JSON document a line.",
    )
    return level(as_json(command))


def _start(context: click.Context, _: Any, level: str | None) -> None:
    as_json: bool = context.meta[_AS_JSON]
    if level is not None or as_json:
        start_logging(level or "warning", as_json)
