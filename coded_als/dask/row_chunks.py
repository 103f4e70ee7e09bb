"""Chunks of rows of a Dask array: the workers that hold them do the work, and the client sees sums and tall results."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from distributed import get_client

from coded_als.als.row_parts import RowParts, Work
from coded_als.arrays import Array
from coded_als.dask.placement import tree
from coded_als.errors import UsageError


class DaskParts(RowParts):
    """The chunks of a Dask array, (m, n); chunks of columns are joined by Dask first.

    Work runs on the current Dask client, or in threads without one. The array is computed again for each pass over it unless
    it was persisted.

    Raises UsageError for an array of unknown size.
    """

    def __init__(self, array: Any) -> None:
        if any(np.isnan(size) for size in array.shape):
            raise UsageError("a Dask array must know its shape; got unknown sizes. Call compute_chunk_sizes first.")
        if len(array.chunks[1]) > 1:
            array = array.rechunk({1: -1})
        super().__init__(array.shape, [0, *accumulate(array.chunks[0])])
        self._chunks = array.to_delayed(optimize_graph=True).ravel()

    def reduced(self, add: Callable[[Array, Array], Array], work: Work, *common: Any) -> Array:
        shared = self._shared(common)
        return self._summed(add, [delayed(work)(chunk, *shared) for chunk in self._chunks])

    def reduced_with(self, rows: Array, work: Work, *common: Any) -> Array:
        shared = self._shared(common)
        sent = _sent([rows[span] for span in self.spans])
        parts = zip(self._chunks, sent, strict=True)
        return self._summed(np.add, [delayed(work)(chunk, own, *shared) for chunk, own in parts])

    def stacked(self, work: Work, *common: Any) -> Array:
        shared = self._shared(common)
        return np.concatenate(compute(*(delayed(work)(chunk, *shared) for chunk in self._chunks)))

    def _shared(self, common: tuple[Any, ...]) -> list[Any]:
        """What all parts need, once in the graph."""
        return [delayed(one) if isinstance(one, np.ndarray) else one for one in common]

    def _summed(self, add: Callable[[Array, Array], Array], results: list[Any]) -> Array:
        joined = delayed(add)
        found: Array = compute(tree(results, joined))[0]
        return found


def _sent(arrays: list[Array]) -> list[Any]:
    """Arrays on their way to the workers of the current client, if there is one: within a graph they would burden its scheduler."""
    try:
        return list(get_client().scatter(arrays, hash=False))
    except ValueError:  # threads of this process do the work
        return list(arrays)
