"""Options of fits that go on and that end early.

``--checkpoint``, ``--checkpoint-every`` and ``--resume`` keep the state of a fit, and ``--start`` takes that of a model;
``--stop-on``, ``--validate`` and ``--patience`` end a fit, and Ctrl-C does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.common import together
from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.cli.reading import ReadingOptions
    from coded_als.cli.summaries import FitSummary
    from coded_als.evaluation.search import EarlyStopping
    from coded_als.models.checkpoint import Checkpoint
    from coded_als.models.factor_model import FactorModel

# the exit code of a process that SIGINT ended, as in shells
INTERRUPTED = 130


checkpoint_options = together(
    click.option(
        "--checkpoint", type=click.Path(path_type=Path), metavar="FOLDER",
        help="Save the state of the fit here, for --resume.",
    ),
    click.option("--checkpoint-every", type=int, metavar="N", help="Keep it every N iterations.  [default: 1]"),
    click.option("--resume", is_flag=True, help="Continue from the state in --checkpoint, if any."),
)  # fmt: skip


@dataclass(frozen=True)
class CheckpointOptions:
    """The options that `checkpoint_options` adds."""

    checkpoint: Path | None
    checkpoint_every: int | None
    resume: bool

    def open(self) -> Checkpoint | None:
        """The checkpoint in the folder, None without one."""
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


going_on_options = together(
    click.option(
        "--start", "start_from", type=click.Path(path_type=Path), metavar="MODEL",
        help="Go on from a saved model, ids matched.",
    ),
    click.option(
        "--stop-on", metavar="METRIC",
        help="End the fit when ndcg@10, recall@20, rmse, ... on the ratings of --validate gets no better, and keep the best "
        "iteration.",
    ),
    click.option("--validate", metavar="FILE", help="Ratings for --stop-on, read as RATINGS are."),
    click.option(
        "--patience", type=click.IntRange(1), metavar="N", help="Iterations without a better figure.  [default: 3]"
    ),
)  # fmt: skip


@dataclass(frozen=True)
class GoingOn:
    """The start of a fit, and the callback that may end it."""

    start: FactorModel | None
    stop: EarlyStopping | None

    def callbacks(self, report: Callable[[Any], None]) -> list[Callable[..., Any]]:
        """All callbacks of the fit."""
        return [report] if self.stop is None else [report, self.stop]

    def summary(self) -> FitSummary:
        """The part of a summary that tells of early stopping."""
        if self.stop is None or self.stop.best_iteration is None:
            return {}
        return {"best_iteration": self.stop.best_iteration, "validation": self.stop.best}


@dataclass(frozen=True)
class GoingOnOptions:
    """The options that `going_on_options` adds."""

    start_from: Path | None
    stop_on: str | None
    validate: str | None
    patience: int | None

    def require(self, resume: bool) -> None:
        """Raise `UsageError` for options that contradict each other."""
        if self.start_from is not None and resume:
            raise UsageError(
                "--start and --resume must not be given together; got both. Leave --start out: the checkpoint has gone on "
                "from it."
            )
        if (self.stop_on is None) != (self.validate is None) or (self.patience is not None and self.stop_on is None):
            raise UsageError(
                "--stop-on must come with --validate, and --patience with both; got one alone. "
                "Write --stop-on ndcg@10 --validate FILE."
            )

    def inputs(self) -> dict[str, str]:
        """The files that are read, with their roles."""
        named = {str(self.start_from): "the start", str(self.validate): "the validation part"}
        return {path: role for path, role in named.items() if path != "None"}

    def read(self, reading: ReadingOptions) -> GoingOn:
        """Read the model and the validation part."""
        start = None
        if self.start_from is not None:
            from coded_als.models.persistence import load_model

            start = load_model(self.start_from)
        if self.stop_on is None or self.validate is None:
            return GoingOn(start, None)
        from coded_als.data import load_ratings
        from coded_als.evaluation.search import ERRORS, LISTS, EarlyStopping

        metric, _, length = self.stop_on.partition("@")
        if metric not in (*LISTS, *ERRORS) or not re.fullmatch("([1-9][0-9]*)?", length):
            known = ", ".join((*LISTS, *ERRORS))
            raise UsageError(f"--stop-on must be a metric such as ndcg@10, of {known}; got {self.stop_on!r}.")
        patience = 3 if self.patience is None else self.patience
        validation = load_ratings(self.validate, **reading)
        chosen: Any = metric
        return GoingOn(start, EarlyStopping(validation, chosen, int(length or 10), patience))
