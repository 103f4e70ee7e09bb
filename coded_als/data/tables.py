"""Tables of ratings: DataFrames of pandas, polars and others, Arrow tables, and Parquet files."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from coded_als.data.dialect import named_columns
from coded_als.data.ratings import RatingData, Repeated, from_pairs, from_triples
from coded_als.errors import UsageError, reason_of
from coded_als.models.ids import Ids, id_text, is_text, objects, plain_ids, require_id_text
from coded_als.models.rating_matrix import is_table

_NO_GAPS = "a table of ratings must have no gaps"
# Whole numbers that NumPy has no type for.
_WIDE = ("Int128", "UInt128")
_REMEDY = "Name the columns of users, items and perhaps ratings and times, as in columns=('user', 'item', 'rating')."


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    values: Any  # a series of narwhals
    name: Any  # as the table has it: text, a number, or a tuple
    source: str  # name of the table in messages

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    def __str__(self) -> str:
        return f"column {self.name!r} of {self.source}"

    def refuse(self, row: int, rule: str) -> NoReturn:
        """Raise `UsageError` for the value in a row."""
        value = reprlib.repr(self.values.to_list()[row])
        raise UsageError(f"{rule}; got {value} in row {row} (counted from 0), {self}. Correct it or drop the row.")


def is_lazy(source: Any) -> bool:
    """Whether this is a table that is still to be computed."""
    return not is_table(source) and all(hasattr(source, name) for name in ("collect", "collect_schema", "select"))


def collected(frame: Any, columns: Sequence[str] | None) -> Any:
    """The table of a lazy one, of no more columns than are asked for."""
    names = [columns] if isinstance(columns, str) else list(columns or ())
    there = set(frame.collect_schema().names())
    # the reader of tables refuses a name that is not there, and lists the columns that are
    return frame.select(names).collect() if names and set(names) <= there else frame.collect()


def from_table(
    table: Any, columns: Sequence[Any] | None, source: str | None = None, repeated: Repeated | None = None
) -> RatingData:
    """Ratings from a table with one of them, or one interaction, in a row."""
    try:
        import narwhals as nw
    except ImportError:
        raise UsageError(
            "tables need narwhals; it is not installed. Install it with: pip install 'coded-als[tables]'"
        ) from None
    source = source or f"the {type(table).__module__.split('.')[0]} {type(table).__name__}"
    try:
        known = _column_names(table)
        names = _names(columns, known, source)
        frame = nw.from_native(_narrowed(table, [known.index(name) for name in names]), eager_only=True)
    except TypeError:
        raise UsageError(
            f"a table must be a DataFrame of pandas or polars, or an Arrow table; got {source}. Convert it."
        ) from None
    if not len(frame):
        raise UsageError(f"ratings must have at least one row; {source} has none. Check the table.")
    chosen = [Column(frame[:, place], name, source) for place, name in enumerate(names)]
    users, items = map(_ids, chosen[:2])
    rows = np.arange(len(frame))
    if len(names) == 2:
        return from_pairs(users, items, rows, source, repeated)
    times = _times(chosen[3]) if len(names) == 4 else None
    return from_triples(users, items, _values(chosen[2]), times, rows, source, "rows", repeated)


def _column_names(table: Any) -> list[Any]:
    """The names of all columns in their order; `TypeError` for a table without names."""
    # columns of pandas may have any name and are attributes too; the columns of an Arrow table are its data
    is_arrow = not hasattr(table, "iloc") and hasattr(table, "column_names")
    return list(table.column_names if is_arrow else getattr(table, "columns", None))  # type: ignore[arg-type]


def _narrowed(table: Any, places: list[int]) -> Any:
    """Only the columns at some places, in this order and under other names: a table may have one name twice, or tuples."""
    plain = [str(place) for place in range(len(places))]
    if hasattr(table, "iloc"):
        part = table.iloc[:, places].set_axis(plain, axis=1)
        # narwhals does not read the names of all zones; the instants are the same in any
        zoned = [name for name in plain if getattr(part[name].dtype, "tz", None) is not None]
        return part.assign(**{name: part[name].dt.tz_convert("UTC") for name in zoned})
    if hasattr(table, "rename_columns"):
        return table.select(places).rename_columns(plain)
    return table[:, places]


def parquet_columns(path: Path, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """`named_columns` of a Parquet file."""
    try:
        from pyarrow import parquet

        known = parquet.read_schema(path).names
    except Exception:  # the reader reports the damage of the file
        return given
    return named_columns(known, given, path.name)


def read_parquet(path: Path, columns: Sequence[Any] | None, repeated: Repeated | None = None) -> RatingData:
    """Ratings from a Parquet file (extra ``parquet``); `UsageError` as `from_table`, and for a damaged file."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError(
            "Parquet files need pyarrow; it is not installed. Install it with: pip install 'coded-als[parquet]'"
        ) from None
    try:
        known = parquet.read_schema(path).names
        names = _names(columns, known, path.name)
        table = parquet.read_table(path, columns=names)
    except UsageError:
        raise
    except Exception as error:  # Arrow has errors of its own for bytes that are not its own
        raise UsageError(
            f"a Parquet file must be complete; got {path.name}: {reason_of(error)}. Write it again."
        ) from None
    return from_table(table, names, path.name, repeated)


def _names(columns: Sequence[Any] | None, known: list[Any], source: str) -> list[Any]:
    """The names of two to four columns, once they are known to be there."""
    there = ", ".join(map(repr, known[:12])) + (", ..." if len(known) > 12 else "")
    if columns is None:
        raise UsageError(f"a table is read by the names of its columns; got {source} with {there}. {_REMEDY}")
    if isinstance(columns, (Set, Mapping)):
        raise UsageError(
            f"columns must have an order, users first; got {columns!r}, a {type(columns).__name__}. Pass a tuple or a list."
        )
    names = [columns] if isinstance(columns, str) or not np.iterable(columns) else list(columns)
    if not 2 <= len(names) <= 4 or any(names.count(name) > 1 for name in names):
        raise UsageError(f"columns must be two to four different names; got {columns!r}. {_REMEDY}")
    for name in names:
        if known.count(name) != 1:
            reason = "be among those" if name not in known else "have names that are there once among the columns"
            raise UsageError(f"columns must {reason} of {source}, {there}; got {name!r}. {_REMEDY}")
    return names


def _ids(column: Column) -> NDArray[Any]:
    """The ids of a column: whole numbers, or text as objects."""
    _require_all(column)
    if str(column.dtype) not in _WIDE and (column.dtype.is_integer() or column.dtype.is_float()):
        numbers = column.values.to_numpy()
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            column.refuse(int(np.flatnonzero(~np.isfinite(numbers))[0]), _NO_GAPS)
        return _plain(numbers)
    values = column.values.to_list()
    if all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
        return _plain(objects(values))
    return objects(_texts(column, values))


def _plain(numbers: NDArray[Any]) -> NDArray[Any]:
    ids = plain_ids(numbers)
    return ids.astype(object) if is_text(ids) else ids


def _texts(column: Column, values: list[Any]) -> list[str]:
    """The text of every id in a column."""
    texts = []
    for row, value in enumerate(values):
        try:
            texts.append(value if type(value) is str else id_text(value))
        except ValueError as error:
            column.refuse(row, str(error))
    for text in set(texts):
        try:
            require_id_text(text)
        except ValueError as error:
            column.refuse(texts.index(text), str(error))
    return texts


def _values(column: Column) -> NDArray[np.float64]:
    """The ratings of a column."""
    import narwhals as nw

    if not (column.dtype.is_numeric() or column.dtype == nw.Boolean):
        raise UsageError(f"ratings must be numbers; {column} is {column.dtype}. Name another or convert it.")
    return _finite(column)


def _finite(column: Column) -> NDArray[np.float64]:
    import narwhals as nw

    _require_all(column)
    values = np.asarray(column.values.cast(nw.Float64).to_numpy(), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        column.refuse(int(bad[0]), _NO_GAPS)
    return values


def _times(column: Column) -> NDArray[Any]:
    """The times of a column: numbers as they are, dates as instants in microseconds, or in nanoseconds where they have such."""
    import narwhals as nw

    if column.dtype == nw.Date or column.dtype == nw.Datetime:
        _require_all(column)
        return _instants(column.values)
    if not column.dtype.is_numeric():
        raise UsageError(
            f"times must be numbers or dates; {column} is {column.dtype}. Convert it, as with pandas.to_datetime(..., utc=True)."
        )
    if column.dtype.is_integer() and str(column.dtype) not in _WIDE:
        _require_all(column)
        return np.asarray(column.values.to_numpy())
    return _finite(column)


def _instants(values: Any) -> NDArray[np.int64]:
    """Since 1970 in UTC; times without a zone count as UTC."""
    import narwhals as nw

    unit = "us" if values.dtype == nw.Date else values.dtype.time_unit
    if unit in ("us", "ns"):
        counted = np.asarray(values.dt.timestamp(unit).to_numpy(), dtype=np.int64)
        return counted if unit == "us" or (counted % 1000).any() else counted // 1000
    return np.asarray(values.dt.timestamp("ms").to_numpy(), dtype=np.int64) * 1000


def _require_all(column: Column) -> None:
    missing = np.flatnonzero(column.values.is_null().to_numpy())
    if missing.size:
        column.refuse(int(missing[0]), _NO_GAPS)


def named_matrix(ratings: Any, columns: Sequence[Any] | None) -> tuple[Any, tuple[Ids, Ids] | None]:
    """A rating matrix and the ids of its rows and columns.

    Returns matrix, ids (m, n) as a model learns from it, and ids, (m,) of users and (n,) of items, or None for 0,
    1, 2, .

    Raises UsageError for a table without columns or columns without a table, and where `from_table` does.
    """
    if is_lazy(ratings):
        ratings = collected(ratings, columns)
    if is_table(ratings):
        data = from_table(ratings, columns)
        return data.matrix, (data.user_ids, data.item_ids)
    if columns is not None:
        raise UsageError(
            f"columns are names of columns of a table; got {columns!r} for a {type(ratings).__name__}. Leave them out."
        )
    if isinstance(ratings, RatingData):
        return ratings.matrix, (ratings.user_ids, ratings.item_ids)
    return ratings, None
