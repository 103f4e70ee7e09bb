"""Rows of a factor table dealt to devices, and dense batches of their entries.

Sparse rows are cut into pieces of a few fixed lengths, many pieces in one static array. After Mehta, Rendle, Krichene,
Zhang, "ALX: Large Scale Matrix Factorization on TPUs" (2021), section 4, with three differences. A row may be longer
than a batch: a row that is open at the end of one is carried into the next. Short rows have batches of their own, with shorter
pieces too, where whole ones would be too much padding. And since the ids are known beforehand, each device is told which
of its rows the others need, so that no device asks for a row at run time, or twice in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Integers

# the fractional parts of its multiples spread evenly over [0, 1), however many are taken
_GOLDEN = (np.sqrt(5) - 1) / 2
# Shorter pieces are taken when the padding of the rows' ends would exceed this share of the entries.
_PADDING_WANTED = 0.1
# Rows of so many whole pieces keep within that share for every length of their ends.
_LONG = round(1 / _PADDING_WANTED)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the rows of one table are: row r is row ``slot`` of device ``device``, at ``device * height + slot``.

    Every device has the same number of rows, some of which may be unused, and about the same number of entries.
    Neighbouring slots hold rows of very different lengths, so that every run of slots has about as many entries
    as any other.
    """

    devices: int  # N
    height: int  # rows of each device
    position: Integers  # (rows,) place of each row in the table of ``devices * height`` rows

    @property
    def rows(self) -> int:
        """Rows that are in use."""
        return len(self.position)

    @property
    def total(self) -> int:
        """Rows of the table, used or not."""
        return self.devices * self.height

    def spread(self, table: NDArray[Any]) -> NDArray[Any]:
        """Rows (rows, ...) in the order of positions, (total, ...); unused places are zero."""
        placed = np.zeros((self.total, *table.shape[1:]), table.dtype)
        placed[self.position] = table
        return placed

    def collect(self, placed: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `spread`: (total, ...) to (rows, ...)."""
        return placed[self.position]


def deal_to_devices(lengths: NDArray[Any], devices: int) -> Placement:
    """Deal rows with so many entries each, (rows,), to devices.

    The rows, longest first, go to the devices like cards, forth and back. A device's rows are then strewn over its slots.
    """
    rows = len(lengths)
    height = -(-rows // devices)
    place = np.arange(rows)
    turn, device = np.divmod(place, devices)
    device = np.where(turn % 2, devices - 1 - device, device)
    slot_of_turn = np.argsort(np.argsort(np.arange(height) * _GOLDEN % 1, kind="stable"))
    position = np.empty(rows, dtype=np.int64)
    position[np.argsort(-np.asarray(lengths), kind="stable")] = device * height + slot_of_turn[turn]
    return Placement(devices, height, position)


@dataclass(frozen=True)
class BatchShape:
    """Sizes that all batches of a group have."""

    # N, and batches of each device
    devices: int
    batches: int
    # lengths of pieces, longest first, and how many of each a batch holds
    lengths: tuple[int, ...]
    widths: tuple[int, ...]
    solved: int  # rows that a batch can finish
    sent: int  # rows that a device sends to each device for one batch

    @property
    def slots(self) -> int:
        """Entries that a batch has room for."""
        return sum(length * width for length, width in zip(self.lengths, self.widths, strict=True))


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one group of rows; every array begins with (devices * batches, ...), device by device."""

    shape: BatchShape  # their sizes
    sends: NDArray[np.int32]  # (..., N, sent) rows of this device that each device needs
    # (..., slots) where each entry's row of the other table is among the ``N * sent`` rows received; padding is ``N *
    # sent``
    entries: NDArray[np.int32]
    # (..., pieces) the finished row that a piece belongs to; ``solved`` for a row that goes on in the next batch
    owners: NDArray[np.int32]
    carries: NDArray[np.int32]  # (...,) where the sum that the last batch left open belongs to
    rows: NDArray[np.int32]  # (..., solved) rows of this device that are finished; padding is the height of the table
    numbers: Integers  # (..., solved) their numbers in the matrix; padding is -1
    order: Integers  # (..., slots) place of each entry in the csr matrix; padding is -1


def pack(matrix: sparse.csr_array, rows: Placement, others: Placement, pieces: int, length: int) -> list[Batches]:
    """Cut the rows of a matrix (rows, others), in canonical form, into batches of at most so many pieces of a device.

    One group of rows comes out or two: long ones in whole pieces alone, and short ones. Rows without entries are in none.
    """
    entries = np.diff(matrix.indptr).astype(np.int64)
    filled = np.flatnonzero(entries)
    shortest = _shortest_piece(entries, length)
    if shortest == length:
        cuts = [_in_sequence(matrix, rows, filled, pieces, length)]
    else:
        # a short row must fit into a batch with its shorter pieces, of which it has a handful
        long = entries[filled] >= min(_LONG, pieces // 2) * length
        shortest = _shortest_piece(entries[filled[~long]], length)
        cuts = [_in_sequence(matrix, rows, filled[long], pieces, length)] if long.any() else []
        cuts += [_dealt(matrix, rows, filled[~long], pieces, length, shortest)] if not long.all() else []
    return [_batches(matrix, rows, others, cut) for cut in cuts]


def padding(groups: list[Batches]) -> float:
    """Room for entries over entries; 1 is none."""
    return sum(group.order.size for group in groups) / sum(np.count_nonzero(group.order >= 0) for group in groups)


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Pieces by device, batch, row and place in it; (pieces,) arrays."""

    row: Integers
    start: Integers
    length: Integers
    device: Integers
    batch: Integers
    batches: int


def _batches(matrix: sparse.csr_array, rows: Placement, others: Placement, cut: _Pieces) -> Batches:
    devices, batches = rows.devices, cut.batches
    lengths = np.unique(cut.length)[::-1]
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
        owners[batch[chosen], first_piece + place[chosen]] = np.where(ends_here, slot_of_row[cut.row[chosen]], solved)
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


def _in_sequence(matrix: sparse.csr_array, rows: Placement, members: Integers, pieces: int, length: int) -> _Pieces:
    """Whole pieces, row by row; batches of equal numbers of them, wherever that cuts a row."""
    row, start, size = _cut(np.diff(matrix.indptr)[members], length, length)
    row = members[row]
    order = np.lexsort((start, rows.position[row]))
    row, start, size = row[order], start[order], size[order]
    device = rows.position[row] // rows.height
    within, most = _ranks(device, rows.devices)
    batches = -(-most // pieces)
    capacity = -(-most // batches)
    return _Pieces(row, start + matrix.indptr[row], size, device, within // capacity, batches)


def _dealt(
    matrix: sparse.csr_array, rows: Placement, members: Integers, pieces: int, length: int, shortest: int
) -> _Pieces:
    """Pieces of several lengths, rows dealt to batches like cards so that all have about as many of each length."""
    entries = np.diff(matrix.indptr)[members]
    device = rows.position[members] // rows.height
    longest_first = np.lexsort((-entries, device))
    members, entries, device = members[longest_first], entries[longest_first], device[longest_first]
    turn, _ = _ranks(device, rows.devices)
    row, start, size = _cut(entries, length, shortest)
    batches = max(1, -(-int(np.bincount(device[row]).max()) // pieces))
    while True:
        lap, batch = np.divmod(turn, batches)
        batch = np.where(lap % 2, batches - 1 - batch, batch)
        fullest = int(np.bincount(device[row] * batches + batch[row]).max())
        if fullest <= pieces or batches > turn.max():
            break
        batches += 1
    order = np.lexsort((start, row, batch[row], device[row]))
    row, start, size = row[order], start[order], size[order]
    return _Pieces(members[row], start + matrix.indptr[members[row]], size, device[row], batch[row], batches)


def _cut(entries: Integers, longest: int, shortest: int) -> tuple[Integers, Integers, Integers]:
    """Number of its row, place in the row and length of every piece, by length and then by row."""
    padded = -(-entries // shortest) * shortest
    length, parts = longest, [_pieces_of(longest, padded // longest, np.zeros_like(padded))]
    while length > shortest:
        length //= 2
        # the rest of a row after the longer pieces holds this one or not
        parts.append(_pieces_of(length, padded // length % 2, padded // (2 * length) * (2 * length)))
    row, start, size = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return row, start, size


def _shortest_piece(entries: Integers, longest: int) -> int:
    """The longest divisor of a piece, by halving, with which the ends of the rows are little padding."""
    shortest, total = longest, int(entries.sum())
    while shortest % 2 == 0 and int((-(-entries // shortest) * shortest).sum()) > (1 + _PADDING_WANTED) * total:
        shortest //= 2
    return shortest


def _pieces_of(length: int, counts: Integers, first: Integers) -> tuple[Integers, Integers, Integers]:
    """`_cut` for pieces of one length, ``counts`` of each row, the first of them at ``first``."""
    row = np.repeat(np.arange(counts.size), counts)
    within, _ = _ranks(row, counts.size)
    return row, first[row] + within * length, np.full(row.size, length)


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
