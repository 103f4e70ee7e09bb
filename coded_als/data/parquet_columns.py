"""The columns of a Parquet file by names that are known, or by their places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coded_als.data.names import ROLES, may_number_rows, role_of
from coded_als.errors import UsageError


def parquet_columns(path: Path, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names of the columns of users, items and perhaps ratings and times; None where nothing says which."""
    try:
        from pyarrow import parquet

        known = parquet.read_schema(path).names
    except Exception:  # the reader says what is wrong with it
        return given
    return named_columns(known, given, path.name)


def named_columns(known: Sequence[str], given: tuple[str, ...] | None, source: str) -> tuple[str, ...] | None:
    """The same of a table of which only the names are known.

    Raises UsageError for a place that is not there.
    """
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
