"""Readers of delimited text: a rating, a row of a dense matrix or a link of a graph a line; and ids and titles beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.data.dialect import (
    DELIMITERS,
    TextLayout,
    TextOptions,
    head_of,
    is_number_text,
    layout_of,
    plain_word,
    role_of,
    rows_of,
    sample_of,
)
from coded_als.data.fields import ArrowFields, Fields, arrow_fields, is_number, split_fields
from coded_als.data.lines import WHITESPACE, Lines, one_byte
from coded_als.data.ratings import (
    CodedIds,
    IdColumn,
    RatingData,
    Repeated,
    TextReading,
    from_matrix,
    from_pairs,
    from_triples,
    graph_of,
    is_id,
    join_ids,
    number_ids,
)
from coded_als.errors import UsageError
from coded_als.models.ids import Ids

# words that programs write for a value that is not there
MISSING = frozenset(("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "none", "<NA>", "NaT", "\\N", "#N/A"))
# a first row of a matrix that counts 1, 2, ... to here or further may be the numbers of the columns
_COUNTED_FROM = 5


@dataclass(frozen=True, eq=False)
class TextColumns:
    """The columns of a text of ratings."""

    # (lines,) int64, or UTF-8 bytes
    users: IdColumn
    items: IdColumn
    # (lines,), or None where there is no such column
    values: Floats | None
    times: NDArray[Any] | None
    lines: Integers  # (lines,) their numbers, from 1
    blank: int  # empty lines that were passed over


def read_rating_lines(
    path: Path, options: TextOptions | None = None, repeated: Repeated | None = None, source: str | None = None
) -> RatingData:
    """Ratings from lines ``user item rating [time]``, or interactions from lines ``user item``.

    Names in line 1 identify the columns, in any order. Of interactions, the value of an entry is the number of its
    lines. Fields are separated by tabs, ``::``, semicolons, ``|``, commas or white space, the same throughout; in
    quotes they may hold delimiters and line ends. Ids are any text; where all are whole numbers they become int64.
    Spaces around a field and quotes around it are dropped.
    """
    options = options or TextOptions()
    source = source or path.name
    layout = layout_of(path, options)
    cells = read_columns(path, layout, options.encoding)
    if not cells.lines.size:
        raise UsageError(f"ratings must have at least one line besides the header; {source} has none. Add some.")
    if cells.values is None:
        data = from_pairs(cells.users, cells.items, cells.lines, source, repeated)
    else:
        data = from_triples(cells.users, cells.items, cells.values, cells.times, cells.lines, source, repeated=repeated)
    for noun, ids, given in (("user", data.user_ids, cells.users), ("item", data.item_ids, cells.items)):
        missing = missing_among(ids)
        if missing is not None:
            line = cells.lines[np.flatnonzero(is_id(given, missing.encode()))[0]]
            raise missing_id(noun, missing, f"line {line} of {source}")
    reading = TextReading(
        layout.columns, layout.by, layout.unread, cells.blank, cells.lines.size, bool(layout.header_line)
    )
    return data.read_as(reading)


def read_columns(path: Path, layout: TextLayout, encoding: str | None = None) -> TextColumns:
    """The columns of a text; `UsageError` with the line number, for a line that does not fit."""
    user, item, rating, time = layout.places
    pieces: dict[str, list[Any]] = {name: [] for name in ("users", "items", "values", "times", "lines")}
    blank, are_dates = 0, set()
    for first_line, text in Lines(path, encoding, quoted=True).chunks(after_line=layout.header_line):
        fields = fields_of(path.name, text, layout.delimiter, layout.width, first_line)
        blank += fields.blank
        if not fields.line_numbers.size:
            continue
        pieces["users"].append(_ids(fields, user))
        pieces["items"].append(_ids(fields, item))
        if rating is not None:
            pieces["values"].append(fields.numbers(slice(rating, rating + 1))[:, 0])
        elif layout.names:
            _require_no_names(fields, layout, pieces["users"][-1], pieces["items"][-1])
        if time is not None and rating is not None:
            when, is_date = fields.times(time)
            are_dates.add(is_date)
            pieces["times"].append(when)
        pieces["lines"].append(fields.line_numbers)
    if len(are_dates) > 1:
        raise UsageError(f"times must be all dates or all numbers; {path.name} has both. Leave them out by --columns.")
    if not pieces["lines"]:
        empty = np.empty(0, np.int64)
        return TextColumns(empty, empty, None if rating is None else np.empty(0), None, empty, blank)
    joined = {
        name: np.concatenate(several) if several else None for name, several in pieces.items() if name[0] in "vtl"
    }
    lines = joined["lines"]
    assert lines is not None
    users, items = join_ids(pieces["users"]), join_ids(pieces["items"])
    return TextColumns(users, items, joined["values"], joined["times"], lines, blank)


def fields_of(source: str, text: bytes, delimiter: bytes, width: int, first_line: int) -> Fields | ArrowFields:
    """The fields of some lines."""
    plain, byte = one_byte(text, delimiter)
    base = partial(split_fields, source, plain, byte, width, first_line, may_have_commas=delimiter != b",")
    return arrow_fields(plain, byte, width, first_line, base) or base()


def missing_among(ids: Ids) -> str | None:
    """A word for a missing value among ids, (count,) distinct, that otherwise are whole numbers; else None."""
    if ids.dtype.kind != "U" or ids.size < 2:
        return None
    words = [word for word in MISSING if (ids == word).any()]
    if not words:
        return None
    others = ids[~np.isin(ids, words)].tolist()
    return words[0] if others and all(other.isdigit() for other in others) else None


def missing_id(noun: str, word: str, where: str) -> UsageError:
    """The refusal of a missing id."""
    return UsageError(
        f"{noun} ids must not be missing; got {word!r} among whole numbers, in {where}. Fill it in or remove the line."
    )


def read_dense_lines(path: Path, options: TextOptions | None = None) -> RatingData:
    """A dense matrix, one row a line; 0 is missing. The first line holds names when none of its fields is a number."""
    options = options or TextOptions()
    source = path.name
    lines = Lines(path, options.encoding, quoted=True)
    head = head_of(path, options.encoding)
    line = head.lstrip(b"\n").split(b"\n", 1)[0]
    given = None if options.delimiter is None else options.delimiter.encode()
    delimiter = given or next((one for one in DELIMITERS if one in line), WHITESPACE)
    sample = sample_of(source, head, delimiter)
    first = [line.decode("utf-8", "replace").strip(' "')] if sample is None else sample.first
    number = 1 + len(head) - len(head.lstrip(b"\n")) if sample is None else sample.numbers[0]
    header = number if _is_matrix_header(first, source, number, options.header, delimiter) else 0
    rows, blank = [], 0
    for first_line, text in lines.chunks(after_line=header):
        fields = fields_of(source, text, delimiter, len(first), first_line)
        blank += fields.blank
        rows.append(fields.numbers(slice(None)))
    if not sum(map(len, rows)):
        raise UsageError(f"a matrix must have at least one line besides the header; {source} has none. Add some.")
    matrix = np.concatenate(rows)
    reading = TextReading((), "line", (), blank, len(matrix), bool(header))
    return from_matrix(matrix, source).read_as(reading)


def _is_matrix_header(first: list[str], source: str, number: int, given: bool | None, delimiter: bytes) -> bool:
    """Whether the first line holds names: where no field is a number, nor a word for a missing one."""
    if given is not None:
        return given
    numbers = [is_number_text(field, delimiter != b",") for field in first]
    if not any(numbers) and first[0] == "" and len(first) > 1:
        raise UsageError(
            f"a matrix must have no names of rows; the first name in line {number} of {source} is empty, as over a "
            "column of them. Write it without."
        )
    if all(numbers) and len(first) >= _COUNTED_FROM and _counts(first):
        raise UsageError(
            f"line {number} of {source} counts {first[0]} to {first[-1]}: it may hold numbers of columns, or a row. Say "
            "which, by --header or --no-header."
        )
    return not any(numbers) and not any(field in MISSING or field == "" for field in first)


def _counts(first: list[str]) -> bool:
    counted = [float(field) for field in first if is_number(field.encode())]
    return counted in (list(range(1, len(first) + 1)), list(range(len(first))))


def _ids(fields: Fields | ArrowFields, column: int) -> IdColumn:
    integers = fields.integers(column)
    return fields.texts(column) if integers is None else integers


def _require_no_names(fields: Fields | ArrowFields, layout: TextLayout, users: IdColumn, items: IdColumn) -> None:
    """The names of line 1 must not stand in a later line, as where files were put together."""
    if any(not isinstance(ids, CodedIds) and ids.dtype.kind != "S" for ids in (users, items)):
        return
    user, item = (layout.names[place].encode() for place in layout.places[:2])
    again = np.flatnonzero(is_id(users, user) & is_id(items, item))
    if again.size:
        raise UsageError(
            f"names of columns must stand once; line {fields.line_numbers[again[0]]} of {fields.source} has them again. "
            "Remove the line."
        )


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
    """The ids in a text, one a line; quotes around an id are dropped as in ratings."""
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


EDGES_PREFIX = "edges:"
_EDGE_COMMENT = re.compile(rb"(?m)^[ \t]*[#%].*$")
_EDGE_DELIMITERS = (b"\t", b",", WHITESPACE)


def read_edge_lines(path: Path) -> RatingData:
    """The links of a graph, each once, as ratings of 1 by their source of their target.

    Fields are separated by tabs, commas or white space, the same throughout; lines that begin with ``#`` or ``%`` are
    comments, and there is no header. Ids are any text; where all are whole numbers they become int64. A link that is
    listed again counts once.

    The matrix is square: row and column of a node have the same number, and ``user_ids`` are ``item_ids``.
    """
    source = path.name
    delimiter = None
    ends: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    lines = []
    for first_line, text in _edge_chunks(path):
        if delimiter is None:
            delimiter = next((one for one in _EDGE_DELIMITERS if one in text.strip(b"\n").split(b"\n")[0]), WHITESPACE)
        fields = split_fields(source, *one_byte(text, delimiter), 2, first_line)
        for column, pieces in enumerate(ends):
            whole = fields.integers(column)
            pieces.append(fields.texts(column) if whole is None else whole)
        lines.append(fields.line_numbers)
    if delimiter is None:
        raise UsageError(f"a graph must have at least one line `source target`; {source} has none. Check the path.")
    both = join_ids([*ends[0], *ends[1]])
    nodes, numbers = number_ids(both, np.tile(np.concatenate(lines), 2), source)
    sources, targets = np.split(numbers, 2)
    return graph_of(sources, targets, nodes, source)


def _edge_chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """As `Lines.chunks`, comments emptied; chunks without a link are left out."""
    for first_line, text in Lines(path).chunks():
        plain = _EDGE_COMMENT.sub(b"", text)
        if plain.strip(b"\n"):
            yield first_line, plain
