"""Tables that are computed when they are asked for, such as a LazyFrame of polars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coded_als.models.rating_matrix import is_table


def is_lazy(source: Any) -> bool:
    """Whether this is a table that is still to be computed."""
    return not is_table(source) and all(hasattr(source, name) for name in ("collect", "collect_schema", "select"))


def collected(frame: Any, columns: Sequence[str] | None) -> Any:
    """The table of a lazy one, of no more columns than are asked for."""
    names = [columns] if isinstance(columns, str) else list(columns or ())
    there = set(frame.collect_schema().names())
    # a name that is not there is refused by the reader of tables, which says what there is
    return frame.select(names).collect() if names and set(names) <= there else frame.collect()
