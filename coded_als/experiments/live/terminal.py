"""A look on the terminal, on stderr, renewed while something runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coded_als.experiments.live.view import STATES, Line, LiveStatus, View

COLOURS = {"lost": "red", "late": "yellow", "in time": "green"}
# what a letter of `Line.rounds` looks like
SQUARES = {"+": ("■", "green"), "x": ("□", "yellow"), "!": ("×", "red"), ".": ("·", "dim")}
# lines that the title, the facts and the headings take
OTHERS = 14
# column where the rounds begin
ROUNDS_AT = 62


def render(view: View, width: int = 100, height: int = 60) -> RenderableType:
    """The look: where there are too many rows those that are worst, and as many rounds as fit.

    Parameters
    ----------
    view
        What can be seen.
    width, height
        Columns and lines of the terminal.
    """
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
