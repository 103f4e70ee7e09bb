"""Delimited text as arrays: where each field starts and ends, and whole columns parsed at once.

A line at a time costs microseconds per field in Python; whole columns cost nanoseconds, so a million
ratings are read in about a second. Large texts are cut and parsed by Arrow (extra ``parquet``) under the same rules. Text in
which both engines could differ, such as spaces around quotes, and all that is refused are left to the engine of NumPy, so
that a result or a message is the same with and without Arrow.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.data.ratings import CodedIds, IdColumn
from coded_als.errors import UsageError

_SPACE, _NEWLINE, _QUOTE, _MINUS, _ZERO, _POINT = b' \n"-0.'
LONGEST_FIELD = 256
LONGEST_INTEGER = 18  # so many digits always fit into int64
_LONGEST_DECIMAL = 16  # fifteen digits and a point: below 2^53, and ten to the fifteenth is exact too
_DATE = re.compile(rb"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z| UTC)?)?")
_THOUSANDS = re.compile(rb"-?[1-9]\d{0,2},\d{3}")
_NUMERIC = np.isin(np.arange(256), np.frombuffer(b"0123456789+-.eE\0", dtype=np.uint8))


@dataclass(frozen=True, eq=False)
class Fields:
    """The fields of some lines of text."""

    source: str  # name of the file, for error messages
    text: NDArray[np.uint8]  # (bytes,) uint8, ending in a newline
    # (lines, columns): places in ``text``
    starts: Integers
    ends: Integers
    line_numbers: Integers  # (lines,), counted from 1
    may_have_commas: bool = False  # whether numbers may have a comma for the decimal point
    blank: int = 0  # empty lines that were passed over

    def integers(self, column: int) -> Integers | None:
        """The column as whole numbers, (rows,), or None unless every field is one, written without superfluous zeros."""
        return _integers(self.text, self.starts[:, column], self.ends[:, column])

    def texts(self, column: int) -> NDArray[np.bytes_]:
        """The column as byte strings, (rows,); `UsageError` for an empty or an overlong field."""
        starts, ends = self.starts[:, column], self.ends[:, column]
        empty = np.flatnonzero(starts == ends)
        if empty.size:
            self._refuse(int(empty[0]), f"field {column + 1} must not be empty", "Fill it in or remove the line.")
        long = np.flatnonzero(ends - starts > LONGEST_FIELD)
        if long.size:
            rule = f"field {column + 1} must be at most {LONGEST_FIELD} bytes long"
            self._refuse(int(long[0]), rule, "Shorten it, or check the delimiters.")
        texts = _texts(self.text, starts, ends)
        if texts.size and (self.text == _QUOTE).any():
            doubled = np.flatnonzero((texts.view(np.uint8).reshape(len(texts), -1) == _QUOTE).any(axis=1))
            texts[doubled] = [text.replace(b'""', b'"') for text in texts[doubled].tolist()]
        return texts

    def numbers(self, columns: slice) -> NDArray[np.float64]:
        """Some columns as finite numbers, (lines, columns).

        Raises UsageError for the first field that is not a finite number.
        """
        starts, ends = self.starts[:, columns].ravel(), self.ends[:, columns].ravel()
        width = self.starts[:, columns].shape[1]
        values = _numbers(self.text, starts, ends)
        if values is None and self.may_have_commas:
            values = self._with_decimal_commas(starts, ends)
        if values is None:
            values = np.array(
                [_number(self._text(*place)) for place in zip(starts.tolist(), ends.tolist(), strict=True)]
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            line, place = divmod(int(bad[0]), width)
            column = range(self.starts.shape[1])[columns][place]
            shown = _printable(self._text(int(starts[bad[0]]), int(ends[bad[0]])))
            self._refuse(line, f"field {column + 1} must be a finite number; got {shown}", "Correct or remove it.", "")
        return values.reshape(-1, width)

    def times(self, column: int) -> tuple[NDArray[Any], bool]:
        """The column as times, (rows,): numbers as they are, dates of ISO 8601 in microseconds; and whether they are dates.

        Raises UsageError for a field that is neither.
        """
        whole = self.integers(column)
        if whole is not None:
            return whole, False
        starts, ends = self.starts[:, column], self.ends[:, column]
        if starts.size and _DATE.fullmatch(self._text(int(starts[0]), int(ends[0]))):
            distinct, places = np.unique(self.texts(column), return_inverse=True)
            odd = next((place for place, text in enumerate(distinct.tolist()) if not _DATE.fullmatch(text)), None)
            if odd is None:
                try:
                    plain = np.char.rstrip(np.char.replace(distinct, b" UTC", b""), b"Z").astype(np.str_)
                    return plain.astype("datetime64[us]").astype(np.int64)[places], True
                except ValueError:  # the 30th of February
                    odd = next(place for place, text in enumerate(plain.tolist()) if not _is_date(text))
            line = int(np.flatnonzero(places == odd)[0])
            rule = f"field {column + 1} must be a date such as 2005-09-06 or 2005-09-06 12:30:00, in UTC, like those before it"
            shown = _printable(self._text(int(starts[line]), int(ends[line])))
            self._refuse(
                line, f"{rule}; got {shown}", "Correct it, or leave times out by --columns USER,ITEM,RATING.", ""
            )
        return self.numbers(slice(column, column + 1))[:, 0], False

    def _with_decimal_commas(self, starts: Integers, ends: Integers) -> NDArray[np.float64] | None:
        """The fields as numbers with a comma for the point, or None where one of them is none."""
        comma, point = np.uint8(ord(",")), np.uint8(_POINT)
        commas = np.append(0, np.cumsum(self.text == comma))
        points = np.append(0, np.cumsum(self.text == point))
        with_comma = np.flatnonzero(commas[ends] > commas[starts])
        if not with_comma.size or (points[ends] > points[starts]).any() or (commas[ends] - commas[starts]).max() > 1:
            return None
        if all(_THOUSANDS.fullmatch(self._text(int(starts[one]), int(ends[one]))) for one in with_comma.tolist()):
            shown = self._text(int(starts[with_comma[0]]), int(ends[with_comma[0]])).decode("ascii")
            line = int(with_comma[0]) // max(1, starts.size // max(1, self.line_numbers.size))
            raise UsageError(
                f"numbers must have one reading; {shown} in line {self.line_numbers[line]} of {self.source} may be "
                f"{shown.replace(',', '.')} or {shown.replace(',', '')}. Write it the one way or the other."
            )
        return _numbers(np.where(self.text == comma, point, self.text), starts, ends)

    def _text(self, start: int, end: int) -> bytes:
        return self.text[start:end].tobytes()

    def _refuse(self, line: int, rule: str, remedy: str, got: str | None = None) -> None:
        if got is None:
            got = f"; got {_printable(self._text(int(self.starts[line, 0]), int(self.ends[line, -1])))}"
        raise UsageError(f"{rule}{got} in line {self.line_numbers[line]} of {self.source}. {remedy}")


def split_fields(
    source: str, text: bytes, delimiter: bytes, columns: int, first_line: int, *, may_have_commas: bool = False
) -> Fields:
    """Cut text into fields by the rules of RFC 4180; lines without a character are skipped.

    A field that begins with a quote ends with one; in it delimiters and line ends are text, and two quotes are one.
    """
    numbers: Integers | None = None
    blank = 0
    if b'"' in text and not well_quoted(text, delimiter):
        blank = text.count(b"\n")
        text, numbers = _requoted(source, text, delimiter, first_line)
        blank -= text.count(b"\n")
    characters = np.frombuffer(text, dtype=np.uint8)
    is_end, is_delimiter = characters == _NEWLINE, characters == delimiter[0]
    ends_within: Integers | None = None
    if b'"' in text:
        outside = ~np.bitwise_xor.accumulate(characters == _QUOTE)
        ends_within = np.cumsum(is_end)
        is_end, is_delimiter = is_end & outside, is_delimiter & outside
    line_ends = np.flatnonzero(is_end)
    line_starts = np.concatenate(([0], line_ends[:-1] + 1))
    if numbers is None:
        before = np.arange(line_ends.size) if ends_within is None else np.append(0, ends_within[line_ends[:-1]])
        numbers = first_line + before
    filled = line_ends > line_starts
    if not filled.all():
        blank += int(filled.size - filled.sum())
        numbers, line_starts, line_ends = numbers[filled], line_starts[filled], line_ends[filled]
    delimiters = np.flatnonzero(is_delimiter)
    if not _are_even(delimiters, line_starts, line_ends, columns):
        counts = np.searchsorted(delimiters, line_ends) - np.searchsorted(delimiters, line_starts) + 1
        line = np.flatnonzero(counts != columns)[0]
        raise UsageError(
            f"every line must have {columns} fields like the first; got {counts[line]} in line {numbers[line]} "
            f"of {source}. Correct the line."
        )
    inner = delimiters.reshape(line_starts.size, columns - 1)
    starts = np.concatenate((line_starts[:, None], inner + 1), axis=1)
    ends = np.concatenate((inner, line_ends[:, None]), axis=1)
    _trim(characters, starts, ends)
    return Fields(source, characters, starts, ends, numbers, may_have_commas, blank)


def _are_even(delimiters: Integers, line_starts: Integers, line_ends: Integers, columns: int) -> bool:
    """Whether each line has one delimiter less than there are columns."""
    if delimiters.size != line_starts.size * (columns - 1):
        return False
    inner = delimiters.reshape(line_starts.size, columns - 1)
    # in order, as many as there are: each line has its own where its first and its last lie within
    return columns == 1 or bool((inner[:, 0] >= line_starts).all() and (inner[:, -1] < line_ends).all())


def well_quoted(text: bytes, delimiter: bytes) -> bool:
    """Whether every quote opens a field, ends one, or is one of two that stand for one."""
    characters = np.frombuffer(text, dtype=np.uint8)
    quotes = np.flatnonzero(characters == _QUOTE)
    if quotes.size % 2:
        return False
    before, after = quotes[::2] - 1, quotes[1::2] + 1
    while (spaces := (before >= 0) & (characters[before] == _SPACE)).any():
        before = before - spaces
    while (spaces := characters[np.minimum(after, characters.size - 1)] == _SPACE).any():
        after = after + spaces
    edges = np.array([delimiter[0], _NEWLINE, _QUOTE], dtype=np.uint8)
    opens = (before < 0) | np.isin(characters[before], edges)
    closes = np.isin(characters[np.minimum(after, characters.size - 1)], edges)
    # of two quotes that stand for one, nothing stands between
    touching = quotes[2::2] == quotes[1:-1:2] + 1
    doubled_open = np.append(False, characters[before[1:]] == _QUOTE)
    doubled_close = np.append(characters[after[:-1]] == _QUOTE, False)
    sound = not (doubled_open[1:] & ~touching).any() and not (doubled_close[:-1] & ~touching).any()
    return bool(opens.all() and closes.all() and sound)


def misplaced_quote(source: str, line: int) -> UsageError:
    """The refusal of a quote in the wrong place."""
    return UsageError(
        f"quotes must stand around a whole field, and two of them for one within; line {line} of {source} has one "
        "elsewhere, or does not close it. Correct the line."
    )


def _requoted(source: str, text: bytes, delimiter: bytes, first_line: int) -> tuple[bytes, Integers]:
    """Text with quotes in odd places as Python's csv module understands it, and the number of each of its lines."""
    lines = io.StringIO(text.decode("latin-1"), newline="")
    reader = csv.reader(lines, delimiter=delimiter.decode("latin-1"), strict=True, skipinitialspace=True)
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter.decode("latin-1"), lineterminator="\n")
    numbers, start = [], 0
    try:
        for row in reader:
            if row:
                numbers.append(first_line + start)
                writer.writerow(row)
            start = reader.line_num
    except csv.Error:
        raise misplaced_quote(source, first_line + start) from None
    return out.getvalue().encode("latin-1"), np.array(numbers, dtype=np.int64)


def _trim(text: NDArray[np.uint8], starts: Integers, ends: Integers) -> None:
    """Leave out spaces around a field, then one pair of quotes, in place."""
    if (text == _SPACE).any():
        while (leading := (starts < ends) & (text[starts] == _SPACE)).any():
            starts += leading
        while (trailing := (starts < ends) & (text[ends - 1] == _SPACE)).any():
            ends -= trailing
    if (text == _QUOTE).any():
        quoted = (ends - starts >= 2) & (text[starts] == _QUOTE) & (text[ends - 1] == _QUOTE)
        starts += quoted
        ends -= quoted


def _integers(text: NDArray[np.uint8], starts: Integers, ends: Integers) -> Integers | None:
    negative = (starts < ends) & (text[starts] == _MINUS)
    first = starts + negative
    digits = ends - first
    if digits.size == 0 or digits.min() < 1 or digits.max() > LONGEST_INTEGER:
        return None
    if ((text[first] == _ZERO) & ((digits > 1) | negative)).any():
        return None  # 007 and -0 are not the way to write a number: as an id they differ from 7 and 0
    values = np.zeros(digits.size, dtype=np.int64)
    for place in range(int(digits.max())):
        within = place < digits
        figure = text[np.minimum(first + place, text.size - 1)] - np.uint8(_ZERO)
        if (within & (figure > 9)).any():
            return None
        values = np.where(within, values * 10 + figure, values)
    return np.where(negative, -values, values)


def _decimals(text: NDArray[np.uint8], starts: Integers, ends: Integers) -> NDArray[np.float64] | None:
    """Fields of at most 15 digits with at most one point among them and perhaps a minus before, or None unless all are.

    The digits as a whole number and the power of ten are both exact in float64, so their quotient, rounded once, is the
    number nearest to the decimal one, as by ``float``.
    """
    negative = (starts < ends) & (text[starts] == _MINUS)
    starts = starts + negative
    lengths = ends - starts
    if lengths.size == 0 or lengths.min() < 1 or lengths.max() > _LONGEST_DECIMAL:
        return None
    digits, after_point = np.zeros(lengths.size, dtype=np.int64), np.zeros(lengths.size, dtype=np.int64)
    pointed = np.zeros(lengths.size, dtype=np.bool_)
    for place in range(int(lengths.max())):
        within = place < lengths
        character = text[np.minimum(starts + place, text.size - 1)]
        point = within & (character == _POINT)
        figure = character - np.uint8(_ZERO)
        if (point & pointed).any() or (within & ~point & (figure > 9)).any():
            return None
        within &= ~point
        digits = np.where(within, digits * 10 + figure, digits)
        after_point += within & pointed
        pointed |= point
    if (lengths == pointed).any():
        return None  # a point alone
    values = digits / 10.0**after_point
    return np.where(negative, -values, values)


def _texts(text: NDArray[np.uint8], starts: Integers, ends: Integers) -> NDArray[np.bytes_]:
    lengths = ends - starts
    width = max(1, int(lengths.max(initial=0)))
    characters = np.zeros((starts.size, width), dtype=np.uint8)
    for place in range(width):
        within = np.flatnonzero(place < lengths)
        characters[within, place] = text[starts[within] + place]
    return characters.view(f"S{width}").ravel()


def _numbers(text: NDArray[np.uint8], starts: Integers, ends: Integers) -> NDArray[np.float64] | None:
    """All the fields as numbers, or None when one of them is not."""
    integers = _integers(text, starts, ends)
    if integers is not None:
        return integers.astype(np.float64)
    decimals = _decimals(text, starts, ends)
    if decimals is not None:
        return decimals
    if starts.size == 0 or (ends - starts).min() < 1 or (ends - starts).max() > LONGEST_FIELD:
        return None
    fields = _texts(text, starts, ends)
    if not _NUMERIC[fields.view(np.uint8)].all():
        return None
    try:
        return fields.astype(np.float64)
    except ValueError:
        return None


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text, "us")
    except ValueError:
        return False
    return True


def _number(field: bytes) -> float:
    return float(field) if is_number(field) else np.nan


def is_number(field: bytes) -> bool:
    """Whether a field is written as a number (not-a-number and infinity are)."""
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _printable(field: bytes) -> str:
    text = field[:60].decode("utf-8", "replace") + ("..." if len(field) > 60 else "")
    return ascii(text) if not text.isprintable() else repr(text)


# "auto": Arrow for chunks from this size on, where it is installed; it takes a tenth of a second to load
ENGINE = "auto"
_FROM_BYTES = 2**20
_TENS = 10 ** np.arange(1, 19, dtype=np.int64)


class ArrowFields:
    """The fields of some lines, none of them empty, each column parsed when it is asked for.

    ``table`` has columns of text, named by their places; ``base`` cuts the same lines where Arrow has no answer.
    """

    blank = 0

    def __init__(self, table: Any, base: Callable[[], Fields], first_line: int) -> None:
        self._table = table
        self._make_base = base
        self._first_line = first_line

    @property
    def source(self) -> str:
        """Name of the file."""
        return self._base.source

    @property
    def line_numbers(self) -> Integers:
        """(lines,), counted from 1."""
        return self._first_line + np.arange(self._table.num_rows)

    def integers(self, column: int) -> Integers | None:
        """As of `Fields`, (rows,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = self._table[str(column)]
        if not texts[0].as_py().lstrip("-").isdigit():  # spares most texts the attempt
            return None
        try:
            values = texts.cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            return None
        # 007 and -0 are longer than the number that they are
        shortest = 1 + np.searchsorted(_TENS, np.abs(values), side="right") + (values < 0)
        plain = bool((pc.binary_length(texts).to_numpy() == shortest).all())
        return values if plain and bool((np.abs(values) < 10**LONGEST_INTEGER).all()) else None

    def texts(self, column: int) -> IdColumn:
        """As of `Fields`, (rows,), each distinct text once."""
        import pyarrow as pa
        import pyarrow.compute as pc

        coded = self._table[str(column)].cast(pa.binary()).combine_chunks().dictionary_encode()
        lengths = pc.min_max(pc.binary_length(coded.dictionary)).as_py()
        if not lengths["min"] or lengths["max"] > LONGEST_FIELD:
            return self._base.texts(column)
        distinct = np.array(coded.dictionary.to_pylist(), dtype=np.bytes_)
        return CodedIds(distinct, coded.indices.to_numpy().astype(np.int64))

    def numbers(self, columns: slice) -> NDArray[np.float64]:
        """As of `Fields`, (lines, columns)."""
        import pyarrow as pa

        try:
            values = [self._table[name].cast(pa.float64()).to_numpy() for name in self._table.column_names[columns]]
        except pa.ArrowInvalid:
            return self._base.numbers(columns)
        stacked = np.stack(values, axis=1)
        return stacked if bool(np.isfinite(stacked).all()) else self._base.numbers(columns)

    def times(self, column: int) -> tuple[NDArray[Any], bool]:
        """As of `Fields`, (rows,)."""
        whole = self.integers(column)
        return self._base.times(column) if whole is None else (whole, False)

    @cached_property
    def _base(self) -> Fields:
        return self._make_base()


@lru_cache(1)
def _is_installed() -> bool:
    return find_spec("pyarrow") is not None


def arrow_fields(
    text: bytes, delimiter: bytes, width: int, first_line: int, base: Callable[[], Fields]
) -> ArrowFields | None:
    """The fields of some lines by Arrow; None where the other engine is to cut them."""
    wanted = ENGINE == "arrow" or (ENGINE == "auto" and len(text) >= _FROM_BYTES)
    if not wanted or not _is_installed() or not _is_plain(text, delimiter):
        return None
    import pyarrow as pa
    from pyarrow import csv

    names: Sequence[str] = [str(place) for place in range(width)]
    try:
        table = csv.read_csv(
            pa.py_buffer(text),
            csv.ReadOptions(column_names=names, block_size=len(text) + 1),
            csv.ParseOptions(delimiter=delimiter.decode("latin-1"), newlines_in_values=b'"' in text),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:  # the other engine names the line
        return None
    # otherwise lines are empty, or go on in the next one
    return ArrowFields(table, base, first_line) if table.num_rows == text.count(b"\n") else None


def _is_plain(text: bytes, delimiter: bytes) -> bool:
    """Whether fields have neither spaces around them nor quotes in odd places."""
    if b"\r" in text:
        return False
    if b" " in text:
        characters = np.frombuffer(text, np.uint8)
        spaces = np.flatnonzero(characters == ord(" "))
        edges = np.array([delimiter[0], ord("\n"), ord('"')], np.uint8)
        # a text ends with a newline, so index -1, for a space in the first byte, finds one too
        if np.isin(characters[spaces - 1], edges).any() or np.isin(characters[spaces + 1], edges).any():
            return False
    return b'"' not in text or well_quoted(text, delimiter)
