"""Tables of ratings: DataFrames of pandas, polars and others, Arrow tables, and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.data.ratings import RatingData, Repeated, from_pairs, from_triples
from coded_als.errors import UsageError
from coded_als.models.ids import plain_ids

_REMEDY = "Name the columns of users, items and perhaps ratings and times, as in columns=('user', 'item', 'rating')."


def from_table(
    table: Any, columns: Sequence[str] | None, source: str | None = None, repeated: Repeated | None = None
) -> RatingData:
    """Ratings from a table with one of them, or one interaction, in a row.

    Parameters
    ----------
    table
        A DataFrame of pandas, polars, Modin or cuDF, or an Arrow table (extra ``tables``).
    columns
        Names of the columns of user, item, rating and time. Without the last two these are interactions: the value of
        an entry is how often its row is there. Ids that are neither whole numbers nor text stand as their text.
    source
        What it is called in messages.
    repeated
        What becomes of a pair that is there twice, as for `coded_als.data.load_ratings`.

    Raises
    ------
    UsageError
        Without ``columns``, for a column that is not there, and with the row (counted from 0) for a value that is
        missing or not finite, and for a pair that is rated twice.
    """
    try:
        import narwhals as nw
    except ImportError:
        raise UsageError(
            "tables need narwhals; it is not installed. Install it with: pip install 'coded-als[tables]'"
        ) from None
    source = source or f"the {type(table).__module__.split('.')[0]} {type(table).__name__}"
    try:
        frame = nw.from_native(table, eager_only=True)
    except TypeError:
        raise UsageError(
            f"a table must be a DataFrame of pandas or polars, or an Arrow table; got {source}. Convert it."
        ) from None
    names = _names(columns, list(frame.columns), source)
    if not len(frame):
        raise UsageError(f"ratings must have at least one row; {source} has none. Check the table.")
    users, items = (_ids(frame[name], source) for name in names[:2])
    rows = np.arange(len(frame))
    if len(names) == 2:
        return from_pairs(users, items, rows, source, repeated)
    times = _times(frame[names[3]], source) if len(names) == 4 else None
    return from_triples(users, items, _values(frame[names[2]], source), times, rows, source, "rows", repeated)


def read_parquet(path: Path, columns: Sequence[str] | None, repeated: Repeated | None = None) -> RatingData:
    """Ratings from a Parquet file (extra ``parquet``).

    Parameters
    ----------
    path
        The file.
    columns
        As for `from_table`; no others are read.
    repeated
        As for `from_table`.

    Raises
    ------
    UsageError
        As `from_table`, and for a damaged file.
    """
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
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"a Parquet file must be complete; got {path.name}: {reason}. Write it again.") from None
    return from_table(table, names, path.name, repeated)


def _names(columns: Sequence[str] | None, known: list[str], source: str) -> list[str]:
    """The names of two to four columns, once they are known to be there."""
    there = ", ".join(map(repr, known[:12])) + (", ..." if len(known) > 12 else "")
    if columns is None:
        raise UsageError(f"a table is read by the names of its columns; got {source} with {there}. {_REMEDY}")
    names = [columns] if isinstance(columns, str) else list(columns)
    if not 2 <= len(names) <= 4 or len(set(names)) < len(names):
        raise UsageError(f"columns must be two to four different names; got {columns!r}. {_REMEDY}")
    missing = [name for name in names if name not in known]
    if missing:
        raise UsageError(f"columns must be among those of {source}, {there}; got {missing[0]!r}. {_REMEDY}")
    return names


def _ids(column: Any, source: str) -> NDArray[Any]:
    """The ids of a column, whole numbers or text."""
    _require_all(column, source)
    if column.dtype.is_integer() or column.dtype.is_float():
        numbers = column.to_numpy()
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            _refuse(column, int(np.flatnonzero(~np.isfinite(numbers))[0]), source)
        return plain_ids(numbers)
    values = column.to_list()
    ids = plain_ids(np.array(values, dtype=object))
    if ids.dtype.kind == "U" and "\0" in "".join(map(str, values)):
        raise UsageError(f"ids must be text without zero characters; {column.name!r} of {source} has one. Remove it.")
    return ids


def _values(column: Any, source: str) -> NDArray[np.float64]:
    """The ratings of a column."""
    import narwhals as nw

    if not (column.dtype.is_numeric() or column.dtype == nw.Boolean):
        raise UsageError(
            f"ratings must be numbers; column {column.name!r} of {source} is {column.dtype}. Name another or convert it."
        )
    _require_all(column, source)
    values = np.asarray(column.cast(nw.Float64).to_numpy(), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        _refuse(column, int(bad[0]), source)
    return values


def _times(column: Any, source: str) -> NDArray[Any]:
    """The times of a column: numbers as they are, dates in microseconds."""
    import narwhals as nw

    if column.dtype == nw.Date or column.dtype == nw.Datetime:
        _require_all(column, source)
        return np.asarray(column.cast(nw.Datetime("us")).dt.timestamp("us").to_numpy())
    if column.dtype.is_integer():
        _require_all(column, source)
        return np.asarray(column.to_numpy())
    return _values(column, source)


def _require_all(column: Any, source: str) -> None:
    missing = np.flatnonzero(column.is_null().to_numpy())
    if missing.size:
        _refuse(column, int(missing[0]), source)


def _refuse(column: Any, row: int, source: str) -> None:
    value = column.to_list()[row]
    raise UsageError(
        f"a table of ratings must have no gaps; got {value!r} in row {row} (counted from 0), column {column.name!r} of "
        f"{source}. Correct it or drop the row."
    )
