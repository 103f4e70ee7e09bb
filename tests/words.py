"""The prose of the project, and how often it uses a clause in place of a noun.

``python -m tests.words`` prints the places and the rate.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLAUSE = re.compile(r"\b(?:what|whatever|who|whoever|whom|whose|nobody)\b", re.IGNORECASE)
WORD = re.compile(r"[A-Za-z][A-Za-z'-]+")
# words of this project in place of those of the field, and remedies that only restate a rule
BANNED = re.compile(r"\b(?:seam|told of|given out|laws? of)\b|Correct it\.", re.IGNORECASE)


@dataclass(frozen=True)
class Passage:
    """A piece of prose and the place where it stands."""

    place: str
    text: str


def pages() -> Iterator[Passage]:
    """The documents, without code and formulas."""
    for path in [
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]:
        # a question may begin with its word
        text = re.sub(r"```.*?```|`[^`]*`|[^.|#\n]*\?", " ", path.read_text(), flags=re.DOTALL)
        yield Passage(str(path.relative_to(ROOT)), text)


def source() -> Iterator[Passage]:
    """Docstrings, messages, help and comments of the package."""
    for path in sorted((ROOT / "coded_als").rglob("*.py")):
        name, text = str(path.relative_to(ROOT)), path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                yield Passage(f"{name}:{node.lineno}", re.sub(r"`[^`]*`", " ", node.value))
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield Passage(f"{name}:{token.start[0]}", token.string)


def clauses(passages: Iterator[Passage]) -> tuple[list[str], int]:
    """The places of clauses in place of a noun, and the number of words."""
    found, words = [], 0
    for passage in passages:
        words += len(WORD.findall(passage.text))
        for match in CLAUSE.finditer(passage.text):
            start = max(0, match.start() - 40)
            found.append(f"{passage.place}: ...{' '.join(passage.text[start : match.end() + 50].split())}...")
    return found, words


def main() -> None:
    for name, passages in (("pages", pages()), ("source", source())):
        found, words = clauses(passages)
        if "--all" in sys.argv:
            print("\n".join(found))
        print(f"{name}: {len(found)} of {words} words, {1000 * len(found) / words:.1f} per 1,000")


if __name__ == "__main__":
    main()
