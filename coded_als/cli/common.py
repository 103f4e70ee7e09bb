"""Common parts of the commands: JSON on stdout, progress and logs on stderr, types of options, and looks of figures."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import click
import numpy as np
from click.core import ParameterSource

from coded_als.delays.models import UNITS_S
from coded_als.errors import UsageError
from coded_als.worker.logs import LEVELS, start_logging

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


def together(*options: Any) -> Callable[[Command], Command]:
    """One decorator that adds several options, in this order."""
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def choice(
    option: str,
    values: Sequence[str],
    default: str | None = None,
    *,
    help: str,
    name: str | None = None,
    metavar: str | None = None,
) -> Callable[[Command], Command]:
    """An option that takes one of some words, and shows its default."""
    words, names = click.Choice(values), (option, *([] if name is None else [name]))
    shown = default is not None
    return click.option(*names, type=words, default=default, show_default=shown, help=help, metavar=metavar)


class WithUnit(click.ParamType):  # type: ignore[type-arg]
    """A number with a unit, as the number of the smallest unit's base: seconds, bytes or bytes/s.

    A number without a unit is refused: nobody can tell whether 5 means seconds or milliseconds. Zero needs none.
    """

    def __init__(self, name: str, units: Mapping[str, float], noun: str, like: str) -> None:
        self.name, self._units, self._noun, self._like = name, units, noun, like

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        number, unit = _NUMBER.fullmatch(value.strip()), ""
        if number is not None:
            unit = number[2]
            if unit in self._units or (not unit and float(number[1]) == 0):
                return float(number[1]) * self._units.get(unit, 1.0)
        option = "this option" if param is None else max(param.opts, key=len)
        raise UsageError(f"{option} must be {self._noun} with its unit, like {self._like}; got {value!r}.")

    def written(self, value: float) -> str:
        """A value in the largest unit that leaves it at 1 or more: 0.0001 s is ``100us``."""
        unit = max((unit for unit in self._units if self._units[unit] <= value), key=self._units.__getitem__)
        return f"{value / self._units[unit]:g}{unit}"


_NUMBER = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z/]*)")
_BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TIME = WithUnit("TIME", {**UNITS_S, "h": 3600.0}, "a time", "20ms or 1s")
SIZE = WithUnit("SIZE", _BYTES, "an amount of memory", "500MB or 2GB")
RATE = WithUnit("RATE", {unit + per: scale for unit, scale in _BYTES.items() for per in ("/s", "")}, "a rate", "1GB/s")


class BlockWidth(click.ParamType):  # type: ignore[type-arg]
    """``auto``, or a whole number of columns."""

    name = "block"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto":
            return "auto"
        if not str(value).isdecimal() or int(value) < 1:
            raise UsageError(f"--block must be auto or a whole number of at least 1; got {value!r}.")
        return int(value)


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


_AS_JSON = "coded_als.log_json"


def _start(context: click.Context, _: Any, level: str | None) -> None:
    as_json: bool = context.meta[_AS_JSON]
    if level is not None or as_json:
        start_logging(level or "warning", as_json)


# they take effect before the command runs
takes_logging = together(
    click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        callback=_start,
        expose_value=False,
        metavar="LEVEL",
        help="Log from debug, info, warning or error on.  [default: warning, without times]",
    ),
    click.option(
        "--log-json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        help="Log one JSON document a line.",
        callback=lambda context, _, value: context.meta.__setitem__(_AS_JSON, value),
    ),
)


INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}


# options for `style_from`
takes_style = together(
    click.option("--width", metavar="LENGTH", help="Width of figures with its unit: 3.4in, 86mm or 246pt."),
    click.option(
        "--rc", multiple=True, metavar="KEY=VALUE", help="Set an rcParam of matplotlib: font.size=8; may be repeated."
    ),
)  # fmt: skip


def style_from(width: str | None, rc: tuple[str, ...]) -> AbstractContextManager[None]:
    """The block in which figures are drawn as the options say; `UsageError` for options that cannot be read."""
    from coded_als.experiments.report.canvas import drawn_as

    pairs = [text.partition("=") for text in rc]
    wrong = [text for text, (key, _, value) in zip(rc, pairs, strict=True) if not key or not value]
    if wrong:
        raise UsageError(f"--rc must be KEY=VALUE; got {wrong[0]!r}. Write --rc font.size=8, say.")
    return drawn_as(None if width is None else _inches(width), {key.strip(): value.strip() for key, _, value in pairs})


def _inches(text: str) -> float:
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", text.strip())
    if match is None or match[2] not in INCHES:
        raise UsageError(f"--width must be a length like 3.4in, 86mm or 246pt; got {text!r}.")
    return float(match[1]) * INCHES[match[2]]
