"""The layout of delimited text: which bytes delimit, whether line 1 holds names, and which column is which by its name."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from coded_als.data.fields import is_number, misplaced_quote, well_quoted
from coded_als.data.lines import WHITESPACE, Lines, one_byte
from coded_als.errors import UsageError

Role = Literal["user", "item", "rating", "time"]
ROLES: tuple[Role, ...] = ("user", "item", "rating", "time")

_PEOPLE = (
    "user usr visitor customer cust member reviewer person account client listener subscriber reader viewer player"
)
_THINGS = (
    "item movie film book isbn product prod track song artist album business asin parentasin game anime joke article news "
    "video show series place venue restaurant recipe poi sku"
)
_RATINGS = (
    "rating ratings score scores star stars overall overallrating bookrating userrating itemrating movierating ratingvalue "
    "reviewrating reviewscore reviewoverall count counts plays playcount listencount listens weight value freq frequency "
    "quantity r preference pref strength"
)
_TIMES = (
    "time times timestamp ts date datetime unixtime unixreviewtime reviewtime eventtime ratingtime ratingtimestamp "
    "ratingdate reviewdate createdat created createddate dateadded unixtimestamp t tstamp"
)
# a name of one of these, where no other name is known, may be the number of the row
_ROW_NAMES = {"index", "id", "idx", "row", "rowid", "rownumber", "rownum", "no", "nr", "key", "pk", "sno", "unnamed0"}


def _with_ids(words: str) -> set[str]:
    return {word + ending for word in words.split() for ending in ("", "s", "id", "ids", "no", "idx", "index", "code")}


_ROLE_OF: dict[str, Role] = {
    **dict.fromkeys((*_with_ids(_PEOPLE), "uid", "u", "userkey", "username"), "user"),
    **dict.fromkeys((*_with_ids(_THINGS), "iid", "i", "mid", "itemkey", "itemname"), "item"),
    **dict.fromkeys(_RATINGS.split(), "rating"),
    **dict.fromkeys(_TIMES.split(), "time"),
}


def plain_word(name: str) -> str:
    """A name in lower case without marks and without the type that some files put after a colon."""
    return re.sub(r"[^0-9a-z]", "", name.split(":")[0].lower())


def role_of(name: str) -> Role | None:
    """The column that a name stands for, or None where it is not known."""
    return _ROLE_OF.get(plain_word(name))


def may_number_rows(name: str) -> bool:
    """Whether a column of this name may hold the numbers of the rows."""
    return name.strip() == "" or name.startswith("Unnamed:") or plain_word(name) in _ROW_NAMES


def named_columns(known: Sequence[str], given: tuple[str, ...] | None, source: str) -> tuple[str, ...] | None:
    """The names of the columns of users, items and perhaps ratings and times; None where nothing says which."""
    if given is not None:
        if set(given) <= set(known) or not all(name.isdigit() for name in given):
            return given
        if not all(1 <= int(name) <= len(known) for name in given):
            raise UsageError(
                f"columns must be among the {len(known)} of {source}, from 1; got {', '.join(given)}. Correct --columns."
            )
        return tuple(known[int(name) - 1] for name in given)
    places = {role: [name for name in known if role_of(name) == role] for role in ROLES}
    others = [name for name in known if role_of(name) is None and not may_number_rows(name)]
    if any(len(names) > 1 for names in places.values()) or not (places["user"] and places["item"]):
        return None
    if not places["rating"] and others:
        return None
    wanted = ROLES if places["rating"] else ROLES[:2]
    return tuple(places[role][0] for role in wanted if places[role])


# tried in this order: the rarer a delimiter is inside an id or a number, the earlier
DELIMITERS = (b"\t", b"::", b";", b"|", b",", WHITESPACE)
_SAMPLE = 100
_HEAD_BYTES = 2**15
_SAY_COLUMNS = "Name the columns, as in --columns USER,ITEM,RATING (names, or places from 1)."
_SAY_HEADER = "Say which, by --header or --no-header."
# A whole number from here on is a time rather than a rating: seconds since 1970, in 1973.
_TIMES_FROM = 1e8
# the rank of a reading as pairs; that of ratings that are no numbers is above it
_PAIRS = 3
_YES_OR_NO = {"true", "false", "yes", "no", "t", "f", "y", "n"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]|$)")
Row = list[str]


@dataclass(frozen=True)
class TextOptions:
    """A user's options for a text; with None the text decides."""

    columns: tuple[str, ...] | None = None  # of users, items, and perhaps ratings and times: names, or places from 1
    header: bool | None = None  # whether line 1 holds names
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class TextLayout:
    """Delimiter and columns of a text."""

    delimiter: bytes  # bytes between fields; a space stands for any white space
    width: int  # fields of each line
    # of user, item, and perhaps rating and time, from 0; None where there is no such column
    places: tuple[int, int, int | None, int | None]
    header_line: int  # number of the last line of the names, 0 where there are none
    names: tuple[str, ...]  # of all columns; empty where there is no line of names
    by: str  # the columns were found by ``"name"`` or by ``"position"``

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read, by their names in the file, or else by their roles."""
        return tuple(
            self.names[place] if self.names else role
            for role, place in zip(ROLES, self.places, strict=True)
            if place is not None
        )

    @property
    def unread(self) -> tuple[str, ...]:
        """The names, or the places from 1, of the columns that are not read."""
        return tuple(
            (self.names[place] or "(without a name)") if self.names else str(place + 1)
            for place in range(self.width)
            if place not in self.places
        )


@dataclass(frozen=True)
class _Sample:
    """The first lines of a text, cut at one delimiter."""

    source: str
    delimiter: bytes
    numbers: list[int]
    rows: list[Row]
    header_end: int

    @property
    def first(self) -> Row:
        return self.rows[0]

    def is_numeric(self, column: int) -> bool:
        """Whether all lines but the first have numbers there, and there are such lines."""
        return len(self.rows) > 1 and all(self._is_number(row[column]) for row in self.rows[1:])

    def is_yes_or_no(self, column: int) -> bool:
        """Whether all lines but the first have words there that stand for 1 and 0, and there are such lines."""
        return len(self.rows) > 1 and all(row[column].lower() in _YES_OR_NO for row in self.rows[1:])

    def contrasts(self, column: int) -> bool:
        """Whether numbers stand there under a word."""
        field = self.first[column]
        return bool(field) and not self._is_number(field) and self.is_numeric(column)

    def _is_number(self, field: str) -> bool:
        return is_number_text(field, self.delimiter != b",")

    def numbers_in(self, row: Row) -> int:
        """How many fields of a row are numbers."""
        return sum(map(self._is_number, row))

    def looks_like_times(self, column: int, rows: list[Row]) -> bool:
        """Whether a column has nothing but whole numbers as large as seconds since 1970."""
        fields = [row[column] for row in rows]
        return bool(fields) and all(field.isdigit() and float(field) >= _TIMES_FROM for field in fields)


def is_number_text(field: str, may_have_comma: bool) -> bool:
    """Whether a field is written as a number, perhaps with a comma for the point."""
    if may_have_comma and field.count(",") == 1 and "." not in field:
        field = field.replace(",", ".")
    return field.isascii() and is_number(field.encode())


def layout_of(path: Path, options: TextOptions) -> TextLayout:
    """The layout of a text of ratings; `UsageError` for a text that is no table, or that may be read in two ways."""
    text = head_of(path, options.encoding)
    source = path.name
    found: list[tuple[int, TextLayout]] = []
    others: list[TextLayout | UsageError] = []  # where lines differ, or that are refused
    rivals: list[TextLayout | UsageError] = []  # those of them that contradict a reading as pairs
    for delimiter in _delimiters(options, source):
        try:
            sample = sample_of(source, text, delimiter)
        except UsageError as error:
            others.append(error)
            continue
        if sample is None or len(sample.first) < 2:
            continue
        is_rival = len(sample.first) > 2 and delimiter != WHITESPACE
        try:
            even = all(len(row) == len(sample.first) for row in sample.rows)
            layout = _columns(sample, options) if even else _ragged(sample, options)
        except UsageError as error:
            others.append(error)
            rivals += [error] if is_rival else []
            continue
        if layout is not None and even:
            found.append((_rank(sample, layout, options), layout))
        elif layout is not None:
            others.append(layout)
        if layout is not None and is_rival:
            rivals.append(layout)
    least = min((rank for rank, _ in found), default=_PAIRS)
    best = [layout for rank, layout in found if rank == least]
    if least == _PAIRS and best and rivals:
        # `1;10;3,5` is no pair around a comma
        best = []
        others = rivals
    if len(best) > 1 and best[1].delimiter != WHITESPACE and options.columns is None:
        one, other = (
            f"{len(layout.columns)} of {layout.width} columns between {_delimiter_name(layout.delimiter)}"
            for layout in best[:2]
        )
        raise UsageError(f"a text must have one reading; {source} has {one}, or {other}. Say which, by --delimiter.")
    for layout_or_error in (*best, *others):
        if isinstance(layout_or_error, UsageError):
            raise layout_or_error
        return layout_or_error  # where lines differ, the reader names the first that does
    raise UsageError(
        f"lines must be `user item rating [time]` or `user item`, separated by tab, comma, semicolon, |, :: or space; "
        f"{source} begins {_begins(text)}. Convert it, or use --dense for a matrix."
    )


def head_of(path: Path, encoding: str | None, noun: str = "ratings") -> bytes:
    """The first lines of a text, that of `sample_of` among them; `UsageError` when there is none."""
    empty = 0
    for _, text in Lines(path, encoding, quoted=True, chunk_bytes=_HEAD_BYTES).chunks():
        if text.strip(b"\n"):
            return b"\n" * empty + text
        empty += len(text)
    raise UsageError(f"{noun} must have at least one line; {path.name} is empty. Check the path.")


def sample_of(source: str, text: bytes, delimiter: bytes) -> _Sample | None:
    """The first lines of a text as fields, or None where they cannot be cut."""
    if delimiter not in text and not (delimiter == WHITESPACE and b"\t" in text):
        return None
    plain_text, byte = one_byte(text, delimiter)
    numbers: list[int] = []
    rows: list[Row] = []
    header_end = 0
    try:
        for number, end, row in _cut(plain_text, byte, 1, source):
            numbers.append(number)
            rows.append(row)
            header_end = header_end or end
            if len(rows) > _SAMPLE:
                break
    except UsageError:
        if not rows:
            raise
    return _Sample(source, delimiter, numbers, rows, header_end) if rows else None


def rows_of(text: bytes, delimiter: bytes, first_line: int, source: str) -> Iterator[tuple[int, Row]]:
    """The rows of a text that need not be equally long, as of titles, and the number of the line that each begins in.

    Raises UsageError with the line number, for a quote in the wrong place.
    """
    text.decode()  # raises where it is no UTF-8: names may be shown with marks, ids and titles not
    plain_text, byte = one_byte(text, delimiter)
    if b'"' in plain_text and delimiter not in (b",", b";") and not well_quoted(plain_text, byte):
        # inches and nicknames: where quotes do not stand around fields they are letters
        yield from _cut_at_each(text, delimiter, first_line)
        return
    for number, _, row in _cut(plain_text, byte, first_line, source):
        yield number, row


def _cut(text: bytes, delimiter: bytes, first_line: int, source: str) -> Iterator[tuple[int, int, Row]]:
    """The rows of a text that are not empty, and the numbers of the lines in which each begins and ends."""
    if b'"' in text and not well_quoted(text, delimiter):
        yield from _cut_strictly(text, delimiter, first_line, source)
        return
    start = first_line
    end = start - 1
    row: list[bytes] = []
    pieces = text.split(b'"') if b'"' in text else [text]
    field = b""
    for place, piece in enumerate(pieces):
        if place % 2:
            field += b'"' + piece + b'"'
            end += piece.count(b"\n")
            continue
        lines = piece.split(b"\n")
        for number, line in enumerate(lines):
            head, *others = line.split(delimiter)
            field += head
            for other in others:
                row.append(field)
                field = other
            if number < len(lines) - 1:
                row.append(field)
                field, end = b"", end + 1
                shown = [_unquoted(one) for one in row]
                if any(shown):
                    yield start, end, shown
                row, start = [], end + 1


def _unquoted(field: bytes) -> str:
    text = field.strip(b" ").decode("utf-8", "surrogateescape")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _cut_strictly(text: bytes, delimiter: bytes, first_line: int, source: str) -> Iterator[tuple[int, int, Row]]:
    """The same where quotes stand within fields, as Python's csv module understands it."""
    lines = io.StringIO(text.decode("utf-8", "surrogateescape"), newline="")
    reader = csv.reader(lines, delimiter=delimiter.decode("latin-1"), skipinitialspace=True, strict=True)
    start = 0
    try:
        for row in reader:
            if any(row):
                yield first_line + start, first_line + reader.line_num - 1, [field.strip(" ") for field in row]
            start = reader.line_num
    except csv.Error:
        raise misplaced_quote(source, first_line + start) from None


def _cut_at_each(text: bytes, delimiter: bytes, first_line: int) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.decode().split("\n")[:-1], first_line):
        if line:
            yield number, line.split(delimiter.decode())


def _delimiters(options: TextOptions, source: str) -> Sequence[bytes]:
    if options.delimiter is None:
        return DELIMITERS
    given = (
        options.delimiter.encode().decode("unicode_escape").encode()
        if options.delimiter.startswith("\\")
        else options.delimiter.encode()
    )
    if not given or b"\n" in given or b'"' in given or (len(given) > 1 and given != b"::"):
        raise UsageError(
            f"the delimiter must be one character or ::; got {options.delimiter!a} for {source}. Name another."
        )
    return (given,)


def _ragged(sample: _Sample, options: TextOptions) -> TextLayout | None:
    """A layout by the first line, where that alone is a row of ratings: reading names the line that is not."""
    width = len(sample.first)
    alike = [row for row in sample.rows if len(row) == width]
    if 2 * len(alike) < len(sample.rows) or (sample.delimiter == WHITESPACE and width == 2):
        return None
    try:
        return _columns(replace(sample, rows=alike), options)
    except UsageError:
        return None


def _rank(sample: _Sample, layout: TextLayout, options: TextOptions) -> int:
    """The evidence for a layout, least for the strongest: names, ratings in numbers, pairs of anything."""
    if layout.by == "name" or options.columns is not None:
        return 0
    rating = layout.places[2]
    if rating is None:
        return _PAIRS
    rows = sample.rows[1:] if layout.header_line else sample.rows
    return 1 if all(is_number_text(row[rating], sample.delimiter != b",") for row in rows) else 4


def _columns(sample: _Sample, options: TextOptions) -> TextLayout:
    """The layout of a sample with rows of equal length."""
    first, width = sample.first, len(sample.first)
    if options.columns is not None:
        return _named(sample, options.columns, options.header)
    has_names = has_header(sample, options.header)
    if not has_names:
        if width > 4:
            raise UsageError(
                f"lines must be `user item rating [time]` or `user item` where they have no names; {sample.source} has "
                f"{width} columns and begins {_line(first)}. {_SAY_COLUMNS}"
            )
        _require_plausible(sample, list(range(width)), sample.rows)
        return _layout(sample, tuple(range(width)), False, "position")
    return _by_names(sample)


def has_header(sample: _Sample, given: bool | None) -> bool:
    """Whether line 1 holds names; `UsageError` where it may be names or data."""
    if given is not None:
        return given
    first, width = sample.first, len(sample.first)
    roles = [role_of(name) for name in first]
    both = "user" in roles and "item" in roles
    numeric = sample.numbers_in(first)
    if both and not numeric:
        return True
    if both:
        raise _two_readings(sample)
    has_rows = len(sample.rows) > 1
    if first[0] == "" and width > 2 and has_rows and all(row[0] for row in sample.rows[1:]):
        return True
    contrasts = [sample.contrasts(place) for place in range(width)]
    known = sum(role is not None for role in roles)
    if width == 2:
        if all(contrasts):
            return True
        if not numeric and (known or any(contrasts)) and has_rows:
            if known and any(contrasts):
                return True
            raise _two_readings(sample)
        recurs = any(row[place] == first[place] for row in sample.rows[1:] for place in range(2))
        if not numeric and has_rows and not recurs:
            raise _two_readings(sample)  # words over words, of which nothing says that they are more than names
        return False
    if numeric:
        return False  # of data with a mistake, perhaps: the engine names it
    if not has_rows:
        return not sample._is_number(first[2])
    if sum(contrasts) >= 2 or (any(contrasts) and known):
        return True
    if any(contrasts) or known >= 2:
        raise _two_readings(sample)
    return False


def _by_names(sample: _Sample) -> TextLayout:
    first = sample.first
    places: dict[Role, list[int]] = {role: [] for role in ROLES}
    for place, name in enumerate(first):
        role = role_of(name)
        if role is not None:
            places[role].append(place)
    for role, several in places.items():
        if len(several) > 1:
            raise UsageError(
                f"the {role} must be one column; {sample.source} has {' and '.join(repr(first[place]) for place in several)}. "
                f"{_SAY_COLUMNS}"
            )
    if places["user"] and places["item"]:
        chosen = {role: several[0] for role, several in places.items() if several}
        if "rating" not in chosen:
            chosen.pop("time", None)  # of lines that are counted there is no one time
            _require_no_rating(sample, {place for several in places.values() for place in several})
        else:
            _require_numbers_for(sample, chosen["rating"])
        return _layout(sample, tuple(chosen.get(role) for role in ROLES), True, "name")
    rows = range(1, len(first)) if first[0] == "" else range(len(first))
    if first[0] != "" and may_number_rows(first[0]):
        raise UsageError(
            f"names must say which column is which; in {sample.source} {first[0]!r} may number the rows, or be the user. "
            f"{_SAY_COLUMNS}"
        )
    if not 2 <= len(rows) <= 4:
        raise UsageError(
            f"names must say which column is the user and which the item; {sample.source} has {_line(first)}. {_SAY_COLUMNS}"
        )
    for role, place in zip(ROLES, rows, strict=False):
        known = role_of(first[place])
        if known is not None and known != role:
            raise UsageError(
                f"names and places must agree; in {sample.source} {first[place]!r} is the {known} by its name, and the "
                f"{role} by its place ({_line(first)}). {_SAY_COLUMNS}"
            )
    _require_plausible(
        sample, list(rows), sample.rows[1:], role_of(first[rows[2]]) == "rating" if len(rows) > 2 else True
    )
    return _layout(sample, tuple(rows), True, "position")


def _named(sample: _Sample, columns: tuple[str, ...], header: bool | None) -> TextLayout:
    """The layout by columns that the user names, or gives the places of."""
    if not 2 <= len(columns) <= 4 or len(set(columns)) < len(columns):
        raise UsageError(f"columns must be two to four different ones; got {', '.join(columns)}. {_SAY_COLUMNS}")
    first = sample.first
    if all(column.isdigit() for column in columns) and not (header and set(columns) <= set(first)):
        places = tuple(int(column) - 1 for column in columns)
        if min(places) < 0 or max(places) >= len(first):
            raise UsageError(
                f"columns must be among the {len(first)} of {sample.source}, from 1; got {', '.join(columns)}. {_SAY_COLUMNS}"
            )
        if header is None:
            roles = {role_of(name) for name in first}
            header = {"user", "item"} <= roles and not sample.numbers_in(first)
            header = header or any(sample.contrasts(place) for place in places)
            if header and sample.numbers_in([first[place] for place in places]):
                header = False  # data with a mistake
        return _layout(sample, places, header, "position")
    missing = [column for column in columns if column not in first]
    if missing or header is False:
        there = ", ".join(map(repr, first[:12])) + (", ..." if len(first) > 12 else "")
        raise UsageError(
            f"columns must be among those of {sample.source}, {there}; got {(missing or columns)[0]!r}. {_SAY_COLUMNS}"
        )
    for column in columns:
        if first.count(column) > 1:
            raise UsageError(
                f"columns must be named once; {sample.source} has {column!r} twice. Give places, as in --columns 1,2."
            )
    return _layout(sample, tuple(first.index(column) for column in columns), True, "name")


def _layout(sample: _Sample, places: tuple[int | None, ...], header: bool, by: str) -> TextLayout:
    user, item, rating, time = (*places, None, None)[:4]
    assert user is not None
    assert item is not None
    # bytes that are no UTF-8 stand as marks in names, so that they can be shown
    shown = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in sample.first]
    end, names = (sample.header_end, tuple(shown)) if header else (0, ())
    return TextLayout(sample.delimiter, len(sample.first), (user, item, rating, time), end, names, by)


def _require_no_rating(sample: _Sample, taken: set[int]) -> None:
    """Nothing may be left that could be the rating."""
    for place, name in enumerate(sample.first):
        if (
            place not in taken
            and not may_number_rows(name)
            and (sample.is_numeric(place) or sample.is_yes_or_no(place))
        ):
            raise UsageError(
                f"names must say whether there are ratings; in {sample.source} {name!r} may be the rating, or lines are "
                f"counted ({_line(sample.first)}). {_SAY_COLUMNS}"
            )


def _require_numbers_for(sample: _Sample, place: int) -> None:
    if len(sample.rows) > 1 and sample.looks_like_times(place, sample.rows[1:]):
        raise UsageError(
            f"ratings must be no times; in {sample.source} {sample.first[place]!r} has such as {sample.rows[1][place]}. {_SAY_COLUMNS}"
        )


def _require_plausible(sample: _Sample, places: list[int], rows: list[Row], named: bool = False) -> None:
    """Columns by their places must not look like others: ratings like times, or ids like fractions."""
    if len(places) == 2 and not named:
        wrong = next((row for row in rows for place in places if _is_fraction(row[place])), None)
        if wrong is not None:
            raise UsageError(
                f"lines must be `user item rating [time]` or `user item`; {sample.source} has {_line(wrong)}, of "
                "which one is a fraction and so no id. Convert it, or use --dense for a matrix."
            )
    for place in places[:2]:
        if rows and all(_DATE.match(row[place]) for row in rows):
            raise UsageError(
                f"the first columns must be the user and the item; {sample.source} has dates there, as in {_line(rows[0])}. "
                f"{_SAY_COLUMNS}"
            )
    if len(places) > 2 and sample.looks_like_times(places[2], rows):
        raise UsageError(
            f"the third column must be the rating; that of {sample.source} looks like times, as in {_line(rows[0])}. {_SAY_COLUMNS}"
        )


def _is_fraction(field: str) -> bool:
    """Whether a field is a number but no whole one: as an id it would be a mistake, such as a matrix of two columns."""
    return is_number_text(field, False) and not field.lstrip("-").isdigit() and field[-1:].isdigit()


def _two_readings(sample: _Sample) -> UsageError:
    return UsageError(
        f"line {sample.numbers[0]} of {sample.source}, {_line(sample.first)}, may hold names of columns, or data. {_SAY_HEADER}"
    )


def _line(row: Row) -> str:
    shown = ", ".join(row)[:60]
    return repr(shown) if shown.isprintable() else ascii(shown)


def _begins(text: bytes) -> str:
    shown = text.strip().split(b"\n")[0][:60].decode("utf-8", "replace")
    return repr(shown) if shown.isprintable() else ascii(shown)


def _delimiter_name(delimiter: bytes) -> str:
    return {b"\t": "tabs", WHITESPACE: "white space"}.get(delimiter, repr(delimiter.decode()))
