"""Models in which each row, with the other side held fixed, is a least-squares problem: both ALS, and SGD on squared loss."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Array, Floats, Integers
from coded_als.baselines.cholesky import solve_row, workspace
from coded_als.baselines.compiled import compiled, dot, routines
from coded_als.baselines.half_step import Reading, Rows, RowSolver, without_idle
from coded_als.baselines.loops import fold_in_steps
from coded_als.baselines.model import Entries, Iteration, SparseModel, one_user, thread_count
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import power_of_four
from coded_als.models.recommending import NewUsers, influences


class QuadraticModel(SparseModel):
    """Rows of a side are held as ``(rows, d)``, or ``(rows, d + 1)`` with the bias last.

    While one side is solved the other one's bias column is replaced by ones, so that a bias is one more factor
    of its row; the other side's biases go into the targets.
    """

    biases: bool = False
    threads: int | None = None
    # whether c times the ratings and c times the regularisation mean sqrt(c) times the factors and c times the biases
    _homogeneous: ClassVar[bool] = True

    @abstractmethod
    def _row_weights(self, lengths: NDArray[Any], others: int) -> Floats:
        """(rows,) multipliers of the regularisation for rows with so many entries, of so many on the other side."""

    def _reading(self, mean: float, scale: float) -> Reading:
        """The model's reading of a rating, in units of ``scale``."""
        return Reading(mean, t1=1 / scale, bits=8 * np.dtype(self.dtype).itemsize)

    def _require_least(self, least: float) -> None:
        """Raise `UsageError` where the smallest rating is one that the loss does not take."""

    def _rows(self, entries: Entries, ridge: Floats) -> Rows:
        """Rows with the weights and targets of entries, from which the mean has been subtracted."""
        if entries.weights is not None:
            weights = entries.weights.astype(entries.data.dtype)
            curvature = weights - weights.dtype.type(self._unknown())
            rows = Rows(entries.indptr, entries.indices, curvature, weights * self._wanted(entries.data), ridge)
            return without_idle(rows)
        self._require_least(float(entries.data.min(initial=np.inf)))
        _, c0, c1, t0, t1, *_ = self._reading(0.0, 1.0).as_array().astype(entries.data.dtype)
        return Rows(entries.indptr, entries.indices, c0 + c1 * entries.data, t0 + t1 * entries.data, ridge)

    def _constant(self, rows: Rows) -> float:
        """The part of the objective that no factor changes."""
        # weighted, the target is w r and the curvature w; at weight 0 both are 0, and the square of a large target overflows
        target = rows.target.astype(np.float64)
        return float((target / np.where(rows.curvature > 0, rows.curvature, 1.0) * target).sum())

    def _unknown(self) -> float:
        """The weight of a pair that is not stored."""
        return 0.0

    def _wanted(self, values: Floats) -> Floats:
        """The scores that weighted ratings ask for, (entries,)."""
        return values

    def _gram(self, fixed: Floats) -> Floats | None:
        """The form that all rows share."""
        return None

    def _bias_regularization(self) -> float:
        return self.regularization

    def _least(self) -> float:
        """Less than this, which rounding makes of a sum of squares of about 1, keeps no matrix invertible."""
        return float(_limits(np.dtype(self.dtype)).eps)

    def _penalty(self, scale: float) -> Floats:
        """(d,) weights of the ridge term, for ratings in units of ``scale``."""
        penalty = np.ones(self.rank + self.biases, self.dtype)
        # factors are in units of the root of the scale, biases in units of the scale itself
        factors, biases = self.regularization / scale, self._bias_regularization()
        penalty[self.rank :] = max(biases, self._least()) / max(factors, self._least())
        return penalty

    def _scaled_rows(self, entries: Entries, others: int, scale: float) -> Rows:
        """The rows that hold entries in units of ``scale``, of so many on the other side."""
        return self._rows(entries, self.ridge_of(entries.lengths, others, scale, entries.data.dtype))

    def ridge_of(self, lengths: NDArray[Any], others: int, scale: float, dtype: Any = None) -> Floats:
        """The regularisation of rows, (rows,)."""
        dtype = np.dtype(self.dtype if dtype is None else dtype)
        regularization = max(self.regularization / scale, self._least())
        ridge = regularization * self._row_weights(lengths, others)
        if ridge.size and not ridge.max() <= _limits(dtype).max:
            raise UsageError(
                f"regularization must be of a size that {self.dtype} holds in units of the ratings; got "
                f"{self.regularization} for ratings of about {scale:.0e}. Lower it or scale the ratings up."
            )
        return np.asarray(ridge, dtype)

    def _solver(self, side: Floats, scale: float, solver: str, cg_steps: int = 1) -> RowSolver:
        """A solver for the other side's rows."""
        fixed = side.copy() if self.biases else side
        fixed[:, self.rank :] = 1
        return RowSolver(fixed, self._gram(fixed), self._penalty(scale), solver, cg_steps)

    def _less_biases(self, rows: Rows, side: Floats) -> Rows:
        """The same rows with the other side's biases taken off their targets."""
        if not self.biases:
            return rows
        return replace(rows, target=rows.target - rows.curvature * side[rows.indices, self.rank])

    def _units(self, scale: float) -> Floats:
        """(d,) multipliers of a row in units of ``scale``."""
        units = np.full(self.rank + self.biases, np.sqrt(scale))
        units[self.rank :] = scale
        return units.astype(self.dtype)

    def _adopt(
        self, users: Floats, items: Floats, mean: float, seen: sparse.csr_array | None, history: list[Iteration]
    ) -> None:
        """Publish the result of a fit."""
        self._require_finite(users, items)
        self.history_ = history
        self._keep(
            np.ascontiguousarray(users[:, : self.rank]),
            np.ascontiguousarray(items[:, : self.rank]),
            user_biases=users[:, self.rank].copy() if self.biases else None,
            item_biases=items[:, self.rank].copy() if self.biases else None,
            global_mean=mean,
            seen=seen,
        )

    def _keep(self, *arguments: Any, **named: Any) -> None:
        super()._keep(*arguments, **named)
        self._folding: Folding | None = None

    def _prepared(self) -> Folding:
        """The items in the form that folding in needs, made at the first new user."""
        if self._folding is None:
            items = self.item_factors_
            scale = power_of_four(float(np.abs(items).max(initial=0.0))) ** 2 if self._homogeneous else 1.0
            if self.item_biases_ is not None:
                items = np.column_stack((items, self.item_biases_))
            units = self._units(scale)
            items = items / units
            offsets = items[:, self.rank].copy() if self.biases else items[:0, 0]
            solver = self._solver(items, scale, "cholesky")
            self._folding = Folding(solver, items, offsets, scale, self._reading(self.global_mean_, scale), units)
        return self._folding

    def _new_rows(self, ratings: Entries, folding: Folding) -> Rows:
        """Rows with the weights and targets of new users' ratings."""
        values = ((ratings.data - self.global_mean_) / folding.scale).astype(self.dtype)
        entries = Entries(ratings.indptr, ratings.indices, values)
        return self._less_biases(self._scaled_rows(entries, len(self.item_factors_), folding.scale), folding.items)

    def _fold_rows(self, ratings: Entries, method: str, epochs: int, learning_rate: float) -> NewUsers:
        folding = self._prepared()
        if method == "exact" and ratings.count == 1 and ratings.data.size:
            row = self._fold_row(ratings, folding)
            if row is not None:
                return self._new_users(row[None])
        solver, rows = folding.solver, self._new_rows(ratings, folding)
        if method == "exact":
            solution, _ = solver.solve(rows, threads=thread_count(self.threads) if rows.count > 1 else 1)
        else:
            solution = np.zeros((rows.count, len(solver.penalty)), self.dtype)
            gram = np.zeros((len(solver.penalty),) * 2, self.dtype) if solver.gram is None else solver.gram
            arguments = (rows.indptr, rows.indices, rows.curvature, rows.target, solver.fixed, gram)
            fold_in_steps(*arguments, rows.ridge, solver.penalty, epochs, learning_rate, solution)
        return self._new_users(solution * folding.units)

    def _fold_row(self, ratings: Entries, folding: Folding) -> Floats | None:
        """One row at once, or None where that is not to be had."""
        self._require_least(float(ratings.data.min()))
        ridge = self.ridge_of(ratings.lengths, len(self.item_factors_), folding.scale)
        return folding.row(ratings.indices, ratings.data, float(ridge[0]))

    def _new_users(self, rows: Floats) -> NewUsers:
        if not self.biases:
            return NewUsers(rows)
        return NewUsers(np.ascontiguousarray(rows[:, : self.rank]), rows[:, self.rank].copy())

    def _contributions(
        self, columns: Integers, values: NDArray[np.float64], asked: int
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        folding = self._prepared()
        rows = self._new_rows(one_user(columns, values), folding)
        rated, wanted = (folding.solver.fixed[places].astype(np.float64) for places in (columns, asked))
        penalty = rows.ridge[0] * folding.solver.penalty.astype(np.float64)
        return columns, rows.target * influences(
            rated, rows.curvature, penalty, folding.solver.gram, wanted
        ) * folding.scale


# NumPy makes the object anew each time
_limits = cache(np.finfo)


@dataclass(frozen=True, eq=False)
class Folding:
    """The items in the form that folding in needs: a new user is one compiled call, since its parts cost more than the algebra."""

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
