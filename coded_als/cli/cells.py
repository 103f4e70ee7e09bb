"""The progress of experiments that go cell by cell, on stderr, with the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cell_progress() -> Iterator[Callable[..., None]]:
    """A function that is told finished and all cells; silent when stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, row=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells,"),
        TimeElapsedColumn(),
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    # cells differ in size: the estimate looks back far
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        tasks: list[Any] = []

        def tell(done: int, total: int, _row: Any = None) -> None:
            # what an earlier run has finished tells nothing about the speed of this one
            if not tasks:
                tasks.append(bar.add_task("cells", total=total, completed=done))
            bar.update(tasks[0], completed=done)

        yield tell
