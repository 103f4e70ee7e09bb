"""Texts beside ratings: lists of ids, and titles of items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coded_als.data.dialect import DELIMITERS, head_of, rows_of, sample_of
from coded_als.data.lines import WHITESPACE, Lines
from coded_als.data.names import plain_word, role_of
from coded_als.errors import UsageError

# in no text, so that a line is one field
_NO_DELIMITER = b"\x1e"
# titles are full of spaces; and MovieLens 100K has | between fields, which hold anything else
_DELIMITERS = tuple(delimiter for delimiter in DELIMITERS if delimiter != WHITESPACE)
_TITLES = {"title", "name", "titles", "movietitle", "booktitle", "itemname", "itemtitle", "producttitle", "artistname"}


@contextmanager
def _readable(path: Path, noun: str) -> Iterator[None]:
    """Refuse an unreadable file, or one in another encoding."""
    try:
        yield
    except UsageError:
        raise
    except UnicodeDecodeError:
        raise UsageError(
            f"{noun} must be UTF-8 text; {path.name} is none. Name the encoding, as in --encoding latin-1."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{noun} must be in a readable text file; got {path}: {reason}. Check the path.") from None


def read_ids(path: Path, encoding: str | None = None) -> list[str]:
    """The ids in a text, one a line; quotes around an id are dropped as in ratings.

    Raises UsageError for a file that cannot be read, or holds no id.
    """
    with _readable(path, "ids"):
        ids = [
            row[0].strip(" \t")
            for first_line, text in Lines(path, encoding, quoted=True).chunks()
            for _, row in rows_of(text, _NO_DELIMITER, first_line, path.name)
        ]
    if not ids:
        raise UsageError(f"there must be at least one id; {path} has none. Add some.")
    return ids


def load_titles(path: Path, encoding: str | None = None) -> dict[str, str]:
    """Titles by item id; `UsageError` for a file that cannot be read, or with the number of a line without a title."""
    with _readable(path, "titles"):
        return _titles(path, encoding)


def _titles(path: Path, encoding: str | None) -> dict[str, str]:
    head = head_of(path, encoding, "titles")
    line = head.lstrip(b"\n").split(b"\n", 1)[0]
    delimiter = next((one for one in _DELIMITERS if one in line), None)
    sample = None if delimiter is None else sample_of(path.name, head, delimiter)
    if delimiter is None or sample is None:
        raise UsageError(
            f"titles must be lines `id, title`; {path.name} begins {line[:60].decode('utf-8', 'replace')!a}. Convert it."
        )
    item, title, has_names = _places(sample.first)
    titles = {}
    for first_line, text in Lines(path, encoding, quoted=True).chunks():
        for number, row in rows_of(text, delimiter, first_line, path.name):
            if len(row) <= max(item, title):
                shown = delimiter.decode().join(row)[:60]
                raise UsageError(
                    f"every line of titles must have an id and a title; got {shown!a} in line {number} of "
                    f"{path.name}. Correct the line."
                )
            if not has_names or number != sample.numbers[0]:
                titles[row[item].strip()] = row[title].strip()
    return titles


def _places(first: list[str]) -> tuple[int, int, bool]:
    """The columns of ids and titles, and whether the first line names them."""
    items = [place for place, name in enumerate(first) if role_of(name) == "item" and plain_word(name) not in _TITLES]
    titles = [place for place, name in enumerate(first) if plain_word(name) in _TITLES]
    return (items[0], titles[0], True) if len(items) == len(titles) == 1 else (0, 1, False)
