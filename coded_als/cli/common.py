"""Common parts of the commands: clusters by name, JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import numpy as np

Command = TypeVar("Command", bound=Callable[..., Any])


def print_json(document: Mapping[str, Any], *, compact: bool = False) -> None:
    """One JSON document on stdout, in one line where it is to be compact; numbers that JSON lacks become null."""
    click.echo(json.dumps(_plain(document), indent=None if compact else 2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


class Progress:
    """A line on stderr that follows the iterations."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def say(self, text: str) -> None:
        """Replace the line."""
        if self._status is not None:
            self._status.update(text)

    def iteration(self, entry: Any) -> None:
        """Callback of every ``fit``."""
        known = getattr(entry, "remaining", None)
        distance = "" if known is None else f", within {known:.1e} of the optimum"
        self.say(f"iteration {entry.index}: objective {entry.objective:.10g}{distance}")


@contextmanager
def progress(text: str) -> Iterator[Progress]:
    """Show progress while the block runs; silent when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield Progress(status)
