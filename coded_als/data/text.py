"""Readers of delimited text: one rating a line, or one row of a dense matrix a line."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from coded_als.data.fields import Fields, is_number, join_columns, split_fields
from coded_als.data.ratings import RatingData, from_matrix, from_triples
from coded_als.errors import UsageError

_CHUNK_BYTES = 2**22
_WHITESPACE = b" "
# tried in this order: the rarer a delimiter is inside an id or a number, the earlier
_DELIMITERS = (b"\t", b"::", b";", b",", _WHITESPACE)
_STAND_IN = b"\x1f"  # fields are cut at one byte; this one separates units and is in no id


def read_rating_lines(path: Path) -> RatingData:
    """Ratings from lines ``user item rating [time]``, with or without a header line.

    Fields are separated by tabs, ``::``, semicolons, commas or white space, the same throughout. Ids are any text;
    where all are whole numbers they become int64. Spaces around a field and quotes around it are dropped.

    Raises
    ------
    UsageError
        With the line number, for a line that does not fit.
    """
    source = path.name
    lines = _Lines(path)
    delimiter, columns = _rating_layout(lines.sample, source)
    header = _is_rating_header(_cut(lines.sample[0], delimiter))
    users, items, values, times, numbers = [], [], [], [], []
    for first_line, text in lines.chunks(skip_first=header):
        fields = split_fields(source, *_one_byte(text, delimiter), columns, first_line)
        users.append(_ids(fields, 0))
        items.append(_ids(fields, 1))
        values.append(fields.numbers(slice(2, 3))[:, 0])
        if columns == 4:
            whole = fields.integers(3)
            times.append(fields.numbers(slice(3, 4))[:, 0] if whole is None else whole)
        numbers.append(fields.line_numbers)
    if not sum(map(len, numbers)):
        raise UsageError(f"ratings must have at least one line besides the header; {source} has none. Add some.")
    when = np.concatenate(times) if times else None
    return from_triples(
        join_columns(users), join_columns(items), np.concatenate(values), when, np.concatenate(numbers), source
    )


def read_dense_lines(path: Path) -> RatingData:
    """A dense matrix, one row a line; 0 is missing.

    The first line is a header when a field in it is not a number, or when it counts the columns: 1, 2, ..., n or 0, 1, ..., n - 1.

    Raises
    ------
    UsageError
        With the line number, for a line that does not fit.
    """
    source = path.name
    lines = _Lines(path)
    delimiter = next((one for one in _DELIMITERS if one in lines.sample[0]), _WHITESPACE)
    first = _cut(lines.sample[0], delimiter)
    rows = [
        split_fields(source, *_one_byte(text, delimiter), len(first), first_line).numbers(slice(None))
        for first_line, text in lines.chunks(skip_first=_is_matrix_header(first))
    ]
    if not sum(map(len, rows)):
        raise UsageError(f"a matrix must have at least one line besides the header; {source} has none. Add some.")
    return from_matrix(np.concatenate(rows), source)


class _Lines:
    """A text file as chunks of whole lines, and its first lines as a sample."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sample: list[bytes] = []
        for _, text in self.chunks():
            filled = (match[0] for match in re.finditer(rb"[^\n]+", text))
            self.sample += islice(filled, 2 - len(self.sample))
            if len(self.sample) == 2:
                break
        if not self.sample:
            raise UsageError(f"ratings must have at least one line; {path.name} is empty. Check the path.")

    def chunks(self, skip_first: bool = False) -> Iterator[tuple[int, bytes]]:
        """The number of the first line, and lines that all end in a newline; ``skip_first`` leaves out the first that is not blank."""
        next_line = 1
        with self._open() as file:
            while text := self._read(file, next_line):
                if skip_first and text.strip():
                    kept = text.lstrip(b"\n")
                    first_line = next_line + len(text) - len(kept)
                    kept = kept.partition(b"\n")[2]
                    if kept:
                        yield first_line + 1, kept
                    skip_first = False
                else:
                    yield next_line, text
                next_line += text.count(b"\n")

    def _open(self) -> IO[bytes]:
        opener: Callable[..., Any] = gzip.open if self._path.suffix == ".gz" else open
        return cast("IO[bytes]", opener(self._path, "rb"))

    def _read(self, file: IO[bytes], next_line: int) -> bytes:
        try:
            text = file.read(_CHUNK_BYTES)
            text += file.readline()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UsageError(
                f"a .gz file must be complete; got {self._path.name}: {error}. Compress it again."
            ) from None
        if b"\0" in text:
            line = next_line + text[: text.index(b"\0")].count(b"\n")
            raise UsageError(
                f"ratings must be UTF-8 text, .npz, .npy or .mtx; {self._path.name} has a zero byte in line {line}. "
                "Convert it."
            )
        if next_line == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in text:
            text = re.sub(rb"\r+(?=\n|\Z)", b"", text)
        # blank lines keep their place in the count but have no character left
        if text and not text.endswith(b"\n"):
            text += b"\n"
        return re.sub(rb"(?m)^[ \t]+$", b"", text) if re.search(rb"(?m)^[ \t]+$", text) else text


def _one_byte(text: bytes, delimiter: bytes) -> tuple[bytes, bytes]:
    """The text with a delimiter of one byte, and that byte."""
    if delimiter == b"::":
        return text.replace(delimiter, _STAND_IN), _STAND_IN
    if delimiter == _WHITESPACE:
        text = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", text)
        return re.sub(rb"[ \t]+", _STAND_IN, text), _STAND_IN
    return text, delimiter


def _cut(line: bytes, delimiter: bytes) -> list[bytes]:
    fields = line.split() if delimiter == _WHITESPACE else line.split(delimiter)
    fields = [field.strip(b" ") for field in fields]
    return [field[1:-1] if len(field) > 1 and field[:1] == field[-1:] == b'"' else field for field in fields]


def _rating_layout(sample: list[bytes], source: str) -> tuple[bytes, int]:
    """Delimiter and number of columns: the first delimiter that leaves a number in the third field of the last sample line."""
    fallback = None
    for delimiter in _DELIMITERS:
        first, last = _cut(sample[0], delimiter), _cut(sample[-1], delimiter)
        if len(first) in (3, 4):
            fallback = fallback or (delimiter, len(first))
            if len(last) == len(first) and is_number(last[2]):
                return delimiter, len(first)
    if fallback is None:
        shown = sample[0][:60].decode("utf-8", "replace")
        raise UsageError(
            f"lines must be `user item rating [time]`, separated by tab, comma, semicolon, :: or space; {source} begins "
            f"{shown if shown.isprintable() else ascii(shown)!r}. Convert it, or use --dense for a matrix."
        )
    return fallback


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
