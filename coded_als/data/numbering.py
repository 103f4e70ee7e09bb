"""Ids as consecutive numbers, and entries in the order of a sparse matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.models.id_text import number_texts


@dataclass(frozen=True, eq=False)
class CodedIds:
    """Ids in bytes, each distinct one once.

    Parameters
    ----------
    distinct
        (distinct,) bytes, in any order.
    codes
        (ids,) the place of each among them.
    """

    distinct: NDArray[np.bytes_]
    codes: Integers

    @property
    def size(self) -> int:
        """How many ids there are."""
        return int(self.codes.size)


IdColumn = NDArray[Any] | CodedIds


def is_id(ids: IdColumn, text: bytes) -> NDArray[np.bool_]:
    """Where an id stands among others, (ids,).

    Parameters
    ----------
    ids
        (ids,).
    text
        The one that is looked for.
    """
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
    distinct, places = np.unique(np.concatenate([piece.distinct for piece in coded]), return_inverse=True)
    codes = [places[start + piece.codes] for start, piece in zip(starts, coded, strict=False)]
    return CodedIds(distinct, np.concatenate(codes))


def distinct_ids(ids: IdColumn) -> tuple[NDArray[Any], Integers]:
    """The ids without repetitions, (distinct,) ascending, and the place of each among them, (ids,).

    As ``np.unique`` with its inverse. Objects are str, and come back as `coded_als.models.id_text.text_array` has them.
    """
    if isinstance(ids, CodedIds):
        distinct, places = np.unique(ids.distinct, return_inverse=True)
        return distinct, places[ids.codes]
    if ids.dtype.kind == "O":
        return number_texts(ids.tolist())
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


def sorted_by(rows: Integers, columns: Integers) -> Integers:
    """The order of entries by row, then by column, then as they came.

    Parameters
    ----------
    rows, columns
        (entries,) both at least 0.

    Returns
    -------
    (entries,) as ``np.lexsort((columns, rows))``, in the time of a few passes: NumPy sorts numbers of 16 bits by
    counting, and the order of equal ones stays.
    """
    order = np.arange(rows.size)
    for keys in (columns, rows):
        for shift in range(0, int(keys.max(initial=0)).bit_length(), 16):
            digits = (keys >> shift).astype(np.uint16)
            order = order[digits[order].argsort(kind="stable")]
    return order
