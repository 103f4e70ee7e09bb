"""The options ``--checkpoint``, ``--checkpoint-every`` and ``--resume``, and fits that Ctrl-C ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coded_als.cli.common import Command
from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.models.checkpoint import Checkpoint

# the exit code of a process that SIGINT ended, as in shells
INTERRUPTED = 130


def checkpoint_options(command: Command) -> Command:
    """Add ``--checkpoint``, ``--checkpoint-every`` and ``--resume`` to a command."""
    folder = click.option(
        "--checkpoint",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Save the state of the fit here, for --resume.",
    )
    every = click.option("--checkpoint-every", type=int, metavar="N", help="Keep it every N iterations.  [default: 1]")
    resume = click.option("--resume", is_flag=True, help="Continue from the state in --checkpoint, if any.")
    return folder(every(resume(command)))


@dataclass(frozen=True)
class CheckpointOptions:
    """The options that `checkpoint_options` adds."""

    checkpoint: Path | None
    checkpoint_every: int | None
    resume: bool

    def open(self) -> Checkpoint | None:
        """The checkpoint in the folder, None without one.

        Raises UsageError for other options without a folder.
        """
        if self.checkpoint is not None:
            from coded_als.models.checkpoint import Checkpoint

            every = 1 if self.checkpoint_every is None else self.checkpoint_every
            return Checkpoint(self.checkpoint, every=every, resume=self.resume)
        for option, given in {"--checkpoint-every": self.checkpoint_every is not None, "--resume": self.resume}.items():
            if given:
                raise UsageError(f"{option} must come with --checkpoint FOLDER; got it alone. Add the folder.")
        return None


@contextmanager
def interruptible(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Run a fit; Ctrl-C ends it with exit code 130 and one line that names its checkpoint and the next command."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(_interrupted(checkpoint), err=True)
        sys.exit(INTERRUPTED)


def _interrupted(checkpoint: Checkpoint | None) -> str:
    if checkpoint is None:
        return "Interrupted; nothing was saved. Add --checkpoint FOLDER to a fit that is to go on where it was."
    if checkpoint.iteration is None:
        return f"Interrupted before anything new was saved to {checkpoint.store}. Run it with --resume to go on."
    from coded_als.models.checkpoint_store import LATEST

    return (
        f"Interrupted after iteration {checkpoint.iteration}; the factors so far are in {checkpoint.store}/{LATEST}. "
        "Run the same with --resume to go on; --iterations "
        f"{max(checkpoint.iteration, 1)} makes a model of the factors so far."
    )
