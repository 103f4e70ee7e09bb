"""Options that say how figures are drawn: their width, and rcParams of matplotlib."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager

import click

from coded_als.cli.common import Command
from coded_als.errors import UsageError

INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}


def takes_style(command: Command) -> Command:
    """Add ``--width`` and ``--rc`` to a command, for `style_from`."""
    width = click.option("--width", metavar="LENGTH", help="Width of figures with its unit: 3.4in, 86mm or 246pt.")
    rc = click.option(
        "--rc", multiple=True, metavar="KEY=VALUE", help="Set an rcParam of matplotlib: font.size=8; may be repeated."
    )
    return width(rc(command))


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
