"""Numbers for the ids of a dataset: the distinct ids of all pieces, in the order that a matrix would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coded_als.dask.part_files import Piece, is_text_file, read_piece
from coded_als.data.text import missing_among, missing_id
from coded_als.errors import UsageError
from coded_als.models.id_text import text_array
from coded_als.models.ids import Ids

IDS, COUNTS = "id", "count"


@dataclass(frozen=True, eq=False)
class Census:
    """What some pieces hold.

    Parameters
    ----------
    users, items
        Tables of distinct ids and how often each is there.
    examples
        A piece for each type of id, users' and items'.
    rows
        How many.
    digests
        Of the pieces, in their order.
    empty_lines
        Lines of texts that were passed over because they are empty.
    """

    users: pa.Table
    items: pa.Table
    examples: tuple[dict[str, str], dict[str, str]]
    rows: int
    digests: tuple[str, ...]
    empty_lines: int = 0


@dataclass(frozen=True, eq=False)
class Numbering:
    """The ids of one side.

    Parameters
    ----------
    ids
        (count,) ascending, whole numbers or text.
    raw
        The same as they stand in the files, in the same order.
    counts
        (count,) rows in which each is.
    """

    ids: Ids
    raw: pa.Array
    counts: NDArray[np.int64]


def census(piece: Piece, columns: Sequence[str]) -> Census:
    """The distinct ids of a piece.

    Parameters
    ----------
    piece
        What to read.
    columns
        Names of the columns of user, item and perhaps rating.
    """
    read = read_piece(piece, columns)
    examples = ({str(read.users.type): piece.path}, {str(read.items.type): piece.path})
    return Census(
        _counted(read.users), _counted(read.items), examples, len(read.users), (read.digest,), read.empty_lines
    )


def merged(parts: Sequence[Census]) -> Census:
    """What several pieces hold together; `UsageError` where their ids are of different types."""
    examples = (
        ({}, {})
        if not parts
        else tuple({kind: path for part in parts for kind, path in part.examples[side].items()} for side in (0, 1))
    )
    for side, noun in enumerate(("user", "item")):
        if len(examples[side]) > 1:
            (first, here), (second, there), *_ = examples[side].items()
            raise UsageError(
                f"{noun} ids must be of one type in all parts; got {_named(first)} in {here} and {_named(second)} in "
                f"{there}. Convert one of them."
            )
    users, items = (_summed([getattr(part, side) for part in parts]) for side in ("users", "items"))
    digests = tuple(digest for part in parts for digest in part.digests)
    rows, empty_lines = sum(part.rows for part in parts), sum(part.empty_lines for part in parts)
    return Census(users, items, examples, rows, digests, empty_lines)  # type: ignore[arg-type]


def numbered(table: pa.Table, text_file: bool) -> Numbering:
    """The numbering of ids.

    Parameters
    ----------
    table
        Distinct ids and their counts.
    text_file
        Whether they are from text, where ids that all are whole numbers stand for these.
    """
    raw, counts = table[IDS].combine_chunks(), table[COUNTS].to_numpy()
    ids: NDArray[Any] = text_array(raw.to_pylist()) if pa.types.is_large_string(raw.type) else raw.to_numpy()
    if text_file:
        ids = whole_numbers(ids)
        missing = missing_among(ids)
        if missing is not None:
            raise missing_id("user or item", missing, "the part files")
    order = np.argsort(ids, kind="stable")
    return Numbering(ids[order], raw.take(pa.array(order)), counts[order])


def whole_numbers(ids: NDArray[Any]) -> NDArray[Any]:
    """The numbers that ids, (count,), stand for, where each is a number as it is written and none is larger than int64 holds."""
    try:
        numbers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return ids
    return numbers if bool((numbers.astype(ids.dtype) == ids).all()) else ids


def places(ids: pa.Array, raw: pa.Array) -> NDArray[np.int32]:
    """The number of each id, (rows,).

    Parameters
    ----------
    ids
        As in a piece.
    raw
        All, in the order of their numbers.
    """
    found = pc.index_in(ids, value_set=raw)
    assert not found.null_count, "a piece is read again only as it was counted"
    return np.asarray(found.to_numpy(), dtype=np.int32)


def reads_text(pieces: Sequence[Piece]) -> bool:
    """Whether the pieces are of text files."""
    return is_text_file(pieces[0])


def _counted(ids: pa.Array) -> pa.Table:
    counted = pc.value_counts(ids)
    return pa.table({IDS: counted.field("values"), COUNTS: counted.field("counts")})


def _summed(tables: Sequence[pa.Table]) -> pa.Table:
    together = pa.concat_tables(tables)
    ids = together[IDS].combine_chunks()
    distinct = pc.unique(ids)
    # counts are far below 2^53, up to which the sums are exact
    counts = np.bincount(pc.index_in(ids, value_set=distinct).to_numpy(), together[COUNTS].to_numpy(), len(distinct))
    return pa.table({IDS: distinct, COUNTS: counts.astype(np.int64)})


def _named(kind: str) -> str:
    return "text" if "string" in kind else "whole numbers"
