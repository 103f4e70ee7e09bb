"""Dense batches: sparse rows cut into pieces of a few fixed lengths, many pieces in one static array.

After Mehta, Rendle, Krichene, Zhang, "ALX: Large Scale Matrix Factorization on TPUs" (2021), section 4, with three
differences. A row may be longer than a batch: what is open at the end of one is carried into the next. The end of a
row goes into shorter pieces where whole ones would be too much padding. And since the ids are known beforehand, each
device is told which of its rows the others need, so that nobody asks for a row at run time, or twice in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.sharded.placement import Placement

Integers = NDArray[np.int64]

# Shorter pieces are taken when the padding of the rows' ends would exceed this share of the entries.
_PADDING_WANTED = 0.1


@dataclass(frozen=True)
class BatchShape:
    """Sizes that all batches of a side have.

    Parameters
    ----------
    devices, batches
        N, and batches of each device.
    lengths, widths
        Lengths of pieces, longest first, and how many of each a batch holds.
    solved
        Rows that a batch can finish.
    sent
        Rows that a device sends to each device for one batch.
    """

    devices: int
    batches: int
    lengths: tuple[int, ...]
    widths: tuple[int, ...]
    solved: int
    sent: int

    @property
    def slots(self) -> int:
        """Entries that a batch has room for."""
        return sum(length * width for length, width in zip(self.lengths, self.widths, strict=True))


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one side; every array begins with (devices * batches, ...), device by device.

    Parameters
    ----------
    shape
        Their sizes.
    sends
        (..., N, sent) rows of this device that each device needs.
    entries
        (..., slots) where each entry's row of the other table is among the ``N * sent`` rows received; padding is
        ``N * sent``.
    owners
        (..., pieces) the finished row that a piece belongs to; ``solved`` for a row that goes on in the next batch.
    carries
        (...,) where the sum that the last batch left open belongs to.
    rows
        (..., solved) rows of this device that are finished; padding is the height of the table.
    numbers
        (..., solved) their numbers in the matrix; padding is -1.
    order
        (..., slots) place of each entry in the csr matrix; padding is -1.
    """

    shape: BatchShape
    sends: NDArray[np.int32]
    entries: NDArray[np.int32]
    owners: NDArray[np.int32]
    carries: NDArray[np.int32]
    rows: NDArray[np.int32]
    numbers: Integers
    order: Integers

    @property
    def padding(self) -> float:
        """Room for entries over entries; 1 is none."""
        return float(self.order.size / np.count_nonzero(self.order >= 0))


def pack(matrix: sparse.csr_array, rows: Placement, others: Placement, pieces: int, length: int) -> Batches:
    """Cut the rows of a matrix into batches.

    Parameters
    ----------
    matrix
        (rows, others) in canonical form.
    rows, others
        Where the rows of either table are, on equally many devices.
    pieces
        At most so many in a batch of one device, counted over all lengths before their numbers are made equal.
    length
        Of the longest piece.
    """
    cut = _cut(matrix, rows, pieces, length)
    lengths = np.unique(cut.length)[::-1]
    devices, batches = rows.devices, cut.batches
    batch = cut.device * batches + cut.batch
    widths, place = [], np.empty(cut.row.size, dtype=np.int64)
    for each in lengths:
        chosen = np.flatnonzero(cut.length == each)
        place[chosen], width = _ranks(batch[chosen], devices * batches)
        widths.append(width)
    solved_row, solved_slot, solved = _finished(cut, devices * batches)
    finish = np.full(matrix.shape[0], -1)
    finish[cut.row] = batch  # pieces are in order, so the last one counts
    slot_of_row = np.full(matrix.shape[0], -1)
    slot_of_row[solved_row] = solved_slot
    slots, count = int(np.dot(lengths, widths)), sum(widths)
    order = np.full((devices * batches, slots), -1)
    owners = np.full((devices * batches, count), solved, dtype=np.int32)
    first_slot = first_piece = 0
    for each, width in zip(lengths.tolist(), widths, strict=True):
        chosen = np.flatnonzero(cut.length == each)
        entry = cut.start[chosen, None] + np.arange(each)
        entry[entry >= matrix.indptr[cut.row[chosen] + 1, None]] = -1
        order[batch[chosen, None], first_slot + place[chosen, None] * each + np.arange(each)] = entry
        ends_here = finish[cut.row[chosen]] == batch[chosen]
        owners[batch[chosen], first_piece + place[chosen]] = np.where(
            ends_here, slot_of_row[cut.row[chosen]], solved
        )
        first_slot, first_piece = first_slot + each * width, first_piece + width
    numbers = np.full((devices * batches, solved), -1)
    numbers[finish[solved_row], solved_slot] = solved_row
    sends, entries = _exchange(order, matrix.indices, others, batches)
    return Batches(
        BatchShape(devices, batches, tuple(lengths.tolist()), tuple(widths), solved, sends.shape[2]),
        sends,
        entries,
        owners,
        _carries(cut, batch, finish, slot_of_row, solved, devices * batches),
        np.where(numbers < 0, rows.height, rows.position[numbers] % rows.height).astype(np.int32),
        numbers,
        order,
    )


@dataclass(frozen=True, eq=False)
class _Pieces:
    """All pieces, by device, and there by slot of their row and place in it; (pieces,) arrays."""

    row: Integers
    start: Integers
    length: Integers
    device: Integers
    batch: Integers
    batches: int


def _cut(matrix: sparse.csr_array, rows: Placement, pieces: int, longest: int) -> _Pieces:
    entries = np.diff(matrix.indptr).astype(np.int64)
    shortest = _shortest_piece(entries, longest)
    padded = -(-entries // shortest) * shortest
    parts = [_pieces_of(padded, longest, padded // longest, first=0)]
    length = longest
    while length > shortest:
        length //= 2
        # what is left of a row after the longer pieces holds this one or not
        parts.append(_pieces_of(padded, length, padded // length % 2, first=padded // (2 * length) * (2 * length)))
    row, start, size = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.lexsort((start, rows.position[row]))
    row, start, size = row[order], start[order] + matrix.indptr[row[order]], size[order]
    device = rows.position[row] // rows.height
    counts = np.bincount(device, minlength=rows.devices)
    batches = max(1, -(-int(counts.max()) // pieces))
    # as many batches as needed, all about equally full
    capacity = -(-int(counts.max()) // batches)
    within = np.arange(row.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Pieces(row, start, size, device, within // capacity, batches)


def _shortest_piece(entries: Integers, longest: int) -> int:
    """The longest divisor of a piece, by halving, with which the ends of the rows are little padding."""
    shortest, total = longest, int(entries.sum())
    while shortest % 2 == 0 and int((-(-entries // shortest) * shortest).sum()) > (1 + _PADDING_WANTED) * total:
        shortest //= 2
    return shortest


def _pieces_of(padded: Integers, length: int, counts: Integers, first: Any) -> tuple[Integers, Integers, Integers]:
    """Rows, places in the row and lengths of the pieces of one length, ``counts`` of each row."""
    row = np.repeat(np.arange(padded.size), counts)
    within = np.arange(row.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, np.broadcast_to(first, padded.shape)[row] + within * length, np.full(row.size, length)


def _ranks(group: Integers, groups: int) -> tuple[Integers, int]:
    """The number of each element within its group, and the largest group; groups ascend."""
    counts = np.bincount(group, minlength=groups)
    return np.arange(group.size) - np.repeat(np.cumsum(counts) - counts, counts), int(counts.max(initial=0))


def _finished(cut: _Pieces, groups: int) -> tuple[Integers, Integers, int]:
    """Rows in order, the slot of each within the batch that finishes it, and the most that a batch finishes."""
    last = np.flatnonzero(np.append(cut.row[1:] != cut.row[:-1], True))
    slots, most = _ranks((cut.device * cut.batches + cut.batch)[last], groups)
    return cut.row[last], slots, most


def _carries(
    cut: _Pieces, batch: Integers, finish: Integers, slot_of_row: Integers, solved: int, groups: int
) -> NDArray[np.int32]:
    """Where the row that crosses into each batch is summed in it."""
    carries = np.full(groups, solved, dtype=np.int32)
    crossing = np.flatnonzero((cut.row[1:] == cut.row[:-1]) & (batch[1:] != batch[:-1])) + 1
    row, into = cut.row[crossing], batch[crossing]
    carries[into] = np.where(finish[row] == into, slot_of_row[row], solved)
    return carries


def _exchange(
    order: Integers, indices: NDArray[Any], others: Placement, batches: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``sends`` and ``entries`` of `Batches`: which rows of the other table travel, each once a batch."""
    devices, height = others.devices, others.height
    wanted = []
    for receiver in range(devices):
        mine = order[receiver * batches : (receiver + 1) * batches]
        batch, slot = np.nonzero(mine >= 0)
        # batch, sender and row in one number
        key = batch * others.total + others.position[indices[mine[batch, slot]]]
        keys, inverse = np.unique(key, return_inverse=True)
        rank, most = _ranks(keys // height, batches * devices)
        wanted.append((batch, slot, keys, inverse, rank, most))
    sent = max(1, *(most for *_, most in wanted))
    sends = np.zeros((devices, batches, devices, sent), dtype=np.int32)
    entries = np.full(order.shape, devices * sent, dtype=np.int32)
    for receiver, (batch, slot, keys, inverse, rank, _) in enumerate(wanted):
        sender = keys // height % devices
        sends[sender, keys // others.total, receiver, rank] = keys % height
        entries[receiver * batches + batch, slot] = (sender * sent + rank)[inverse]
    return sends.reshape(devices * batches, devices, sent), entries
