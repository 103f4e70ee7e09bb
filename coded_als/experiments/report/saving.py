"""Figures as files and as SVG inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from coded_als.errors import UsageError
from coded_als.experiments.report.canvas import THEME, CaptionedFigure, ReportFigure
from coded_als.experiments.sweep.result_folder import saying_what_failed

FORMATS = ("svg", "pdf", "png")


def parse_formats(text: str) -> tuple[str, ...]:
    """Formats from ``"pdf"`` or ``"svg,pdf,png"``; `UsageError` for any other word."""
    words = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",")))
    wrong = [word for word in words if word not in FORMATS]
    if wrong:
        raise UsageError(f"figures are saved as {', '.join(FORMATS)}; got {wrong[0]!r}. Name some of these.")
    return words


def save_figures(folder: Path, figures: Iterable[CaptionedFigure], formats: Iterable[str]) -> list[Path]:
    """Write each figure in each format, and return the paths."""
    paths = []
    with saying_what_failed(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for shown in figures:
            for suffix in formats:
                path = folder / f"{shown.name}.{suffix}"
                shown.figure.savefig(path, metadata={"Title": shown.title})
                paths.append(path)
    return paths


def inline_svg(figure: ReportFigure, prefix: str, title: str) -> str:
    """The figure as an ``<svg>`` element that follows the colours of its page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    drawing = buffer.getvalue()
    head, body = drawing[drawing.index("<svg") :].split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box
    body = _own_ids(_smaller(body), prefix)
    for colour, variable in THEME.items():
        body = body.replace(colour, f"var(--{variable})")
    return f'<svg {box[0]} role="img" aria-label="{escape(title)}">{body}'


def _smaller(body: str) -> str:
    """The drawing without invisible parts, and with coordinates to a hundredth of a point."""
    unseen = r'<metadata>.*?</metadata>|<!--.*?-->|<path d="[^"]*" style="fill: none"/>| transform="rotate\(-0 [^"]*"'
    body = re.sub(unseen, "", body, flags=re.S)

    def shorter(attribute: re.Match[str]) -> str:
        return re.sub(r"(\d+\.\d{2})\d+", r"\1", attribute[0])

    body = re.sub(r' (?:d|x|y|points|transform)="[^"]*"', shorter, body)
    return re.sub(r"\s*\n\s*", " ", re.sub(r">\s+<", "><", body))


def _own_ids(body: str, prefix: str) -> str:
    """Ids that are referred to become short and the figure's own; the others go."""
    references = re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', body)
    used = dict.fromkeys(first or second for first, second in references)
    own = {name: f"{prefix}-{place}" for place, name in enumerate(used)}
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{own[found[1]]}"' if found[1] in own else "", body)
    body = re.sub(r'xlink:href="#([^"]+)"', lambda found: f'href="#{own[found[1]]}"', body)
    return re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{own[found[1]]})", body)
