"""Readers of delimited text: one rating a line, or one row of a dense matrix a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.data.fields import Fields, is_number, join_columns, split_fields
from coded_als.data.lines import WHITESPACE, Lines, one_byte
from coded_als.data.ratings import RatingData, from_matrix, from_pairs, from_triples
from coded_als.errors import UsageError

# tried in this order: the rarer a delimiter is inside an id or a number, the earlier
_DELIMITERS = (b"\t", b"::", b";", b",", WHITESPACE)


def read_rating_lines(path: Path) -> RatingData:
    """Ratings from lines ``user item rating [time]``, or interactions from lines ``user item``.

    There may be a header line. Of interactions, the value of an entry is how often its line is there. Fields are separated by tabs, ``::``, semicolons, commas or white space, the same throughout. Ids are any text;
    where all are whole numbers they become int64. Spaces around a field and quotes around it are dropped.

    Raises
    ------
    UsageError
        With the line number, for a line that does not fit.
    """
    source = path.name
    lines = Lines(path)
    sample = lines.first_filled(2)
    delimiter, columns = _rating_layout([line for _, line in sample], source)
    first, last = _cut(sample[0][1], delimiter), _cut(sample[-1][1], delimiter)
    is_header = _is_pair_header(first, last) if columns == 2 else _is_rating_header(first)
    header = sample[0][0] if is_header else 0
    users, items, values, times, numbers = [], [], [], [], []
    for first_line, text in lines.chunks(after_line=header):
        fields = split_fields(source, *one_byte(text, delimiter), columns, first_line)
        users.append(_ids(fields, 0))
        items.append(_ids(fields, 1))
        if columns > 2:
            values.append(fields.numbers(slice(2, 3))[:, 0])
        if columns == 4:
            whole = fields.integers(3)
            times.append(fields.numbers(slice(3, 4))[:, 0] if whole is None else whole)
        numbers.append(fields.line_numbers)
    if not sum(map(len, numbers)):
        raise UsageError(f"ratings must have at least one line besides the header; {source} has none. Add some.")
    user_ids, item_ids, line_numbers = join_columns(users), join_columns(items), np.concatenate(numbers)
    if columns == 2:
        return from_pairs(user_ids, item_ids, line_numbers, source)
    when = np.concatenate(times) if times else None
    return from_triples(user_ids, item_ids, np.concatenate(values), when, line_numbers, source)


def read_dense_lines(path: Path) -> RatingData:
    """A dense matrix, one row a line; 0 is missing.

    The first line is a header when a field in it is not a number, or when it counts the columns: 1, 2, ..., n or 0, 1, ..., n - 1.

    Raises
    ------
    UsageError
        With the line number, for a line that does not fit.
    """
    source = path.name
    lines = Lines(path)
    number, line = lines.first_filled(1)[0]
    delimiter = next((one for one in _DELIMITERS if one in line), WHITESPACE)
    first = _cut(line, delimiter)
    header = number if _is_matrix_header(first) else 0
    rows = [
        split_fields(source, *one_byte(text, delimiter), len(first), first_line).numbers(slice(None))
        for first_line, text in lines.chunks(after_line=header)
    ]
    if not sum(map(len, rows)):
        raise UsageError(f"a matrix must have at least one line besides the header; {source} has none. Add some.")
    return from_matrix(np.concatenate(rows), source)


def _cut(line: bytes, delimiter: bytes) -> list[bytes]:
    fields = line.split() if delimiter == WHITESPACE else line.split(delimiter)
    fields = [field.strip(b" ") for field in fields]
    return [field[1:-1] if len(field) > 1 and field[:1] == field[-1:] == b'"' else field for field in fields]


def _rating_layout(sample: list[bytes], source: str) -> tuple[bytes, int]:
    """Delimiter and number of columns: the first delimiter that leaves a number in the third field of the last sample line."""
    fallback = pairs = None
    for delimiter in _DELIMITERS:
        first, last = _cut(sample[0], delimiter), _cut(sample[-1], delimiter)
        if len(first) in (3, 4):
            fallback = fallback or (delimiter, len(first))
            if len(last) == len(first) and is_number(last[2]):
                return delimiter, len(first)
        elif len(first) == len(last) == 2 and not any(_is_fraction(field) for field in first + last):
            pairs = pairs or (delimiter, 2)
    fallback = fallback or pairs
    if fallback is None:
        shown = sample[0][:60].decode("utf-8", "replace")
        raise UsageError(
            f"lines must be `user item rating [time]` or `user item`, separated by tab, comma, semicolon, :: or space; {source} begins "
            f"{shown if shown.isprintable() else ascii(shown)!r}. Convert it, or use --dense for a matrix."
        )
    return fallback


def _is_fraction(field: bytes) -> bool:
    """Whether a field is a number but no whole one: as an id it would be a mistake, such as a matrix of two columns."""
    return is_number(field) and not field.lstrip(b"-").isdigit()


def _is_pair_header(first: list[bytes], second: list[bytes]) -> bool:
    """Names of columns over numbers, or the words that are used for them."""
    names = [field.lower().replace(b"_", b"").removesuffix(b"id").removesuffix(b"s") for field in first]
    return names == [b"user", b"item"] or (not any(map(is_number, first)) and all(map(is_number, second)))


def _is_rating_header(fields: list[bytes]) -> bool:
    """A header has no number for a rating; but after two numeric ids it is a line with a mistake in it."""
    return not is_number(fields[2]) and not (is_number(fields[0]) and is_number(fields[1]))


def _is_matrix_header(fields: list[bytes]) -> bool:
    if not all(map(is_number, fields)):
        return True
    counted = [float(field) for field in fields]
    return len(fields) > 1 and counted in (list(range(1, len(fields) + 1)), list(range(len(fields))))


def _ids(fields: Fields, column: int) -> NDArray[Any]:
    integers = fields.integers(column)
    return fields.texts(column) if integers is None else integers
