"""The half-step of ALS on a block of rows that a worker holds: `RowSolver` in panels, with what the block explains."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Places
from coded_als.baselines.half_step import Rows, RowSolver
from coded_als.kernels import PANEL_OPERATIONS, Result, require_rows


def solve_block(
    indptr: Places,
    indices: Places,
    data: Array,
    ridge: Array,
    fixed: Array,
    gram: Array,
    penalty: Array,
    offset: Array,
    reading: Array,
) -> Generator[None, None, Result]:
    """The exact half-step of sparse ALS for a block of rows, as `coded_als.baselines.half_step` has it.

    ``indptr, indices, data``: (rows + 1,), (entries,) and (entries,) of a csr matrix of ratings, in float32 or
    float64; ``ridge``: (rows,), greater than 0; ``fixed``: (t, d), the rows of the other factor that the block
    touches; ``gram``: (d, d) the form that all rows share, or (0, 0) for none; ``penalty``: (d,) weights of the
    ridge term; ``offset``: (t,) what is taken off the targets, the other side's biases; or (0,) for nothing;
    ``reading``: A `coded_als.baselines.half_step.Reading`, (7,). Returns solution, sums (rows, d), and what the
    rows explain of the objective with the model's constant, (2,).
    """
    require_rows(data, indices, indptr, len(fixed))
    mean, c0, c1, t0, t1, power, bits = reading.tolist()
    dtype = np.dtype(np.float32 if bits == 32 else np.float64)
    shared = gram.astype(dtype) if gram.size else None
    solver = RowSolver(fixed.astype(dtype), shared, penalty.astype(dtype))
    taken_off = offset.astype(dtype)
    solution = np.empty((ridge.size, penalty.size))
    sums = np.zeros(2)
    for start, stop in panels(indptr, penalty.size):
        yield
        part = slice(int(indptr[start]), int(indptr[stop]))
        ratings = data[part].astype(np.float64) - mean
        # plain arrays: compiled code would be made anew for mapped or read-only ones
        places = np.array(indices[part])
        target = (t0 + t1 * ratings).astype(dtype)
        if taken_off.size:
            target -= taken_off[places]
        rows = Rows(
            np.array(indptr[start : stop + 1] - indptr[start]),
            places,
            (c0 + c1 * ratings).astype(dtype),
            target,
            ridge[start:stop].astype(dtype),
        )
        solution[start:stop], explained = solver.solve(rows)
        constant = target if power == 1 else np.square(target, dtype=np.float64)
        sums += float(explained.sum()), float(constant.sum(dtype=np.float64))
    return solution, sums


def panels(indptr: NDArray[np.int32], rank: int) -> list[tuple[int, int]]:
    """Rows from and to, in panels of some ten milliseconds of work.

    ``indptr``: where rows begin, (rows + 1,).
    """
    rows = indptr.size - 1
    work = indptr.astype(np.float64) * rank**2 + np.arange(rows + 1) * (rank**3 / 3)
    cuts = np.searchsorted(work, np.arange(0, work[-1], 4 * PANEL_OPERATIONS))
    ends = np.unique(np.append(cuts, rows))
    return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
