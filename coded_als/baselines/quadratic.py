"""Models whose rows, with the other side held fixed, are least-squares problems: both ALS, and SGD on squared loss."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.baselines.half_step import Rows, RowSolver
from coded_als.baselines.loops import fold_in_steps
from coded_als.baselines.model import Callback, Floats, Progress, SparseModel, thread_count
from coded_als.baselines.threads import one_blas_thread
from coded_als.checks import require_number, require_one_of, require_whole
from coded_als.models.factor_model import NewUsers
from coded_als.models.rating_matrix import pattern, rating_matrix


class QuadraticModel(SparseModel):
    """Rows of a side are held as ``(rows, d)``, or ``(rows, d + 1)`` with the bias last.

    While one side is solved the other one's bias column is replaced by ones, so that a bias is one more factor
    of its row; the other side's biases go into the targets.
    """

    biases: bool = False
    threads: int | None = None

    @abstractmethod
    def _ridge(self, lengths: NDArray[Any], others: int) -> Floats:
        """(rows,) regularisation of rows with so many entries, of so many rows on the other side."""

    def _rows(self, matrix: sparse.csr_array, ridge: Floats) -> Rows:
        """What the rows of a matrix (the mean taken off) ask for: squared loss on its entries."""
        return Rows(matrix.indptr, matrix.indices, np.ones_like(matrix.data), matrix.data, ridge)

    def _constant(self, rows: Rows) -> float:
        """The part of the objective that no factor changes."""
        return float(np.square(rows.target, dtype=np.float64).sum())

    def _gram(self, fixed: Floats) -> Floats | None:
        """The form that all rows share."""
        return None

    def _bias_penalty(self) -> float:
        """Weight of a squared bias beside a squared factor."""
        return 1.0

    def _penalty(self) -> Floats:
        penalty = np.ones(self.rank + self.biases, self.dtype)
        penalty[self.rank :] = self._bias_penalty()
        return penalty

    def _solver(self, side: Floats, solver: str, cg_steps: int = 1) -> RowSolver:
        """A solver for the other side's rows."""
        fixed = side.copy() if self.biases else side
        fixed[:, self.rank :] = 1
        return RowSolver(fixed, self._gram(fixed), self._penalty(), solver, cg_steps)

    def _less_biases(self, rows: Rows, side: Floats) -> Rows:
        """The same rows with the other side's biases taken off their targets."""
        return replace(rows, target=rows.target - side[rows.indices, self.rank]) if self.biases else rows

    def _adopt(self, users: Floats, items: Floats, mean: float, matrix: sparse.csr_array, progress: Progress) -> None:
        """Publish the result of a fit."""
        self.history_ = progress.history
        self._keep(
            np.ascontiguousarray(users[:, : self.rank]),
            np.ascontiguousarray(items[:, : self.rank]),
            user_biases=users[:, self.rank].copy() if self.biases else None,
            item_biases=items[:, self.rank].copy() if self.biases else None,
            global_mean=mean,
            seen=pattern(matrix.shape, matrix.indptr, matrix.indices),
        )

    def _keep(self, *arguments: Any, **named: Any) -> None:
        super()._keep(*arguments, **named)
        self._folding: tuple[RowSolver, Floats] | None = None

    def _prepared(self) -> tuple[RowSolver, Floats]:
        """The solver for new users, made at the first of them, and the items' side."""
        if self._folding is None:
            items = self.item_factors_
            if self.item_biases_ is not None:
                items = np.column_stack((items, self.item_biases_))
            self._folding = self._solver(items, "cholesky"), items
        return self._folding

    def _fold_rows(self, ratings: sparse.csr_array, method: str, epochs: int, learning_rate: float) -> NewUsers:
        solver, items = self._prepared()
        ratings.data -= np.asarray(self.global_mean_, self.dtype)
        ridge = self._ridge(np.diff(ratings.indptr), len(self.item_factors_)).astype(self.dtype)
        rows = self._less_biases(self._rows(ratings, ridge), items)
        start = np.zeros((rows.count, len(solver.penalty)), self.dtype)
        if method == "exact":
            solution, _ = solver.solve(rows, start, thread_count(self.threads) if rows.count > 1 else 1)
        else:
            solution = start
            gram = np.zeros((len(solver.penalty),) * 2, self.dtype) if solver.gram is None else solver.gram
            arguments = (rows.indptr, rows.indices, rows.curvature, rows.target, solver.fixed, gram)
            fold_in_steps(*arguments, rows.ridge, solver.penalty, epochs, learning_rate, solution)
        biases = solution[:, self.rank].copy() if self.biases else None
        return NewUsers(np.ascontiguousarray(solution[:, : self.rank]), biases)


class AlternatingModel(QuadraticModel):
    """Alternating least squares: every iteration solves all items, then all users.

    Users come last so that they are exact for the published items: folding a training user in again gives
    that user's row. ``history_`` holds the exact objective, which never rises.
    """

    def __init__(
        self,
        rank: int,
        regularization: float,
        iterations: int,
        solver: str,
        cg_steps: int,
        seed: int,
        threads: int | None,
        dtype: str,
        callback: Callback | None,
    ) -> None:
        super().__init__(rank, regularization, iterations, seed, dtype, callback)
        require_number("regularization", regularization, positive=True)
        require_one_of("solver", solver, ("cholesky", "cg"))
        require_whole("cg_steps", cg_steps, 1)
        thread_count(threads)
        self.solver, self.cg_steps, self.threads = solver, cg_steps, threads

    def _mean(self, matrix: sparse.csr_array) -> float:
        """What is subtracted from every rating."""
        return 0.0

    def _starting_scale(self) -> float:
        """Standard deviation of the random start."""
        return float(1.0 / np.sqrt(self.rank))

    def fit(self, ratings: Any) -> Self:
        matrix = rating_matrix(ratings, self.dtype)
        progress = Progress(self.callback)
        mean = self._mean(matrix)
        matrix.data -= np.asarray(mean, self.dtype)
        flipped = rating_matrix(matrix.T.tocsr(), self.dtype)
        penalty = self._penalty()
        user_rows, item_rows = (
            self._rows(side, self._ridge(np.diff(side.indptr), side.shape[1]).astype(self.dtype))
            for side in (matrix, flipped)
        )
        users, items = self._start(*matrix.shape)
        with one_blas_thread():
            for _ in range(self.iterations):
                items, _ = self._half_step(self._less_biases(item_rows, users), users, items)
                rows = self._less_biases(user_rows, items)
                users, explained = self._half_step(rows, items, users)
                held = float(item_rows.ridge @ (np.square(items) @ penalty))
                progress.note(self._constant(rows) - explained + held)
        self._adopt(users, items, mean, matrix, progress)
        return self

    def _start(self, users: int, items: int) -> tuple[Floats, Floats]:
        generator = np.random.default_rng(self.seed)
        width = self.rank + self.biases
        first = np.zeros((users, width), self.dtype)
        first[:, : self.rank] = generator.standard_normal((users, self.rank)) * self._starting_scale()
        return first, np.zeros((items, width), self.dtype)

    def _half_step(self, rows: Rows, fixed: Floats, start: Floats) -> tuple[Floats, float]:
        solver = self._solver(fixed, self.solver, self.cg_steps)
        solution, explained = solver.solve(rows, start, thread_count(self.threads))
        return solution, float(explained.sum())
