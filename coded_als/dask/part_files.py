"""Part files of ratings, Parquet or CSV: found by the client, read by whoever is to."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from coded_als.errors import UsageError
from coded_als.models.snapshot import digest

# Rows that are read at once, where the row groups of a Parquet file allow it.
PIECE_ROWS = 2_000_000
_REMEDY = "Name the columns of users, items and perhaps ratings, as in --columns user,item,rating."


@dataclass(frozen=True)
class Piece:
    """What one task reads: a file, or some row groups of it.

    Parameters
    ----------
    path
        Of the file, the same on all machines.
    groups
        Row groups from and to; None for all of it.
    digest
        Of its rows (`Columns.digest`), once they have been read: whoever reads them again must find the same.
    """

    path: str
    groups: tuple[int, int] | None = None
    digest: str | None = None


@dataclass(frozen=True, eq=False)
class Columns:
    """The rows of a piece.

    Parameters
    ----------
    users, items
        (rows,) ids as int64, uint64 or string.
    values
        (rows,) float32 where that is exact, else float64; None where there is no column of ratings.
    """

    users: pa.Array
    items: pa.Array
    values: NDArray[Any] | None

    @property
    def digest(self) -> str:
        """SHA-256 of all of them, in their order."""
        values = () if self.values is None else (self.values,)
        return digest(*_plain(self.users), *_plain(self.items), *values)


def find_pieces(source: str, columns: Sequence[str] | None) -> list[Piece]:
    """The pieces of a dataset, in the order of their paths.

    Parameters
    ----------
    source
        A pattern such as ``ratings/*.parquet``, a folder, or one file.
    columns
        Names of the columns of user, item and perhaps rating.

    Raises
    ------
    UsageError
        Where there are no such files, they are of several kinds or unreadable, or a column is not among theirs.
    """
    names = [] if columns is None else list(columns)
    if not 2 <= len(names) <= 3 or len(set(names)) < len(names):
        raise UsageError(f"part files are read by two or three names of columns; got {columns}. {_REMEDY}")
    # a link to nowhere is a part that is missing, not none
    paths = sorted(path for path in _candidates(source) if os.path.lexists(path) and not os.path.isdir(path))
    kinds = {_kind(path) for path in paths}
    if len(kinds) != 1 or None in kinds:
        got = "none" if not paths else f"{paths[0]}" + (" and others" if len(paths) > 1 else "")
        raise UsageError(
            f"ratings must be part files that are all .parquet, or all .csv or .tsv; got {got} for {source}. Check the pattern."
        )
    pieces = [piece for path in paths for piece in _pieces_of(path, names)]
    if not pieces:
        raise UsageError(f"ratings must have at least one row; {source} has none. Check the files.")
    return pieces


def read_piece(piece: Piece, columns: Sequence[str]) -> Columns:
    """The rows of a piece.

    Parameters
    ----------
    piece
        Which.
    columns
        Names of the columns of user, item and perhaps rating.

    Raises
    ------
    UsageError
        For an unreadable file, a value that is missing, a rating that is not a finite number, and rows that are not those
        that were read before.
    """
    name = os.path.basename(piece.path)
    try:
        table = _read(piece, list(columns))
    except UsageError:
        raise
    except Exception as error:  # Arrow has errors of its own for bytes that are not its own
        raise _unreadable(piece.path, error) from None
    for column in columns:
        if nulls := table[column].null_count:
            raise UsageError(
                f"part files must have no gaps; {nulls} values of column {column!r} in {name} are missing. Drop these rows."
            )
    users, items = (_ids(table[column], column, name) for column in columns[:2])
    values = _values(table[columns[2]], columns[2], name) if len(columns) == 3 else None
    read = Columns(users, items, values)
    if piece.digest not in (None, read.digest):
        raise UsageError(
            f"part files must not change while they are in use; {piece.path} has, since its ids were counted. Put it back, "
            "or fit again."
        )
    return read


def is_text_file(piece: Piece) -> bool:
    """Whether its ids are text that may stand for numbers."""
    return _kind(piece.path) == "csv"


def _candidates(source: str) -> list[str]:
    if os.path.isdir(source):
        # as other tools do: what begins with _ or . are notes of whoever wrote the parts
        return [os.path.join(source, name) for name in os.listdir(source) if not name.startswith(("_", "."))]
    return glob.glob(source, recursive=True) if glob.has_magic(source) else [source]


def _kind(path: str) -> str | None:
    suffix = os.path.splitext(path)[1].lower()
    return {".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}.get(suffix)


def _pieces_of(path: str, names: list[str]) -> list[Piece]:
    if not os.path.isfile(path):  # to open a pipe would wait for ever
        raise _unreadable(path, OSError("it is no file"))
    try:
        if _kind(path) == "csv":
            with csv.open_csv(path, parse_options=_parsing(path)) as reader:
                _require_columns(path, reader.schema.names, names)
            return [Piece(path)]
        file = parquet.ParquetFile(path)
        _require_columns(path, file.schema_arrow.names, names)
        rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except UsageError:
        raise
    except Exception as error:
        if isinstance(error, pa.ArrowInvalid) and "Empty CSV" in str(error):
            return []
        raise _unreadable(path, error) from None
    ends = np.cumsum(rows)
    # as many groups together as make a piece
    labels = (ends - 1) // PIECE_ROWS if rows else ends
    cuts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(rows)]
    spans = itertools.pairwise(cuts)
    return [Piece(path, (start, stop)) for start, stop in spans if sum(rows[start:stop])]


def _require_columns(path: str, known: list[str], names: list[str]) -> None:
    for name in names:
        if known.count(name) > 1:
            raise UsageError(f"columns must be named once in each part; {path} has {name!r} twice. Rename one of them.")
    missing = [name for name in names if name not in known]
    if missing:
        there = ", ".join(map(repr, known[:12]))
        raise UsageError(f"columns must be among those of {path}, {there}; got {missing[0]!r}. {_REMEDY}")


def _read(piece: Piece, columns: list[str]) -> pa.Table:
    if piece.groups is not None:
        return parquet.ParquetFile(piece.path).read_row_groups(list(range(*piece.groups)), columns=columns)
    # ids of CSV as text: whether they are numbers shows when all of them are known
    types = {column: pa.string() for column in columns[:2]}
    convert = csv.ConvertOptions(include_columns=columns, column_types=types, strings_can_be_null=True)
    return csv.read_csv(piece.path, parse_options=_parsing(piece.path), convert_options=convert)


def _parsing(path: str) -> csv.ParseOptions:
    return csv.ParseOptions(delimiter="\t" if path.lower().endswith(".tsv") else ",")


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
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = _together(column.cast(pa.large_string()))
    else:
        text = pa.array([str(value) for value in column.to_pylist()], pa.large_string())
    if pc.any(pc.match_substring(text, "\0")).as_py():
        raise UsageError(f"ids must be text without zero characters; {name!r} of {file} has one. Remove it.")
    return text


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
    short = values.astype(np.float32)
    return short if bool((short == values).all()) else values


def _unreadable(path: str, error: Exception) -> UsageError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return UsageError(f"a part file must be complete and readable; got {path}: {reason}. Write it again.")
