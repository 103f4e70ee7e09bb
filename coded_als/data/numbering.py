"""Ids as consecutive numbers, and entries in the order of a sparse matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.models.id_text import number_texts


def distinct_ids(ids: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
    """The ids without repetitions, (distinct,) ascending, and the place of each among them, (ids,).

    As ``np.unique`` with its inverse. Objects are str, and come back as `coded_als.models.id_text.text_array` has them.
    """
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
