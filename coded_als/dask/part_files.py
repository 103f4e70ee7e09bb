"""Part files of ratings, Parquet or text: the client lists them, Dask workers read them."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from coded_als.data.dialect import TextLayout, TextOptions, layout_of, named_columns
from coded_als.data.lines import Lines, plain_name
from coded_als.data.ratings import CodedIds, IdColumn, number_ids
from coded_als.data.text import TextColumns, read_columns
from coded_als.errors import UsageError, reason_of
from coded_als.models.checkpoint import digest

# Rows that are read at once, where the row groups of a Parquet file allow it.
PIECE_ROWS = 2_000_000
_REMEDY = "Name the columns of users, items and perhaps ratings, as in --columns user,item,rating."


@dataclass(frozen=True)
class Piece:
    """The share of one task: a file, or some row groups of it."""

    path: str  # the same on all machines
    groups: tuple[int, int] | None = None  # row groups from and to; None for all of it
    # `Columns.digest` of its rows once they have been read: a second reading must find the same
    digest: str | None = None
    layout: TextLayout | None = None  # how a text is read; None for Parquet
    encoding: str | None = None  # of a text
    # columns that the folders of the path stand for, ``key=value``, and their values
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class Columns:
    """The rows of a piece."""

    # (rows,) ids as int64, uint64 or string
    users: pa.Array
    items: pa.Array
    # (rows,) float32 where that is exact, else float64; None where there is no column of ratings
    values: NDArray[Any] | None
    empty_lines: int = 0  # lines of a text that were passed over

    @property
    def digest(self) -> str:
        """SHA-256 of all of them, in their order."""
        values = () if self.values is None else (self.values,)
        return digest(*_plain(self.users), *_plain(self.items), *values)


def find_pieces(source: str, columns: Sequence[str] | TextOptions | None) -> list[Piece]:
    """The pieces of a dataset, in the order of their paths."""
    options = _options(columns)
    given = options.columns
    if given is not None and (not 2 <= len(given) <= 3 or len(set(given)) < len(given)):
        raise UsageError(f"part files are read by two or three names of columns; got {given}. {_REMEDY}")
    # a link to nowhere is a part that is missing, not none
    paths = sorted(path for path in _candidates(source) if os.path.lexists(path) and not os.path.isdir(path))
    kinds = {_kind(path) for path in paths}
    if len(kinds) != 1 or None in kinds:
        got = "none" if not paths else f"{paths[0]}" + (" and others" if len(paths) > 1 else "")
        raise UsageError(
            f"ratings must be part files that are all .parquet, or all text (.csv, .tsv, .txt, .dat); got {got} for "
            f"{source}. Check the pattern."
        )
    for path in paths:
        if not os.path.isfile(path):  # to open a pipe would wait for ever
            raise _unreadable(path, OSError("it is no file"))
    if kinds == {"csv"}:
        pieces = _text_pieces(paths, options)
    else:
        pieces = [piece for path in paths for piece in _parquet_pieces(path, source, options)]
    if not pieces:
        raise UsageError(f"ratings must have at least one row; {source} has none. Check the files.")
    return pieces


def columns_of(pieces: Sequence[Piece], columns: Sequence[str] | TextOptions | None) -> tuple[str, ...]:
    """The names of the columns of user, item and perhaps rating."""
    layout = pieces[0].layout
    if layout is not None:
        return layout.columns[: 2 if layout.places[2] is None else 3]
    return _parquet_columns(pieces[0].path, pieces[0].keys, _options(columns).columns)


def read_piece(piece: Piece, columns: Sequence[str]) -> Columns:
    """The rows of a piece."""
    read = _read_table(piece, columns) if piece.layout is None else _read_text(piece, piece.layout)
    if piece.digest not in (None, read.digest):
        raise UsageError(
            f"part files must not change while they are in use; {piece.path} has, since its ids were counted. Put it back, "
            "or fit again."
        )
    return read


def _read_table(piece: Piece, columns: Sequence[str]) -> Columns:
    """The rows of row groups of a Parquet file."""
    name = os.path.basename(piece.path)
    with _explained(piece):
        table = _read(piece, list(columns))
    for column in columns:
        if nulls := table[column].null_count:
            raise UsageError(
                f"part files must have no gaps; {nulls} values of column {column!r} in {name} are missing. Drop these rows."
            )
    users, items = (_ids(table[column], column, name) for column in columns[:2])
    return Columns(users, items, _values(table[columns[2]], columns[2], name) if len(columns) == 3 else None)


@contextmanager
def _explained(piece: Piece) -> Iterator[None]:
    """Name the file where bytes are damaged: Arrow has errors of its own for that."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise _unreadable(piece.path, error) from None


def is_text_file(piece: Piece) -> bool:
    """Whether its ids are text that may stand for numbers."""
    return piece.layout is not None


def _options(columns: Sequence[str] | TextOptions | None) -> TextOptions:
    if isinstance(columns, TextOptions):
        return columns
    return TextOptions(None if columns is None else tuple(columns))


def _candidates(source: str) -> Iterator[str]:
    if not os.path.isdir(source):
        yield from glob.glob(source, recursive=True) if glob.has_magic(source) else [source]
        return
    for name in os.listdir(source):
        path = os.path.join(source, name)
        # as in other tools: files with names that begin with _ or . are notes of the writing program
        if name.startswith(("_", ".")):
            continue
        if "=" in name and os.path.isdir(path):
            yield from _candidates(path)
        else:
            yield path


def _kind(path: str) -> str | None:
    if path.lower().endswith(".parquet"):
        return "parquet"
    return "csv" if plain_name(path).endswith((".csv", ".tsv", ".txt", ".dat")) else None


def _text_pieces(paths: list[str], options: TextOptions) -> list[Piece]:
    """One piece for each file with lines; the first that has several says how all are read."""
    filled = []
    for path in paths:
        lines = _line_count(path, options.encoding)
        if lines:
            filled.append((path, lines))
    if not filled:
        return []
    first = next((path for path, lines in filled if lines > 1), filled[0][0])
    layout = _layout(first, options)
    pieces = []
    for path, _ in filled:
        own = layout if path == first else _layout(path, _like(layout, first, path, options))
        if own.width != layout.width and not layout.names:
            raise UsageError(
                f"part files without names must have the same columns; {first} has {layout.width}, {path} {own.width}. "
                "Convert one of them."
            )
        user, item, rating, _ = own.places
        pieces.append(Piece(path, layout=replace(own, places=(user, item, rating, None)), encoding=options.encoding))
    return pieces


def _layout(path: str, options: TextOptions) -> TextLayout:
    try:
        return layout_of(Path(path), options)
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _like(layout: TextLayout, first: str, path: str, options: TextOptions) -> TextOptions:
    """The options for one part that follow from the layout of another."""
    columns = layout.columns if layout.names else tuple(str(place + 1) for place in layout.places if place is not None)
    same = os.path.splitext(plain_name(first))[1] == os.path.splitext(plain_name(path))[1]
    delimiter = layout.delimiter.decode() if same else options.delimiter
    return TextOptions(columns, bool(layout.names), delimiter, options.encoding)


def _line_count(path: str, encoding: str | None) -> int:
    """How many lines the start of a text has, two for more."""
    try:
        return len(list(itertools.islice(Lines(Path(path), encoding, quoted=True, chunk_bytes=2**15).numbered(), 2)))
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _parquet_pieces(path: str, source: str, options: TextOptions) -> list[Piece]:
    keys = _keys(path, source)
    try:
        file = parquet.ParquetFile(path)
        names = _parquet_columns(path, keys, options.columns)
        _require_columns(path, [*file.schema_arrow.names, *dict(keys)], list(names))
        rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except UsageError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None
    ends = np.cumsum(rows)
    # as many groups together as make a piece
    labels = (ends - 1) // PIECE_ROWS if rows else ends
    cuts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(rows)]
    spans = itertools.pairwise(cuts)
    return [Piece(path, (start, stop), keys=keys) for start, stop in spans if sum(rows[start:stop])]


def _keys(path: str, source: str) -> tuple[tuple[str, str], ...]:
    """The columns that folders ``key=value`` below the source stand for."""
    fixed = source
    while glob.has_magic(fixed):
        fixed = os.path.dirname(fixed)
    folders = os.path.relpath(os.path.dirname(path), fixed or ".").split(os.sep)
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return tuple((key, unquote(value)) for key, _, value in pairs)


def _parquet_columns(path: str, keys: tuple[tuple[str, str], ...], given: tuple[str, ...] | None) -> tuple[str, ...]:
    known = [*parquet.read_schema(path).names, *dict(keys)]
    names = named_columns(known, given, path)
    if names is None:
        there = ", ".join(map(repr, known[:12]))
        raise UsageError(f"part files are read by two or three names of columns; {path} has {there}. {_REMEDY}")
    return names[:3] if given is None else names


def _require_columns(path: str, known: list[str], names: list[str]) -> None:
    for name in names:
        if known.count(name) > 1:
            raise UsageError(f"columns must be named once in each part; {path} has {name!r} twice. Rename one of them.")
    missing = [name for name in names if name not in known]
    if missing:
        there = ", ".join(map(repr, known[:12]))
        raise UsageError(f"columns must be among those of {path}, {there}; got {missing[0]!r}. {_REMEDY}")


def _read(piece: Piece, columns: list[str]) -> pa.Table:
    keys = dict(piece.keys)
    assert piece.groups is not None
    stored = [column for column in columns if column not in keys]
    table = parquet.ParquetFile(piece.path).read_row_groups(list(range(*piece.groups)), columns=stored)
    for column in columns:
        if column in keys:
            value: Any = keys[column]
            number = int(value) if value.isdigit() and str(int(value)) == value else value
            table = table.append_column(column, pa.array([number] * len(table)))
    return table


def _read_text(piece: Piece, layout: TextLayout) -> Columns:
    """The rows of a text as of single files, with ids as text: whether they are numbers depends on all parts."""
    with _explained(piece):
        cells = read_columns(Path(piece.path), layout, piece.encoding)
        users, items = (_as_text(ids, cells, piece.path) for ids in (cells.users, cells.items))
    return Columns(users, items, None if cells.values is None else _short(cells.values), cells.blank)


def _as_text(ids: IdColumn, cells: TextColumns, path: str) -> pa.Array:
    """Ids as text. Whole numbers are written in the one way in which they were read as such."""
    try:
        if isinstance(ids, CodedIds):
            return pa.array(ids.distinct).cast(pa.large_string()).take(pa.array(ids.codes))
        return pa.array(ids).cast(pa.large_string())
    except pa.ArrowInvalid:
        number_ids(ids, cells.lines, os.path.basename(path))  # names the line
        raise


def _ids(column: pa.ChunkedArray, name: str, file: str) -> pa.Array:
    """Ids as `coded_als.data.tables` has them: whole numbers, or the text of anything else."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _ids(column.cast(kind.value_type), name, file)
    if pa.types.is_integer(kind):
        wide = pa.uint64() if kind == pa.uint64() and (pc.max(column).as_py() or 0) >= 2**63 else pa.int64()
        return _together(column.cast(wide))
    if pa.types.is_floating(kind):
        numbers = column.to_numpy()
        if not np.isfinite(numbers).all():
            raise UsageError(f"ids must not be NaN or infinite; column {name!r} of {file} has such. Drop these rows.")
        if (numbers == np.rint(numbers)).all() and np.abs(numbers).max(initial=0) <= 2**53:
            return pa.array(numbers.astype(np.int64))
    if pa.types.is_nested(kind):
        raise UsageError(f"ids must be whole numbers or text; column {name!r} of {file} is {kind}. Name another.")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _ids(_decoded(column, name, file), name, file)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = _together(column.cast(pa.large_string()))
    else:
        text = pa.array([str(value) for value in column.to_pylist()], pa.large_string())
    if pc.any(pc.match_substring(text, "\0")).as_py():
        raise UsageError(f"ids must be text without zero characters; {name!r} of {file} has one. Remove it.")
    return text


def _decoded(column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
    """Bytes as the text that they are in UTF-8."""
    try:
        if pa.types.is_fixed_size_binary(column.type):
            column = column.cast(pa.binary())
        return column.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        raise UsageError(
            f"ids must be UTF-8 text; column {name!r} of {file} holds other bytes. Convert it to text."
        ) from None


def _plain(ids: pa.Array) -> tuple[NDArray[Any], ...]:
    """Ids as arrays of numbers: themselves, or the lengths of texts and all of their bytes."""
    if not pa.types.is_large_string(ids.type):
        return (ids.to_numpy(),)
    _, offsets, content = ids.buffers()
    ends = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    text = np.frombuffer(content or b"", np.uint8)[ends[0] : ends[-1]]
    return np.diff(ends), text


def _together(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _values(column: pa.ChunkedArray, name: str, file: str) -> NDArray[Any]:
    kind = column.type
    if not len(column):  # of no type that anything could be said of
        return np.empty(0, np.float32)
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise UsageError(f"ratings must be numbers; column {name!r} of {file} is {kind}. Name another or convert it.")
    values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise UsageError(
            f"ratings must be finite; got {values[bad[0]]} in column {name!r} of {file}. Correct or drop it."
        )
    return _short(values)


def _short(values: NDArray[Any]) -> NDArray[Any]:
    """The values in float32, where that is exact."""
    short = values.astype(np.float32)
    return short if bool((short == values).all()) else values


def _unreadable(path: str, error: Exception) -> UsageError:
    return UsageError(f"a part file must be complete and readable; got {path}: {reason_of(error)}. Write it again.")
