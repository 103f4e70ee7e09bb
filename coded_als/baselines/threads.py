"""Rows over the threads of one machine.

The compiled loops release the interpreter's lock, so plain threads do. They call BLAS once per row, and a BLAS
that starts threads of its own inside each of them is the classic way to make more cores slower: while rows are
shared out, BLAS is held to one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.blas import one_blas_thread

RowLoop = Callable[[NDArray[np.int64]], None]

# Parts per thread: the heavy rows of a popularity-skewed matrix then even out.
_PARTS_PER_THREAD = 8


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_all_rows(loop: RowLoop, work: NDArray[Any], threads: int, together: int = 1) -> None:
    """Run ``loop`` over the rows 0, 1, ... in parts, on ``threads`` threads.

    ``work``: (rows,) cost of each row, in any unit: parts are of about equal cost.
    """
    rows = np.arange(len(work))
    if threads == 1 or rows.size < 2:
        loop(rows)
        return
    cost = np.cumsum(work)
    parts = threads * _PARTS_PER_THREAD
    cuts = np.searchsorted(cost, cost[-1] * np.arange(1, parts) / parts) // together * together
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        list(pool.map(loop, np.split(rows, cuts)))
