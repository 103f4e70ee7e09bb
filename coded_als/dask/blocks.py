"""Blocks of rows: what the workers of a Dask cluster make of the pieces of a dataset, and put into a folder of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from coded_als.als.transforms import Weighting, reweighted
from coded_als.dask.numbering import places
from coded_als.dask.part_files import Piece, read_piece
from coded_als.data.numbering import sorted_by
from coded_als.data.ratings import Repeated
from coded_als.errors import UsageError
from coded_als.worker.parts import PartFolder

# Row, column and value of entries, (entries,) each; no values where each row counts as 1.
PartEntries = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any] | None]
# A block that touches at least this part of the other side counts its places among all of it: nothing is picked then.
ALL_FROM = 0.75
ARRAYS = ("indptr", "indices", "data")


@dataclass(frozen=True, eq=False)
class Cut:
    """Where the rows of one side belong.

    Parameters
    ----------
    of_users
        Whether rows are users, or else items.
    shards
        Number of blocks.
    shard_of, place_of
        (rows,) the block of each row, and its place there.
    height
        Rows of a block, those that fill it up included.
    others
        Rows of the other side.
    reading
        What is made of the ratings for a matrix to be multiplied, in float64 and with places among all of the other side;
        None leaves them as they are.
    """

    of_users: bool
    shards: int
    shard_of: NDArray[np.int32]
    place_of: NDArray[np.int32]
    height: int
    others: int
    reading: tuple[Weighting, float | None] | None = None


@dataclass(frozen=True, eq=False)
class BlockFacts:
    """What the master is told of a block.

    Parameters
    ----------
    lengths
        (height,) entries of each row.
    touched
        Ascending places of the other side among which the block counts, None for all.
    total, squares, least, largest
        Of its values.
    repeated
        Place of the row and column of a pair that is there twice and must not be; else None.
    """

    lengths: NDArray[np.int64]
    touched: NDArray[np.int32] | None
    total: float
    squares: float
    least: float
    largest: float
    repeated: tuple[int, int] | None


def entries_of(piece: Piece, columns: Sequence[str], raw: tuple[pa.Array, pa.Array], cut: Cut) -> list[PartEntries]:
    """The entries of a piece for each block, in their order.

    Parameters
    ----------
    piece, columns
        What to read.
    raw
        The ids of users and items in the order of their numbers.
    cut
        Of the side whose blocks these are.
    """
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
    """Put the csr arrays of a block into a folder.

    Parameters
    ----------
    pieces
        Its entries, piece by piece in their order.
    cut
        Of its side.
    repeated
        What becomes of a pair that is there twice: it is refused, or the last value or the sum counts.
    folder
        Where to.
    first
        Number of ``indptr`` there; ``indices`` and ``data`` follow.
    """
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

    Parameters
    ----------
    pieces, repeated
        As of `write_block`.
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
