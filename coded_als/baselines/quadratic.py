"""Models whose rows, with the other side held fixed, are least-squares problems: both ALS, and SGD on squared loss."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.baselines.half_step import Rows, RowSolver
from coded_als.baselines.loops import fold_in_steps
from coded_als.baselines.model import Floats, Iteration, SparseModel, thread_count
from coded_als.errors import UsageError
from coded_als.models.factor_model import NewUsers
from coded_als.models.units import power_of_four


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
        """(rows,) what multiplies the regularisation of rows with so many entries, of so many on the other side."""

    def _rows(self, matrix: sparse.csr_array, ridge: Floats) -> Rows:
        """What the rows of a matrix (the mean taken off) ask for: squared loss on its entries."""
        return Rows(matrix.indptr, matrix.indices, np.ones_like(matrix.data), matrix.data, ridge)

    def _constant(self, rows: Rows) -> float:
        """The part of the objective that no factor changes."""
        return float(np.square(rows.target, dtype=np.float64).sum())

    def _gram(self, fixed: Floats) -> Floats | None:
        """The form that all rows share."""
        return None

    def _bias_regularization(self) -> float:
        return self.regularization

    def _least(self) -> float:
        """Less than this, which rounding makes of a sum of squares of about 1, keeps no matrix invertible."""
        return float(np.finfo(self.dtype).eps)

    def _penalty(self, scale: float) -> Floats:
        """(d,) weights of the ridge term, for ratings in units of ``scale``."""
        penalty = np.ones(self.rank + self.biases, self.dtype)
        # factors are in units of the root of the scale, biases in units of the scale itself
        factors, biases = self.regularization / scale, self._bias_regularization()
        penalty[self.rank :] = max(biases, self._least()) / max(factors, self._least())
        return penalty

    def _scaled_rows(self, matrix: sparse.csr_array, scale: float) -> Rows:
        """The rows of a matrix that is in units of ``scale``."""
        weights = self._row_weights(np.diff(matrix.indptr), matrix.shape[1])
        with np.errstate(over="ignore"):
            ridge = (max(self.regularization / scale, self._least()) * weights).astype(matrix.dtype)
        if not np.isfinite(ridge).all():
            raise UsageError(
                f"regularization must be of a size that {matrix.dtype} holds in units of the ratings; got "
                f"{self.regularization} for ratings of about {scale:.0e}. Lower it or scale the ratings up."
            )
        return self._rows(matrix, ridge)

    def _solver(self, side: Floats, scale: float, solver: str, cg_steps: int = 1) -> RowSolver:
        """A solver for the other side's rows."""
        fixed = side.copy() if self.biases else side
        fixed[:, self.rank :] = 1
        return RowSolver(fixed, self._gram(fixed), self._penalty(scale), solver, cg_steps)

    def _less_biases(self, rows: Rows, side: Floats) -> Rows:
        """The same rows with the other side's biases taken off their targets."""
        return replace(rows, target=rows.target - side[rows.indices, self.rank]) if self.biases else rows

    def _units(self, scale: float) -> Floats:
        """(d,) what a row in units of ``scale`` is multiplied by."""
        units = np.full(self.rank + self.biases, np.sqrt(scale))
        units[self.rank :] = scale
        return units.astype(self.dtype)

    def _adopt(
        self, users: Floats, items: Floats, mean: float, seen: sparse.csr_array, history: list[Iteration]
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
        self._folding: tuple[RowSolver, Floats, float] | None = None

    def _prepared(self) -> tuple[RowSolver, Floats, float]:
        """The solver for new users, made at the first of them, the items' side, and the units of both."""
        if self._folding is None:
            items = self.item_factors_
            scale = power_of_four(float(np.abs(items).max(initial=0.0))) ** 2 if self._homogeneous else 1.0
            if self.item_biases_ is not None:
                items = np.column_stack((items, self.item_biases_))
            items = items / self._units(scale)
            self._folding = self._solver(items, scale, "cholesky"), items, scale
        return self._folding

    def _fold_rows(self, ratings: sparse.csr_array, method: str, epochs: int, learning_rate: float) -> NewUsers:
        solver, items, scale = self._prepared()
        ratings.data = ((ratings.data - self.global_mean_) / scale).astype(self.dtype)
        rows = self._less_biases(self._scaled_rows(ratings, scale), items)
        start = np.zeros((rows.count, len(solver.penalty)), self.dtype)
        if method == "exact":
            solution, _ = solver.solve(rows, start, thread_count(self.threads) if rows.count > 1 else 1)
        else:
            solution = start
            gram = np.zeros((len(solver.penalty),) * 2, self.dtype) if solver.gram is None else solver.gram
            arguments = (rows.indptr, rows.indices, rows.curvature, rows.target, solver.fixed, gram)
            fold_in_steps(*arguments, rows.ridge, solver.penalty, epochs, learning_rate, solution)
        solution *= self._units(scale)
        biases = solution[:, self.rank].copy() if self.biases else None
        return NewUsers(np.ascontiguousarray(solution[:, : self.rank]), biases)
