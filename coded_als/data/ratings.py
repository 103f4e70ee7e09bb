"""Ratings in memory: a matrix, the ids of its rows and columns, and the order that they came in; graphs among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.ids import Ids, number_texts


@dataclass(frozen=True, eq=False)
class CodedIds:
    """Ids in bytes, each distinct one once."""

    distinct: NDArray[np.bytes_]  # (distinct,) bytes, in any order
    codes: Integers  # (ids,) the place of each among them

    @property
    def size(self) -> int:
        """How many ids there are."""
        return int(self.codes.size)


IdColumn = NDArray[Any] | CodedIds


def is_id(ids: IdColumn, text: bytes) -> NDArray[np.bool_]:
    """Where an id stands among others, (ids,)."""
    if isinstance(ids, CodedIds):
        return np.asarray((ids.distinct == text)[ids.codes])
    return np.asarray(ids.astype(np.bytes_) == text)


def join_ids(pieces: Sequence[IdColumn]) -> IdColumn:
    """One column, (ids,), from its pieces: whole numbers where all pieces are, text otherwise."""
    if not any(isinstance(piece, CodedIds) for piece in pieces):
        arrays = [piece for piece in pieces if not isinstance(piece, CodedIds)]
        if any(piece.dtype.kind == "S" for piece in arrays):
            arrays = [piece.astype(np.bytes_) for piece in arrays]
        return np.concatenate(arrays)
    coded = [
        piece if isinstance(piece, CodedIds) else CodedIds(*distinct_ids(piece.astype(np.bytes_))) for piece in pieces
    ]
    starts = np.cumsum([0, *(piece.distinct.size for piece in coded)])
    distinct, places = distinct_ids(np.concatenate([piece.distinct for piece in coded]))
    codes = [places[start + piece.codes] for start, piece in zip(starts, coded, strict=False)]
    return CodedIds(distinct, np.concatenate(codes))


def distinct_ids(ids: IdColumn) -> tuple[NDArray[Any], Integers]:
    """The ids without repetitions, (distinct,) ascending, and the place of each among them, (ids,).

    As ``np.unique`` with its inverse. Objects are str, and come back as `coded_als.models.ids.text_array` has them.
    """
    if isinstance(ids, CodedIds):
        distinct, places = np.unique(ids.distinct, return_inverse=True)
        return distinct, places[ids.codes]
    if ids.dtype.kind == "O":
        return number_texts(ids.tolist())
    numbers = _packed(ids) if ids.dtype.kind == "S" else None
    if numbers is not None:
        distinct, places = distinct_ids(numbers)
        example = np.empty(distinct.size, np.int64)
        example[places] = np.arange(ids.size)
        return ids[example], places
    least, largest = (int(ids.min()), int(ids.max())) if ids.dtype.kind in "iu" and ids.size else (0, 0)
    if ids.dtype.kind not in "iu" or largest - least > 4 * ids.size + 2**16:
        distinct, places = np.unique(ids, return_inverse=True)
        return distinct, places
    # a table of all numbers between the least and the largest costs less than sorting
    offsets = (ids - ids.dtype.type(least)).astype(np.int64)
    present = np.zeros(largest - least + 1, dtype=np.bool_)
    present[offsets] = True
    distinct = np.flatnonzero(present).astype(ids.dtype) + ids.dtype.type(least)
    return distinct, (np.cumsum(present) - 1)[offsets]


def _packed(texts: NDArray[Any]) -> Integers | None:
    """Whole numbers, (texts,), in the order of the texts and equal where these are; None where they need 63 bits or more.

    A text is read as the digits of a number, the base of each place being the span of the bytes that stand there. Equal
    beginnings add nothing, so that most ids become small numbers, which are told apart without sorting texts.
    """
    if not texts.size or not texts.itemsize:
        return None
    characters = np.ascontiguousarray(texts).view(np.uint8).reshape(texts.size, -1)
    least = characters.min(axis=0)
    spans = characters.max(axis=0).astype(np.int64) - least + 1
    if math.prod(spans.tolist()) >= 2**63:
        return None
    numbers = np.zeros(texts.size, np.int64)
    for place in np.flatnonzero(spans > 1).tolist():
        numbers *= spans[place]
        numbers += characters[:, place] - least[place]
    return numbers


def sorted_by(rows: Integers, columns: Integers) -> Integers:
    """The order of entries by row, then by column, then as they came.

    ``rows, columns``: (entries,) both at least 0. Returns (entries,) as ``np.lexsort((columns, rows))``, in the
    time of a few passes: NumPy sorts numbers of 16 bits by counting, and the order of equal ones stays.
    """
    order = np.arange(rows.size)
    for keys in (columns, rows):
        for shift in range(0, int(keys.max(initial=0)).bit_length(), 16):
            digits = (keys >> shift).astype(np.uint16)
            order = order[digits[order].argsort(kind="stable")]
    return order


# Rule for a pair that is rated twice: it is refused, or its last value or the sum counts.
Repeated = Literal["refuse", "last", "sum"]


@dataclass(frozen=True)
class TextReading:
    """Columns and lines of a text, as they were read."""

    columns: tuple[str, ...]  # of users, items, and perhaps ratings and times, as the text names them
    # found by ``"name"`` or by ``"position"``; ``"line"`` of a dense matrix, which has no such columns
    by: str
    unread: tuple[str, ...]  # the other columns
    blank: int  # empty lines that were passed over
    lines: int  # lines of ratings
    has_header: bool  # whether line 1 holds names


@dataclass(frozen=True, eq=False)
class RatingData:
    """A rating matrix and the ids of its rows and columns.

    Entries are numbered as they are stored: row by row, columns ascending. In a sparse matrix every
    stored entry is a rating, an explicit zero too; in a dense one zeros are missing, as in the paper.

    Parameters
    ----------
    matrix
        (m, n) float64, a dense array or a `scipy.sparse.csr_array` in canonical form.
    user_ids
        Ids of the rows, (m,), int64 or str; ascending where they were read from text, 0, 1, 2, ... of a
        matrix.
    item_ids
        Ids of the columns, (n,), likewise.
    source
        Name of the source, for people.
    times
        (entries,) in the source's own unit, or None.
    positions
        (entries,) the place of each entry in the source, or None where that is the order of storage.
    reading
        How a text was read, None for other sources.

    Examples
    --------
    >>> from coded_als.data import load_ratings
    >>> ratings = load_ratings("synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1")
    >>> ratings.shape, ratings.entries
    ((60, 40), 720)
    >>> users, items, values = ratings.triples()
    """

    matrix: Floats | csr_array[np.float64]
    user_ids: Ids
    item_ids: Ids
    source: str
    times: NDArray[Any] | None = None
    positions: Integers | None = None
    reading: TextReading | None = None

    def read_as(self, reading: TextReading) -> RatingData:
        """Return the same, and how it was read."""
        return replace(self, reading=reading)

    @property
    def is_dense(self) -> bool:
        """Whether ``matrix`` is a dense array."""
        return isinstance(self.matrix, np.ndarray)

    @property
    def shape(self) -> tuple[int, int]:
        """Users m and items n."""
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def entries(self) -> int:
        """Number of ratings."""
        return int(np.count_nonzero(self.matrix)) if isinstance(self.matrix, np.ndarray) else int(self.matrix.nnz)

    def triples(self) -> tuple[Integers, Integers, Floats]:
        """Return row, column and value of every entry, each (entries,), in the order of storage."""
        if isinstance(self.matrix, np.ndarray):
            rows, columns = np.nonzero(self.matrix)
            return rows, columns, self.matrix[rows, columns]
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.matrix.indptr))
        return rows, self.matrix.indices.astype(np.int64), np.asarray(self.matrix.data)

    def select(self, chosen: NDArray[np.bool_]) -> RatingData:
        """Return the same matrix with only the entries marked in ``chosen``, (entries,); shape and ids stay."""
        rows, columns, values = self.triples()
        rows, columns, values = rows[chosen], columns[chosen], values[chosen]
        matrix: Floats | csr_array[np.float64]
        if self.is_dense:
            matrix = np.zeros(self.shape)
            matrix[rows, columns] = values
        else:
            matrix = csr_from_sorted(rows, columns, values, self.shape)
        return replace(
            self,
            matrix=matrix,
            times=None if self.times is None else self.times[chosen],
            positions=np.flatnonzero(chosen) if self.positions is None else self.positions[chosen],
        )


def from_matrix(matrix: Floats | csr_array[np.float64], source: str) -> RatingData:
    """Ratings with the row and column numbers as ids. ``matrix``: (m, n), dense or sparse."""
    values = matrix if isinstance(matrix, np.ndarray) else matrix.data
    if (
        not matrix.shape[0]
        or not matrix.shape[1]
        or not np.any(values if isinstance(matrix, np.ndarray) else len(values))
    ):
        raise UsageError(f"ratings must have at least one entry; {source} has none. Check that it is the right one.")
    finite = np.isfinite(values)
    if not finite.all():
        place = int(np.flatnonzero(~finite.ravel())[0])
        row, column = _place(matrix, place)
        raise UsageError(
            f"ratings must be finite; got {values.ravel()[place]} in row {row}, column {column} of {source} "
            "(counted from 0). Remove or replace it."
        )
    return RatingData(matrix, np.arange(matrix.shape[0]), np.arange(matrix.shape[1]), source)


def from_triples(
    users: IdColumn,
    items: IdColumn,
    values: Floats,
    times: NDArray[Any] | None,
    lines: Integers,
    source: str,
    noun: str = "lines",
    repeated: Repeated | None = None,
) -> RatingData:
    """Ratings from one (user, item, value) per line of a text or row of a table.

    ``users, items``: (entries,) ids: whole numbers, str (as objects, where one is long), or UTF-8 bytes; ``values,
    times``: (entries,); ``lines``: (entries,) line numbers, for error messages.
    """
    user_ids, rows = number_ids(users, lines, source)
    item_ids, columns = number_ids(items, lines, source)
    order = sorted_by(rows, columns)
    again = np.flatnonzero((np.diff(rows[order]) == 0) & (np.diff(columns[order]) == 0))
    if again.size and repeated in (None, "refuse"):
        first, second = order[again[0]], order[again[0] + 1]
        raise UsageError(
            f"a user must rate an item once; user {user_ids.item(rows[first])!r} rates item "
            f"{item_ids.item(columns[first])!r} in {noun} {lines[first]} and {lines[second]} of {source}. Remove one, or "
            "choose a rule, by --repeated last or --repeated sum."
        )
    ordered = values[order]
    if again.size:
        starts = np.delete(np.arange(order.size), again + 1)
        if repeated == "sum":
            ordered = np.add.reduceat(ordered, starts)
        lasts = np.append(starts[1:], order.size) - 1
        order = order[lasts]
        ordered = ordered if repeated == "sum" else values[order]
    matrix = csr_from_sorted(rows[order], columns[order], ordered, (user_ids.size, item_ids.size))
    return RatingData(matrix, user_ids, item_ids, source, None if times is None else times[order], order)


def from_pairs(
    users: IdColumn, items: IdColumn, lines: Integers, source: str, repeated: Repeated | None = None
) -> RatingData:
    """Interactions from one (user, item) per line: the value of an entry is how often the pair stands there.

    Raises UsageError when an id is not UTF-8.
    """
    if repeated in ("refuse", "last"):
        return from_triples(users, items, np.ones(users.size), None, lines, source, repeated=repeated)
    user_ids, rows = number_ids(users, lines, source)
    item_ids, columns = number_ids(items, lines, source)
    order = sorted_by(rows, columns)
    rows, columns = rows[order], columns[order]
    first = np.flatnonzero(np.diff(rows, prepend=-1) | np.diff(columns, prepend=-1))
    counts = np.diff(first, append=rows.size).astype(np.float64)
    matrix = csr_from_sorted(rows[first], columns[first], counts, (user_ids.size, item_ids.size))
    return RatingData(matrix, user_ids, item_ids, source, None, order[first])


def number_ids(ids: IdColumn, lines: Integers, source: str) -> tuple[Ids, Integers]:
    """The distinct ids, ascending, and the place of each entry's id among them.

    ``ids``: (entries,) int64, objects that are str, or UTF-8 bytes; ``lines``: (entries,) line numbers, for error
    messages. Returns ids, places (distinct,) int64 or str, and (entries,).
    """
    distinct, places = distinct_ids(ids)
    if distinct.dtype.kind != "S":
        return distinct, places
    try:
        return np.char.decode(distinct, "utf-8"), places
    except UnicodeDecodeError as error:
        line = lines[np.flatnonzero(is_id(ids, bytes(error.object)))[0]]
        raise UsageError(
            f"ids must be UTF-8 text; got {error.object!r} in line {line} of {source}. Name the encoding, as in --encoding latin-1."
        ) from None


def csr_from_sorted(rows: Integers, columns: Integers, values: Floats, shape: tuple[int, int]) -> csr_array[np.float64]:
    """A sparse matrix from entries that are already ordered by row and column.

    ``rows, columns, values``: of each entry, (entries,); ``shape``: (m, n).
    """
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=shape[0]))))
    index = np.int32 if max(*shape, values.size) < 2**31 else np.int64
    matrix = csr_array((values, columns.astype(index), indptr.astype(index)), shape=shape)
    matrix.has_canonical_format = True
    return matrix


def _place(matrix: Floats | csr_array[np.float64], entry: int) -> tuple[int, int]:
    if isinstance(matrix, np.ndarray):
        return entry // matrix.shape[1], entry % matrix.shape[1]
    return int(np.searchsorted(matrix.indptr, entry, side="right")) - 1, int(matrix.indices[entry])


def graph_of(sources: NDArray[Any], targets: NDArray[Any], nodes: NDArray[Any], source: str) -> RatingData:
    """A graph from its links, repeated ones merged.

    ``sources, targets``: (links,) numbers of nodes; ``nodes``: (n,) their ids.
    """
    links = distinct(sources * nodes.size + targets)
    shape = (nodes.size, nodes.size)
    matrix = csr_from_sorted(*np.divmod(links, nodes.size), np.ones(links.size), shape)
    return RatingData(matrix, nodes, nodes, source)


def distinct(numbers: Integers) -> Integers:
    """Each number once, (k,) ascending; by sorting, since the hash table of `numpy.unique` is slow on such numbers."""
    ordered = np.sort(numbers)
    first = np.ones(ordered.size, dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return np.asarray(ordered[first])
