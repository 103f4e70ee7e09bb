"""D = A^T A of rows that no machine holds together: one of each block where it lies, summed up in a tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from distributed import Client
from scipy import sparse

from coded_als.arrays import Array
from coded_als.dask.blocks import ARRAYS
from coded_als.dask.planting import Planted, gathered, settled
from coded_als.worker.parts import PartFolder

# Entries of D that are formed at once, beside the sum.
PANEL_ENTRIES = 1 << 22
# Matrices of the size of D that a Dask worker holds while it adds two of them, and one that is on its way.
HELD_AT_ONCE = 4


def summed_gram(client: Client, planted: Planted, length: int, unit: float) -> Array:
    """D = A^T A, (l, l); this process sees the sum alone.

    Parameters
    ----------
    client
        Whose Dask workers hold the blocks.
    planted
        The blocks of rows of A.
    length
        Columns l of A.
    unit
        What the entries are to be divided by.
    """

    def summed() -> Array:
        homes = planted.homes()
        addresses = {address for address, _, _ in homes.values()}
        grams = [
            client.submit(block_gram, folder, first, length, unit, workers=[address], pure=False)
            for address, folder, first in homes.values()
        ]
        total: Array = gathered(
            client, [tree(grams, lambda left, right: client.submit(np.add, left, right))], addresses
        )[0]
        return total

    return settled(summed)


def tree(parts: list[Any], add: Callable[[Any, Any], Any]) -> Any:
    """The sum of some parts, of two neighbours at a time: always in the same order.

    Parameters
    ----------
    parts
        At least one.
    add
        Adds two of them.
    """
    while len(parts) > 1:
        sums = [add(left, right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = sums + parts[2 * len(sums) :]
    return parts[0]


def block_gram(folder: str, first: int, length: int, unit: float) -> Array:
    """A_k^T A_k of a block of rows, (l, l).

    Parameters
    ----------
    folder
        Where the block lies.
    first
        Number of its first array there.
    length
        Columns l of A.
    unit
        What the entries are to be divided by.
    """
    parts = PartFolder(folder)
    indptr, indices, data = (parts.read(first + number) for number in range(len(ARRAYS)))
    block = sparse.csr_array((data / unit, indices, indptr), shape=(indptr.size - 1, length))
    turned = block.T.tocsr()
    gram = np.empty((length, length))
    step = max(1, PANEL_ENTRIES // length)
    for start in range(0, length, step):
        # by panels: where all of it is dense, a sparse product takes more than D itself
        gram[start : start + step] = (turned[start : start + step] @ block).toarray()
    return gram


def memory_for_gram(client: Client) -> float | None:
    """Bytes that D may take on each Dask worker; None where none of them is limited.

    Parameters
    ----------
    client
        Whose workers.
    """
    limits = [worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    return min((limit / HELD_AT_ONCE for limit in limits if limit), default=None)
