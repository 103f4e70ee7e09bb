"""The half-step of ALS on a block of rows that a worker holds, in panels, with the block's part of the objective."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Floats, Places
from coded_als.baselines.compiled import require_compiler
from coded_als.baselines.half_step import Rows, RowSolver
from coded_als.errors import UsageError
from coded_als.kernels import PANEL_OPERATIONS, Result, piece_by_entries, read_entries, require_rows

_Solve = Callable[[Rows], tuple[Floats, NDArray[np.float64]]]
# a small solve of NumPy costs far more than its multiplications: some 10 microseconds of calls
CALLS = 1e5


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
    ridge term; ``offset``: (t,) the other side's biases, to be subtracted from the targets; or (0,) for none;
    ``reading``: A `coded_als.baselines.half_step.Reading`, (8,). Returns solution (rows, d), and sums (2,): the part
    of the objective that the rows explain, and the model's constant.
    """
    require_rows(data, indices, indptr, len(fixed))
    power, bits, stable = reading[5:].tolist()
    by_numpy = bool(stable) or not _has_compiler()
    dtype = np.dtype(np.float32 if bits == 32 and not by_numpy else np.float64)
    shared = gram.astype(dtype) if gram.size else None
    tables = fixed.astype(dtype), shared, penalty.astype(dtype)
    solve: _Solve = partial(solved_by_numpy, *tables) if by_numpy else RowSolver(*tables).solve
    taken_off, solution = offset.astype(dtype), np.empty((ridge.size, penalty.size))
    sums = np.zeros(2)
    for start, stop in panels(indptr, penalty.size, CALLS if by_numpy else 0.0):
        yield
        part = slice(int(indptr[start]), int(indptr[stop]))
        # plain arrays: compiled code would be made anew for mapped or read-only ones
        places, ends = np.array(indices[part]), np.array(indptr[start : stop + 1] - indptr[start])
        curvature, target = read_entries(data[part], places, taken_off, reading, dtype)
        rows = Rows(ends, places, curvature, target, ridge[start:stop].astype(dtype))
        solution[start:stop], explained = solve(rows)
        constant = target if power == 1 else np.square(target, dtype=np.float64)
        sums += float(explained.sum()), float(constant.sum(dtype=np.float64))
    return solution, sums


def solve_pieces(
    indptr: Places, indices: Places, data: Array, ridge: Array, fixed: Array, *others: Any
) -> Generator[None, None, Result]:
    """`solve_block` for one piece of a block: (rows + 2, d), zeros but for its rows and, at the end, its sums.

    ``others``: the further operands of `solve_block`, then the number of the piece and that of all. Where these two are
    left out it is the whole block. The responses to all pieces add up to that of the block.
    """
    payload, (piece, pieces) = others[:4], others[4:] or (0, 1)
    first, last = piece_by_entries(indptr, piece, pieces)
    part, ends = slice(int(indptr[first]), int(indptr[last])), indptr[first : last + 1] - indptr[first]
    solution, sums = yield from solve_block(ends, indices[part], data[part], ridge[first:last], fixed, *payload)
    response = np.zeros((ridge.size + 2, solution.shape[1]))
    response[first:last], response[-2:, 0] = solution, sums
    return (response,)


def _has_compiler() -> bool:
    try:
        require_compiler()
    except UsageError:
        return False
    return True


def solved_by_numpy(
    fixed: Floats, gram: Floats | None, penalty: Floats, rows: Rows
) -> tuple[Floats, NDArray[np.float64]]:
    """As `RowSolver.solve`, row by row with LAPACK's general solver, which is backward stable and needs no compiler.

    ``fixed``: (n, d); ``gram``: (d, d) or None; ``penalty``: (d,). Returns the solution (rows, d), and (rows,) the part of
    the objective that each row explains.
    """
    solution, explained = np.zeros((rows.count, penalty.size)), np.zeros(rows.count)
    diagonal = np.diag_indices(penalty.size)
    for row in range(rows.count):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        chosen = fixed[rows.indices[part]]
        normal = (chosen.T * rows.curvature[part]) @ chosen
        if gram is not None:
            normal += gram
        normal[diagonal] += rows.ridge[row] * penalty
        right = chosen.T @ rows.target[part]
        solution[row] = np.linalg.solve(normal, right)
        explained[row] = solution[row] @ (2 * right - normal @ solution[row])
    return solution, explained


def panels(indptr: NDArray[np.int32], rank: int, each: float = 0.0) -> list[tuple[int, int]]:
    """Rows from and to, in panels of some ten milliseconds of work.

    ``indptr``: where rows begin, (rows + 1,); ``each``: work of a row beside that of its entries.
    """
    rows = indptr.size - 1
    work = indptr.astype(np.float64) * rank**2 + np.arange(rows + 1) * (rank**3 / 3 + each)
    cuts = np.searchsorted(work, np.arange(0, work[-1], 4 * PANEL_OPERATIONS))
    ends = np.unique(np.append(cuts, rows))
    return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
