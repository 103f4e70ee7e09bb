"""Rows of results as CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coded_als.errors import UsageError


def canonical(value: Any) -> str:
    """One line of JSON, the same for equal values."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row with the fields of its cell as columns, status and reason after them, and lists as JSON."""
    last = ("status", "reason")
    others = {key: row[key] for key in (*last, *sorted(row.keys() - {"cell", *last})) if key in row}
    values = {**dict(sorted(row["cell"].items())), **others}
    return {key: canonical(value) if isinstance(value, list | dict) else value for key, value in values.items()}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Comma-separated text with the columns of all rows."""
    flattened = [flat(row) for row in rows]
    columns = list(dict.fromkeys(column for row in flattened for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flattened)
    return text.getvalue()


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table of `as_csv` as Parquet.

    Parameters
    ----------
    path
        The file.
    rows
        Of the results.
    """
    flattened = [flat(row) for row in rows]
    columns = list(dict.fromkeys(column for row in flattened for column in row))
    write_table(path, {column: [row.get(column) for row in flattened] for column in columns})


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Columns as Parquet.

    Parameters
    ----------
    path
        The file.
    columns
        Of equal length.

    Raises
    ------
    UsageError
        When pyarrow is not installed.
    """
    require_pyarrow()
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)


def require_pyarrow() -> None:
    """Refuse before the work what would fail after it.

    Raises
    ------
    UsageError
        When pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise UsageError("--parquet needs pyarrow; it is not installed. pip install 'coded-als[parquet]'.")
