"""New users one at a time: from ratings to factors in one compiled call, where the parts cost more than the algebra."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Floats
from coded_als.baselines.cholesky import solve_row, workspace
from coded_als.baselines.compiled import compiled, dot, routines
from coded_als.baselines.half_step import Reading, RowSolver


@dataclass(frozen=True, eq=False)
class Folding:
    """The items in the form that folding in needs."""

    solver: RowSolver  # an exact one for new users
    items: Floats  # (n, d), or (n, d + 1) with the bias last, in units of the scale
    offsets: Floats  # (n,) the biases among them, or (0,)
    scale: float  # unit of the ratings
    reading: Reading  # weights and targets that the model takes from a rating
    units: Floats  # (d,) multipliers of a solved row in those units
    _numbers: Array = field(init=False, repr=False)
    _axes: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        axes = self.solver.axes
        none = np.empty((0, 0), self.items.dtype)
        object.__setattr__(self, "_numbers", self.reading.as_array())
        object.__setattr__(self, "_axes", none if axes is None else np.ascontiguousarray(axes))

    def row(self, indices: NDArray[np.int32], values: NDArray[np.float64], ridge: float) -> Floats | None:
        """The row of one new user, or None where Cholesky factors do not solve it.

        ``indices, values``: (entries,) columns, ascending, and ratings; at least one. Returns (d,), or (d + 1,) with
        the bias last.
        """
        solver = self.solver
        out = np.empty(len(self.units), self.items.dtype)
        solved = fold_in_row(
            indices, values, self._numbers, self.offsets, solver.turned, solver.diagonal,
            ridge, solver.penalty, routines(self.items.dtype), self._axes, self.units, out,
        )  # fmt: skip
        return out if solved else None


@compiled
def fold_in_row(
    indices: Any,
    values: Any,
    reading: Any,
    offsets: Any,
    fixed: Any,
    diagonal: Any,
    ridge: float,
    penalty: Any,
    routines: Any,
    axes: Any,
    units: Any,
    out: Any,
) -> bool:
    """Solve one new row exactly, from its ratings to its factors in one call; False where that cannot be done.

    ``indices, values``: columns and ratings, (entries,), at least one; ``reading``: `Reading.as_array`, (8,);
    ``offsets``: biases of the other side in those units, (others,), or (0,) for none; ``fixed``: Y, the factor of
    the other side along ``axes``, (others, d); ``diagonal``: diagonal of G, (d,); ``penalty``: diagonal that the
    ridge weight multiplies, (d,); ``axes``: columns are the axes that Y is along, (d, d), or (0, 0) for the usual
    ones; ``units``: multipliers of the solution at the end, (d,); ``out``: the row, (d,); overwritten.
    """
    mean, c0, c1, t0, t1 = reading[0], reading[1], reading[2], reading[3], reading[4]
    count, rank = indices.size, fixed.shape[1]
    curvature, target = np.empty(count, fixed.dtype), np.empty(count, fixed.dtype)
    for j in range(count):
        value = values[j] - mean
        curvature[j] = c0 + c1 * value
        target[j] = t0 + t1 * value
        if offsets.size:
            target[j] -= offsets[indices[j]]
    work = workspace(fixed, penalty)
    weight = fixed.dtype.type(ridge)
    solved = solve_row(0, count, indices, curvature, target, fixed, diagonal, weight, penalty, routines, work)
    for k in range(rank):
        out[k] = (dot(axes[k], work[4]) if axes.size else work[4][k]) * units[k]
    return bool(solved)
