"""Views of a status: its state now, and the same as text that is redrawn on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coded_als.experiments.live.monitoring import Figure

# the states of a line, the worst first; those of a round, by the letter that `Line.rounds` has for it
STATES = ("lost", "late", "in time")
ROUNDS = {"+": "counted", "x": "dropped or too late", "!": "lost", ".": "not yet known"}
COLOURS = {"lost": "red", "late": "yellow", "in time": "green"}
# sign and colour of each letter of `Line.rounds`
SQUARES = {"+": ("■", "green"), "x": ("□", "yellow"), "!": ("×", "red"), ".": ("·", "dim")}
# lines that the title, the facts and the headings take
OTHERS = 14
# column where the rounds begin
ROUNDS_AT = 62


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    cells: tuple[str, ...]  # one text for each heading
    state: str = "in time"  # among `STATES`
    rounds: str = ""  # a letter of `ROUNDS` for each of the last rounds; empty for a line without rounds


@dataclass(frozen=True)
class View:
    """The state of a run at one moment."""

    title: str
    facts: tuple[tuple[str, str], ...]  # names and values, with units
    headings: tuple[str, ...]
    lines: tuple[Line, ...]
    fraction: float | None = None  # done, from 0 to 1; None while it is unknown
    finished: bool = False  # whether it has ended


class LiveStatus(Protocol):
    """Something that runs and can be looked at, from any thread."""

    def view(self) -> View:
        """The state now."""
        ...

    def figures(self) -> list[Figure]:
        """The state now in numbers."""
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


def render(view: View, width: int = 100, height: int = 60) -> RenderableType:
    """The look: where there are too many rows those that are worst, and as many rounds as fit."""
    facts = Table.grid(padding=(0, 2))
    for name, value in view.facts:
        facts.add_row(Text(name, style="dim"), value)
    if view.fraction is not None:
        facts.add_row(Text("done", style="dim"), ProgressBar(total=1.0, completed=view.fraction, width=40))
    table = Table(*view.headings, box=None, pad_edge=False, header_style="dim")
    shown = _worst(view.lines, max(3, height - OTHERS))
    for line in shown:
        cells = [Text(cell, style=COLOURS[line.state] if cell == line.state else "") for cell in line.cells]
        squares = Text.assemble(*(SQUARES[letter] for letter in line.rounds[-max(5, width - ROUNDS_AT) :]))
        table.add_row(*cells, *([squares] if line.rounds else []))
    parts: list[RenderableType] = [Text(view.title, style="bold"), facts, table]
    if len(shown) < len(view.lines):
        parts.append(Text(f"and {len(view.lines) - len(shown)} more", style="dim"))
    return Group(*parts)


def _worst(lines: tuple[Line, ...], most: int) -> list[Line]:
    """So many of the lines, in their order."""
    if len(lines) <= most:
        return list(lines)
    chosen = sorted(range(len(lines)), key=lambda place: STATES.index(lines[place].state))[:most]
    return [lines[place] for place in sorted(chosen)]


@contextmanager
def on_the_terminal(status: LiveStatus) -> Iterator[None]:
    """Show a status on stderr while the block runs; where that is no terminal, show how it ended."""
    console = Console(stderr=True)

    def look() -> RenderableType:
        return render(status.view(), console.width, console.height)

    with Live(get_renderable=look, console=console, refresh_per_second=6):
        yield
    if not console.is_terminal:
        console.line()
