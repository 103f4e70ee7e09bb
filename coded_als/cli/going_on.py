"""The options ``--start``, ``--stop-on``, ``--validate`` and ``--patience``: fits that go on from a model, and that stop early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coded_als.cli.common import Command
from coded_als.errors import UsageError

if TYPE_CHECKING:
    from coded_als.cli.reading import ReadingOptions
    from coded_als.cli.summaries import FitSummary
    from coded_als.evaluation.search import EarlyStopping
    from coded_als.models.factor_model import FactorModel


def going_on_options(command: Command) -> Command:
    """Add ``--start``, ``--stop-on``, ``--validate`` and ``--patience`` to a command."""
    start = click.option(
        "--start",
        "start_from",
        type=click.Path(path_type=Path),
        metavar="MODEL",
        help="Go on from a saved model, ids matched.",
    )
    stop_on = click.option(
        "--stop-on",
        metavar="METRIC",
        help="End the fit when ndcg@10, recall@20, rmse, ... on the ratings of --validate gets no better, and keep the best "
        "iteration.",
    )
    validate = click.option("--validate", metavar="FILE", help="Ratings for --stop-on, read as RATINGS are.")
    patience = click.option(
        "--patience", type=click.IntRange(1), metavar="N", help="Iterations without a better figure.  [default: 3]"
    )
    return start(stop_on(validate(patience(command))))


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
        from coded_als.evaluation.search import EarlyStopping

        metric, _, length = self.stop_on.partition("@")
        if length and not length.isdecimal():
            raise UsageError(f"--stop-on must be a metric such as ndcg@10 or rmse; got {self.stop_on!r}.")
        patience = 3 if self.patience is None else self.patience
        validation = load_ratings(self.validate, **reading)
        chosen: Any = metric
        return GoingOn(start, EarlyStopping(validation, chosen, int(length or 10), patience))
