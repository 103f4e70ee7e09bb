"""Pieces of an HTML page that refers to nothing outside itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from coded_als.experiments.report.numbers import plain

# a page with more sections than this gets contents, a table with more rows a scroll bar
SHORT_PAGE, SHORT_TABLE = 4, 40


@dataclass(frozen=True)
class Section:
    """A titled part of a page.

    Parameters
    ----------
    title, note
        Plain text.
    content
        HTML.
    """

    title: str
    note: str
    content: str


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The document.

    Parameters
    ----------
    title
        Plain text.
    lead
        HTML under the title.
    sections
        In their order; more than a few are listed at the top with links.
    """
    style = files("coded_als.experiments.report").joinpath("report.css").read_text()
    names = _anchors(sections)
    body = [
        f'<section id="{name}"><h2>{escape(section.title)}</h2>'
        + (f'<p class="note">{escape(section.note)}</p>' if section.note else "")
        + f"{section.content}</section>"
        for name, section in zip(names, sections, strict=True)
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main><h1>{escape(title)}</h1>"
        f"{lead}{_contents(names, sections)}{''.join(body)}</main></body></html>\n"
    )


def _anchors(sections: Sequence[Section]) -> list[str]:
    return [
        f"s{place}-" + re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")[:60]
        for place, section in enumerate(sections, start=1)
    ]


def _contents(names: Sequence[str], sections: Sequence[Section]) -> str:
    if len(sections) <= SHORT_PAGE:
        return ""
    links = (
        f'<li><a href="#{name}">{escape(section.title)}</a></li>' for name, section in zip(names, sections, strict=True)
    )
    opened = " open" if len(sections) <= 12 else ""
    return f"<nav><details{opened}><summary>Contents</summary><ol>{''.join(links)}</ol></details></nav>"


def folded(summary: str, content: str) -> str:
    """HTML that opens on a click.

    Parameters
    ----------
    summary
        What is clicked on.
    content
        HTML.
    """
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def items(texts: Iterable[str]) -> str:
    """A list of pieces of HTML."""
    return f"<ul>{''.join(f'<li>{text}</li>' for text in texts)}</ul>"


def table(headings: Sequence[str], body: Iterable[Sequence[Any]]) -> str:
    """A table; long ones scroll.

    Parameters
    ----------
    headings
        One for each column.
    body
        Rows of as many cells.
    """
    head = "".join(f"<th>{escape(str(heading))}</th>" for heading in headings)
    lines = [f"<tr>{''.join(map(_value, line))}</tr>" for line in body]
    css = "scroll" if len(lines) > SHORT_TABLE else "wide"
    return f'<div class="{css}" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _value(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f"<td>{plain(value, 4)}</td>"
    text = escape(str(value))
    if isinstance(value, str) and len(text) > 60:
        return f'<td class="text long">{text}</td>'
    return f'<td class="text">{text}</td>' if text[:1].isalpha() else f"<td>{text}</td>"
