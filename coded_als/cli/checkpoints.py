"""The options ``--checkpoint``, ``--checkpoint-every`` and ``--resume``, and fits that Ctrl-C ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.common import Command
from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.models.checkpoint import Checkpoint

# the exit code of what SIGINT ended, as shells have it
INTERRUPTED = 130


def checkpoint_options(command: Command) -> Command:
    """Add ``--checkpoint``, ``--checkpoint-every`` and ``--resume`` to a command."""
    folder = click.option(
        "--checkpoint",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Keep the state of the fit in this folder, so that an interrupted one can go on.",
    )
    every = click.option("--checkpoint-every", type=int, metavar="N", help="Keep it every N iterations.  [default: 1]")
    resume = click.option("--resume", is_flag=True, help="Go on from what --checkpoint holds, if it holds something.")
    return folder(every(resume(command)))


def take_checkpoint(options: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint that the options ask for; they are taken out.

    Raises UsageError for options without a folder.
    """
    folder, every, resume = (options.pop(name) for name in ("checkpoint", "checkpoint_every", "resume"))
    if folder is not None:
        from coded_als.models.checkpoint import Checkpoint

        return Checkpoint(folder, every=1 if every is None else every, resume=resume)
    for option, given in {"--checkpoint-every": every is not None, "--resume": resume}.items():
        if given:
            raise UsageError(f"{option} must come with --checkpoint FOLDER; got it alone. Add the folder.")
    return None


@contextmanager
def interruptible(checkpoint: Checkpoint | None) -> Iterator[None]:
    """A fit: Ctrl-C ends it with exit code 130 and one line that says where it is and how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(_said(checkpoint), err=True)
        sys.exit(INTERRUPTED)


def _said(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "Interrupted; nothing was saved. Add --checkpoint FOLDER to a fit that is to go on where it was."
    if checkpoint.iteration is None:
        return f"Interrupted before anything new was saved to {checkpoint.store}. Run it with --resume to go on."
    from coded_als.models.checkpoint_store import LATEST

    return (
        f"Interrupted after iteration {checkpoint.iteration}; the factors so far are in {checkpoint.store}/{LATEST}. "
        "Run the same with --resume to go on; --iterations "
        f"{max(checkpoint.iteration, 1)} makes a model of what there is."
    )
