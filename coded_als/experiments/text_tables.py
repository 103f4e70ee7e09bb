"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO


def as_text(headings: Sequence[str], body: Sequence[Sequence[str]], *, first_left: bool = False) -> str:
    """Columns under their headings, aligned to the right; the first to the left where it holds names."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if first_left and index == 0 else "right", no_wrap=True)
    for row in body:
        table.add_row(*row)
    written = StringIO()
    # as wide as it needs: a table in a file is not folded at the width of a terminal
    Console(file=written, width=10_000, color_system=None, markup=False, highlight=False).print(table)
    return written.getvalue().rstrip("\n")
