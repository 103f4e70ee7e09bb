"""The prose of pages, docstrings, messages and comments says its facts with agents and nouns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.words import PAGES, ROOT, Passage, clauses, pages, paragraphs, source, too_long

# Clauses in place of a noun ("what is sent", "who is told") in a thousand words.
MOST_CLAUSES = 2.0
README_LINES, README_BYTES = 120, 6000


@pytest.mark.parametrize("passages", [pages, source])
def test_clauses_in_place_of_a_noun_are_rare(passages: Callable[[], Iterator[Passage]]) -> None:
    found, words = clauses(passages())
    assert 1000 * len(found) / words <= MOST_CLAUSES, "\n".join(found)


def test_a_clause_is_found_and_a_word_in_code_is_not() -> None:
    found, words = clauses(
        iter([Passage("here", "The master sends what is asked for to whoever asks."), Passage("b", "Fine.")])
    )
    assert len(found) == 2
    assert words == 10 + 1
    assert all("`what`" not in passage.text for passage in pages())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_and_no_paragraph_is_long(page: Path) -> None:
    assert list(too_long(page)) == []


def test_a_long_sentence_and_a_long_paragraph_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A word " * 16 + ".\n\n" + "Short one. " * 41 + "\n\n```text\n" + "code " * 99 + "\n```\n")
    assert [found[:29] for found in too_long(page)] == [
        "page.md: sentence of 32 words",
        "page.md: paragraph of 82 word",
    ]
    page.write_text("| `a b` | two |\n")
    assert [one for one in paragraphs(page.read_text()) if one] == ["Code", "two"]


def test_the_front_page_is_short() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= README_LINES
    assert len(text.encode()) <= README_BYTES


def test_no_page_names_a_private_word_of_the_project() -> None:
    for passage in pages():
        for word in (r"\brooms?\b", r"\bthe laws?\b", r"\btold of\b", r"Correct it\."):
            assert not re.search(word, passage.text), f"{passage.place} says {word}"
