"""Formulas become MathML when the site is built, so that a browser sets them without a script."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r"^```math\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"\$`(.+?)`\$", re.DOTALL)
# signs that Markdown would read as its own, also within tags
ESCAPED = {"|": "&#124;", "*": "&#42;", "_": "&#95;", "`": "&#96;", "\n": " "}


def as_mathml(formula: str, display: str) -> str:
    """One formula, in one line of MathML."""
    text: str = convert(" ".join(formula.split()), display=display)
    return "".join(ESCAPED.get(sign, sign) for sign in text)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every formula of a page."""
    markdown = BLOCK.sub(lambda found: f'<div class="formula">{as_mathml(found[1], "block")}</div>', markdown)
    # in a span: a line that begins with a formula would be a block
    return INLINE.sub(lambda found: f"<span>{as_mathml(found[1], 'inline')}</span>", markdown)
