"""Reports of a running fit: a callback for each iteration, and a progress bar on terminals and in notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

# called after each iteration with the entry that it adds to history_: index, objective, seconds and what a model adds
Callback = Callable[[Any], None]


@contextmanager
def reporting(callback: Callback | None, progress: bool, name: str, iterations: int) -> Iterator[Callback]:
    """One function to tell of every iteration, for the length of a fit.

    Parameters
    ----------
    callback
        The user's, or None.
    progress
        Whether to draw a bar on stderr, or in the notebook (live with the extra ``notebook``).
    name
        What is fitted, for the bar.
    iterations
        The most that there will be.
    """
    if not progress:
        yield _silent if callback is None else callback
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    objective = TextColumn("{task.fields[objective]}")
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        # a notebook without widgets shows the bar once, at the end
        console = Console(stderr=True, force_jupyter=False)
    with Progress(*columns, objective, console=console) as bar:
        task = bar.add_task(name, total=iterations, objective="")

        def report(entry: Any) -> None:
            bar.update(task, completed=entry.index, objective=f"objective {entry.objective:.6g}")
            if callback is not None:
                callback(entry)

        yield report


def _silent(_entry: Any) -> None:
    """Nobody asked."""
