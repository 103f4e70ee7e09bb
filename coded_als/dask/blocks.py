"""Blocks of rows: the workers of a Dask cluster make them from the pieces of a dataset, and put them into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coded_als.als.problem import Weighting, reweighted
from coded_als.dask.part_files import Piece, is_text_file, read_piece
from coded_als.data.ratings import Repeated, sorted_by
from coded_als.data.text import missing_among, missing_id
from coded_als.errors import UsageError
from coded_als.models.ids import Ids, text_array
from coded_als.worker.parts import PartFolder

IDS, COUNTS = "id", "count"


@dataclass(frozen=True, eq=False)
class Census:
    """Ids and rows of some pieces."""

    # tables of distinct ids, and how often each occurs
    users: pa.Table
    items: pa.Table
    examples: tuple[dict[str, str], dict[str, str]]  # a piece for each type of id, users' and items'
    rows: int
    digests: tuple[str, ...]  # of the pieces, in their order
    empty_lines: int = 0  # lines of texts that were passed over because they are empty


@dataclass(frozen=True, eq=False)
class Numbering:
    """The ids of one side."""

    ids: Ids  # (count,) ascending, whole numbers or text
    raw: pa.Array  # the same as they stand in the files, in the same order
    counts: NDArray[np.int64]  # (count,) rows in which each is


def census(piece: Piece, columns: Sequence[str]) -> Census:
    """The distinct ids of a piece."""
    read = read_piece(piece, columns)
    examples = ({str(read.users.type): piece.path}, {str(read.items.type): piece.path})
    return Census(
        _counted(read.users), _counted(read.items), examples, len(read.users), (read.digest,), read.empty_lines
    )


def merged(parts: Sequence[Census]) -> Census:
    """Ids and rows of several pieces together; `UsageError` where their ids are of different types."""
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
    """The numbering of ids."""
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
    """The number of each id, (rows,)."""
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


# Row, column and value of entries, (entries,) each; no values where each row counts as 1.
PartEntries = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any] | None]
# A block that touches at least this part of the other side counts its places among all of it: nothing is picked then.
ALL_FROM = 0.75
ARRAYS = ("indptr", "indices", "data")


@dataclass(frozen=True, eq=False)
class Cut:
    """The block and the place of each row of one side."""

    of_users: bool  # whether rows are users, or else items
    shards: int  # number of blocks
    # (rows,) the block of each row, and its place there
    shard_of: NDArray[np.int32]
    place_of: NDArray[np.int32]
    height: int  # rows of a block, those that fill it up included
    others: int  # rows of the other side
    # weighting and mean of ratings that become a matrix in float64, with places among all of the other side; None
    # leaves ratings as they are
    reading: tuple[Weighting, float | None] | None = None


@dataclass(frozen=True, eq=False)
class BlockFacts:
    """Facts about a block, for the master."""

    lengths: NDArray[np.int64]  # (height,) entries of each row
    touched: NDArray[np.int32] | None  # ascending places of the other side among which the block counts, None for all
    # of its values
    total: float
    squares: float
    least: float
    largest: float
    # places of the row and the column of a forbidden repeated pair; None without one
    repeated: tuple[int, int] | None


def entries_of(piece: Piece, columns: Sequence[str], raw: tuple[pa.Array, pa.Array], cut: Cut) -> list[PartEntries]:
    """The entries of a piece for each block, in their order."""
    read = read_piece(piece, columns)
    rows, others = places(read.users, raw[0]), places(read.items, raw[1])
    if not cut.of_users:
        rows, others = others, rows
    shard_of = cut.shard_of[rows]
    order = shard_of.argsort(kind="stable")
    ends = np.searchsorted(shard_of[order], np.arange(1, cut.shards))
    values = [None] * cut.shards if read.values is None else np.split(read.values[order], ends)
    local, columns_of = np.split(cut.place_of[rows[order]], ends), np.split(others[order], ends)
    return list(zip(local, columns_of, values, strict=True))


def write_block(
    pieces: Sequence[PartEntries], cut: Cut, repeated: Repeated, folder: PartFolder, first: int
) -> BlockFacts:
    """Put the csr arrays of a block into a folder."""
    rows, others, values, pair = sorted_entries(pieces, repeated)
    lengths = np.bincount(rows, minlength=cut.height)
    touched = None
    if cut.reading is not None:
        values, _ = reweighted(values.astype(np.float64), *cut.reading)
    else:
        touched = _touched(others, cut.others)
    if touched is not None:
        among = np.zeros(cut.others, np.int32)
        among[touched] = np.arange(touched.size, dtype=np.int32)
        others = among[others]
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    for number, array in enumerate((indptr.astype(np.int32), others.astype(np.int32, copy=False), values)):
        folder.write(first + number, array)
    wide = values.astype(np.float64)
    return BlockFacts(
        lengths,
        touched,
        float(wide.sum()),
        float(wide @ wide),
        float(wide.min(initial=np.inf)),
        float(wide.max(initial=-np.inf)),
        pair,
    )


def sorted_entries(
    pieces: Sequence[PartEntries], repeated: Repeated
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any], tuple[int, int] | None]:
    """Rows, columns and values of a block's entries, (entries,) each, in order and each pair once; a pair that is there twice.

    The last is None where no pair is, or where it may be.
    """
    rows = np.concatenate([piece[0] for piece in pieces])
    others = np.concatenate([piece[1] for piece in pieces])
    if rows.size >= 2**31:
        raise UsageError(f"a block must have fewer than 2^31 entries; got {rows.size}. Add workers or lower copies.")
    given = [piece[2] for piece in pieces if piece[2] is not None]
    values = np.concatenate(given) if given else np.ones(rows.size, np.float32)
    order = sorted_by(rows, others)
    rows, others, values = rows[order], others[order], values[order]
    new = np.ones(rows.size, dtype=np.bool_)
    new[1:] = (rows[1:] != rows[:-1]) | (others[1:] != others[:-1])
    if new.all():
        return rows, others, values, None
    clash = np.flatnonzero(~new)[0]
    pair = (int(rows[clash]), int(others[clash])) if repeated == "refuse" else None
    return rows[new], others[new], _united(values, new, repeated), pair


def _united(values: NDArray[Any], new: NDArray[np.bool_], repeated: Repeated) -> NDArray[Any]:
    """One value for each pair."""
    starts = np.flatnonzero(new)
    if repeated == "last":
        return values[np.append(starts[1:], values.size) - 1]
    sums = np.add.reduceat(values.astype(np.float64), starts)
    short = sums.astype(np.float32)
    return short if bool((short == sums).all()) else sums


def _touched(others: NDArray[np.int32], count: int) -> NDArray[np.int32] | None:
    """The places that are there, ascending; None where most are."""
    there = np.zeros(count, np.bool_)
    there[others] = True
    touched = np.flatnonzero(there).astype(np.int32)
    return None if touched.size >= ALL_FROM * count else touched
