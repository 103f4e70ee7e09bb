"""Ranges of numbers and choices of words, as the command line has them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coded_als.errors import UsageError

# Of a grid: days of work, and still a table that can be held and read.
MOST_CELLS = 10_000


def parse_range(text: str, name: str, least: int = 1) -> tuple[int, ...]:
    """Whole numbers from ``2:6`` (both ends), ``10:50:10`` (with a step) or ``4,6,8``.

    Parameters
    ----------
    text
        The range.
    name
        Of the option, for messages.
    least
        The smallest number allowed.

    Raises
    ------
    UsageError
        For anything else, for a range upside down, and for numbers below ``least``.
    """
    match = re.fullmatch(r"(\d+):(\d+)(?::(\d+))?", text.strip())
    if match:
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if first > last or step < 1:
            raise UsageError(f"{name} must run upwards, like 2:6 or 10:50:10; got {text!r}. Turn it around.")
        if len(range(first, last + 1, step)) > MOST_CELLS:
            raise UsageError(f"{name} must be at most {MOST_CELLS} numbers; got {text!r}. Shorten it or add a step.")
        values = tuple(range(first, last + 1, step))
    elif re.fullmatch(r"\d+(,\d+)*", text.strip()):
        values = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    else:
        raise UsageError(f"{name} must be like 2:6, 10:50:10 or 4,6,8; got {text!r}. Correct it.")
    if min(values) < least:
        raise UsageError(f"{name} must be at least {least}; got {text!r}. Raise it.")
    return values


def parse_choices(text: str, name: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Comma-separated words, each one of ``allowed``.

    Parameters
    ----------
    text
        The words.
    name
        Of the option, for messages.
    allowed
        The words that there are.

    Raises
    ------
    UsageError
    """
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    wrong = [word for word in words if word not in allowed]
    if wrong:
        raise UsageError(f"{name} must be among {', '.join(allowed)}; got {wrong[0]!r}. Correct it.")
    return words
