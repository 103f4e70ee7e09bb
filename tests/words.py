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
READ = re.compile(r"[A-Za-z0-9][\w'^/.=-]*")
MOST_IN_SENTENCE, MOST_IN_PARAGRAPH = 30, 80
# words of this project in place of those of the field, and remedies that only restate a rule
BANNED = re.compile(r"\b(?:seam|told of|given out|laws? of)\b|Correct it\.", re.IGNORECASE)


@dataclass(frozen=True)
class Passage:
    """A piece of prose and the place where it stands."""

    place: str
    text: str


PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def pages() -> Iterator[Passage]:
    """The documents, without code and formulas."""
    for path in PAGES:
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


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs, entries of lists and cells of tables of a page, without code blocks; code in a line is one word."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$?`[^`]*`\$?", "Code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|\n(?=:::|#)", text):
        yield from (
            " ".join(cell.split()) for cell in (block.split("|") if block.lstrip().startswith("|") else [block])
        )


def too_long(page: Path) -> Iterator[str]:
    """Sentences and paragraphs of a page that a reader loses the thread of."""
    for paragraph in paragraphs(page.read_text()):
        if len(READ.findall(paragraph)) > MOST_IN_PARAGRAPH:
            yield f"{page.name}: paragraph of {len(READ.findall(paragraph))} words: {paragraph[:80]}"
        for sentence in re.split(r"(?<=[.?!])[\"')*]*\s", paragraph):
            if len(READ.findall(sentence)) > MOST_IN_SENTENCE:
                yield f"{page.name}: sentence of {len(READ.findall(sentence))} words: {sentence[:80]}"


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
