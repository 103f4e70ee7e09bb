"""Kinds of figures: what each draws, from what, and under which title."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from coded_als.experiments.report.canvas import ReportFigure
from coded_als.experiments.report.slices import Table

Drawn = TypeVar("Drawn")


LONGEST_NAME = 120


@dataclass(frozen=True)
class Shown:
    """A figure with all that stands beside it.

    Parameters
    ----------
    name
        A file name without suffix.
    title, note
        Plain text.
    figure
        What is drawn.
    headings, body
        The data that is drawn.
    """

    name: str
    title: str
    note: str
    figure: ReportFigure
    headings: tuple[str, ...]
    body: Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Entry(Generic[Drawn]):
    """A kind of figure.

    Parameters
    ----------
    name
        Where its file names begin.
    title, note
        Plain text; the title is followed by what this one is about.
    draw, table
        Figure and data of a source.
    """

    name: str
    title: str
    note: str
    draw: Callable[[Drawn], ReportFigure]
    table: Callable[[Drawn], Table]

    def of(self, source: Drawn, about: str = "") -> Shown:
        """The figure of one source.

        Parameters
        ----------
        source
            What the figure shows.
        about
            What distinguishes it from others of its kind.
        """
        name = re.sub(r"[^a-z0-9.]+", "-", f"{self.name} {about}".lower()).strip("-.")[:LONGEST_NAME]
        title = f"{self.title}{about and ', '}{about}"
        return Shown(name, title, self.note, self.draw(source), *self.table(source))


def named_apart(figures: Iterable[Shown]) -> Iterator[Shown]:
    """The same figures; a name that came before gets a number."""
    seen: Counter[str] = Counter()
    for shown in figures:
        seen[shown.name] += 1
        yield shown if seen[shown.name] == 1 else replace(shown, name=f"{shown.name}-{seen[shown.name]}")
