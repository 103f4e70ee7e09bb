"""Flowcharts in Mermaid become SVG when the site is built: boxes in layers, arrows that point down."""

from __future__ import annotations

import html
import re
from typing import Any

FENCE = re.compile(r"^```mermaid\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
NODE = re.compile(r'^\s+(\w+)\["(.*)"\]$', re.MULTILINE)
ARROWS = re.compile(r"^\s+(\w+) --> (.+)$", re.MULTILINE)
WIDTH, BOX_WIDTH, LINE, GAP = 960, 200, 17, 46
# longest line of a box, in signs
SIGNS = 30


def layers(nodes: dict[str, str], arrows: list[tuple[str, str]]) -> list[list[str]]:
    """The nodes from top to bottom: each below all that point at it."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for start, end in arrows:
            depth[end] = max(depth[end], depth[start] + 1)
    return [[node for node in nodes if depth[node] == level] for level in range(max(depth.values()) + 1)]


def wrapped(label: str) -> list[str]:
    """The lines of a label: the name, and its description folded."""
    name, _, text = label.partition("<br>")
    lines, line = [name], ""
    for word in text.split():
        if len(line) + len(word) >= SIGNS:
            lines.append(line.strip())
            line = ""
        line += f" {word}"
    return [*lines, line.strip()]


def as_svg(source: str) -> str:
    """The drawing of one flowchart."""
    nodes = dict(NODE.findall(source))
    arrows = [(start, end.strip()) for start, ends in ARROWS.findall(source) for end in ends.split("&")]
    boxes, texts, top = {}, [], 10
    for layer in layers(nodes, arrows):
        lines = {node: wrapped(nodes[node]) for node in layer}
        height = max(len(found) for found in lines.values()) * LINE + 14
        for place, node in enumerate(layer):
            left = (WIDTH * (2 * place + 1)) // (2 * len(layer)) - BOX_WIDTH // 2
            boxes[node] = (left, top, height)
            texts.append(_box(left, top, height, lines[node]))
        top += height + GAP
    lines = [_arrow(boxes[start], boxes[end]) for start, end in arrows]
    label = html.escape(
        "Packages and their imports: " + "; ".join(f"{start} to {end}" for start, end in arrows), quote=True
    )
    head = (
        f'<svg class="diagram" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - GAP + 10}" role="img" '
        f'aria-label="{label}"><defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    return head + "".join(lines) + "".join(texts) + "</svg>"


def _box(left: int, top: int, height: int, lines: list[str]) -> str:
    middle = left + BOX_WIDTH // 2
    spans = [
        f'<text x="{middle}" y="{top + 20 + LINE * place}" class="{"text" if place else "name"}">{html.escape(line)}</text>'
        for place, line in enumerate(lines)
    ]
    return f'<rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{height}" rx="6"/>' + "".join(spans)


def _arrow(start: tuple[int, int, int], end: tuple[int, int, int]) -> str:
    x1, y1 = start[0] + BOX_WIDTH // 2, start[1] + start[2]
    x2, y2 = end[0] + BOX_WIDTH // 2, end[1]
    bend = (y2 - y1) // 2
    return f'<path class="arrow" d="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}" marker-end="url(#tip)"/>'


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every flowchart of a page."""
    return FENCE.sub(lambda found: f'<div class="diagram">{as_svg(found[1])}</div>', markdown)
