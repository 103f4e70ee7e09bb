"""Common parts of the commands: JSON on stdout, progress on stderr, and help on SPECs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import click
import numpy as np
from click.core import ParameterSource

from coded_als.errors import UsageError

DELAY_SPECS = """\b
Delay SPECs (times carry a unit: us, ms, s or min; + adds delays up):
  none                                           as fast as the machine
  exp:mean=20ms                                  exponential
  shifted-exp:shift=5ms,mean=20ms                a constant, and an exponential tail of that mean
  uniform:low=1ms,high=9ms                       between two times
  pareto:scale=1ms,alpha=2                       heavy tail: P(delay > t) = (scale / t)^alpha
  lognormal:median=20ms,sigma=1                  a median, times e^x with x normal of that deviation
  normal-ops:mu=1e-10s,sigma=1e-9s               the paper's: mean and deviation per multiplication
  bimodal:p=0.2,fast=5ms,slow=1s                 slow with probability p, each worker in each round
  markov:fast=5ms,slow=1s,enter=0.05,leave=0.3   bursts: probabilities, per round, to turn slow and back
  slow:n=3,delay=30s                             always the same n workers are late
  dead:n=3                                       always the same n workers never respond
  slowdown:p=0.15,factor=5                       computes so many times slower with probability p, in each round
  slowdown-always:n=1,factor=3                   always the same n workers compute slower (below 1: faster, virtual clock only)
  slowdown-lognormal:sigma=0.5                   slower or faster by e^x, x normal of that deviation (faster: virtual clock only)
  slowdown-markov:factor=5,enter=0.05,leave=0.3  bursts of slow computing
  measured:lambda                                cloud functions, as published
  measured:lambda-outliers                       the same on a worse day
  measured:tail-at-scale                         servers that respond within milliseconds, as published
  measured:slow-machine                          one worker computes three times slower for good
  trace:FILE                                     a CSV of seconds, as fit --record-trace writes it
"""
CODE_SPECS = """\b
Code SPECs (an omitted parameter is chosen for the workers):
  uncoded                                        every block on one worker: waits for all
  hedged:quantile=0.95                           uncoded; the other holder of a block repeats a task later than this quantile
  speculative:after=0.75,times=1.5               uncoded; once 3/4 of the tasks are done, tasks later than 1.5 medians are repeated
  replicated:copies=2                            every block on so many workers
  systematic:p=21                                p blocks, and combinations of them: any p responses decode
  systematic:p=15,pieces=30                      each share in pieces: finished pieces of a slow worker count
  entangled:h=6                                  the paper's code, D cut h x h
  entangled:p=20,r=2                             the same, D cut p x r
  entangled:h=4,points=real                      evaluated at circle (default), real or equispaced points
"""


Command = TypeVar("Command", bound=Callable[..., Any])
OptionsOf = TypeVar("OptionsOf")


def picked(kind: type[OptionsOf], given: Mapping[str, Any]) -> OptionsOf:
    """A dataclass of some of the options that a command was given, by their names."""
    return kind(**{name: given[name] for name in names_of(kind)})


def names_of(*kinds: Any) -> set[str]:
    """The fields of dataclasses."""
    return {field.name for kind in kinds for field in fields(kind)}


def is_typed(context: click.Context, name: str) -> bool:
    """Whether the user typed an option."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse_typed(context: click.Context, names: Collection[str], rule: str, place: str) -> None:
    """Refuse options that would be ignored; `UsageError` for the first of them that the user typed."""
    for option in context.command.params:
        if option.name in names and is_typed(context, option.name):
            raise UsageError(f"{max(option.opts, key=len)} {rule}; got it with {place}. Remove it.")


def choice(
    option: str, values: Sequence[str], default: str | None = None, *, help: str, name: str | None = None
) -> Callable[[Command], Command]:
    """An option that takes one of some words, and shows its default."""
    words, names = click.Choice(values), (option, *([] if name is None else [name]))
    return click.option(*names, type=words, default=default, show_default=default is not None, help=help)


class BlockWidth(click.ParamType):  # type: ignore[type-arg]
    """``auto``, or a whole number of columns."""

    name = "block"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return "auto" if value == "auto" else click.IntRange(1).convert(value, param, ctx)


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
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

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
    with Bar(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        tasks: list[Any] = []

        def tell(done: int, total: int, _row: Any = None) -> None:
            # cells of an earlier run say nothing about the speed of this one
            if not tasks:
                tasks.append(bar.add_task("cells", total=total, completed=done))
            bar.update(tasks[0], completed=done)

        yield tell
