"""One look at something that runs: plain texts that a terminal and a page show alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# the states of a line, the worst first; those of a round, by the letter that `Line.rounds` has for it
STATES = ("lost", "late", "in time")
ROUNDS = {"+": "counted", "x": "dropped or too late", "!": "lost", ".": "not yet known"}


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Parameters
    ----------
    cells
        One text for each heading.
    state
        Among `STATES`.
    rounds
        What became of the last rounds, a letter of `ROUNDS` for each; empty where that has no meaning.
    """

    cells: tuple[str, ...]
    state: str = "in time"
    rounds: str = ""


@dataclass(frozen=True)
class View:
    """What can be seen at one moment.

    Parameters
    ----------
    title
        What runs.
    facts
        Names and values, with units.
    headings, lines
        The table.
    fraction
        How much is done, from 0 to 1; None where nobody can tell.
    finished
        Whether it has ended.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    fraction: float | None = None
    finished: bool = False


class LiveStatus(Protocol):
    """Something that runs and can be looked at, from any thread."""

    def view(self) -> View:
        """What can be seen now."""
        ...

    def finish(self) -> None:
        """It has ended."""
        ...


def duration(seconds: float | None) -> str:
    """Seconds as people say them.

    Examples
    --------
    >>> duration(0.0312), duration(8.25), duration(200), duration(9000), duration(None)
    ('0.03 s', '8.2 s', '3 min 20 s', '2 h 30 min', 'not known yet')
    """
    if seconds is None:
        return "not known yet"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
