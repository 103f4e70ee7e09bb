"""Text of fixed width: tables for the terminal, in Markdown and comma-separated, and commands in several lines."""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any


def as_text(
    headings: Sequence[str], body: Sequence[Sequence[str]], *, first_left: bool = False, markdown: bool = False
) -> str:
    """Columns under their headings, aligned to the right; the first to the left where it holds names."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.MARKDOWN) if markdown else Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if first_left and index == 0 else "right", no_wrap=True)
    for row in body:
        table.add_row(*row)
    written = StringIO()
    # as wide as it needs: a table in a file is not folded at the width of a terminal
    Console(file=written, width=10_000, color_system=None, markup=False, highlight=False).print(table)
    return written.getvalue().strip("\n")


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Some columns of the rows, comma-separated, under their names."""
    text = StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def continued(command: str) -> list[str]:
    """A command in lines of at most 79 columns, which a shell reads as one."""
    words = re.sub(r" (?!--|<)", "\0", command)  # an option stays with its value
    lines = textwrap.wrap(words, 71, break_long_words=False, break_on_hyphens=False)
    ends = [" \\"] * (len(lines) - 1) + [""]
    return [
        f"{'      ' if index else '  '}{line}{end}".replace("\0", " ")
        for index, (line, end) in enumerate(zip(lines, ends, strict=True))
    ]
