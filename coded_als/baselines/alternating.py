"""Alternating least squares: every iteration solves all rows of one side, then all of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from coded_als.arrays import Floats
from coded_als.baselines.half_step import Rows
from coded_als.baselines.model import Entries, thread_count
from coded_als.baselines.quadratic import QuadraticModel
from coded_als.baselines.reading import RatingFacts, Reading
from coded_als.baselines.threads import one_blas_thread
from coded_als.checks import require_number, require_one_of, require_whole
from coded_als.errors import UsageError
from coded_als.models.history import History
from coded_als.models.rating_matrix import rating_matrix
from coded_als.models.running import Run
from coded_als.models.seen import pattern
from coded_als.models.units import power_of_four


@dataclass(frozen=True, eq=False)
class RatingProblem:
    """The rows of both sides, with ratings as ``(rating - mean) / scale``.

    Parameters
    ----------
    mean
        What was taken off every rating.
    scale
        A power of four; factors are in units of its root, biases in units of it, the objective in units of its square.
    users, items
        Rows of the matrix and of its transpose.
    """

    mean: float
    scale: float
    users: Rows
    items: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return self.users.count, self.items.count


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
    ) -> None:
        super().__init__(rank, regularization, iterations, seed, dtype)
        require_number("regularization", regularization, positive=True)
        require_one_of("solver", solver, ("cholesky", "cg"))
        require_whole("cg_steps", cg_steps, 1)
        thread_count(threads)
        self.solver, self.cg_steps, self.threads = solver, cg_steps, threads

    def _mean(self, matrix: sparse.csr_array) -> float:
        """What is subtracted from every rating."""
        return 0.0

    def _starting_scale(self) -> float:
        """Standard deviation of the random start, in the units of a `RatingProblem`."""
        return float(1.0 / np.sqrt(self.rank))

    def _problem(self, matrix: sparse.csr_array, dtype: Any) -> RatingProblem:
        """The problem that float64 ratings pose.

        Raises
        ------
        UsageError
            Where squares of the ratings overflow, or the model's precision does not hold their size.
        """
        with np.errstate(over="ignore"):
            mean = self._mean(matrix)
        values = matrix.data - mean
        scale = self._scale(float(np.abs(values).max()), values.size)
        users = rating_matrix(sparse.csr_array((values / scale, matrix.indices, matrix.indptr), matrix.shape), dtype)
        items = rating_matrix(users.T.tocsr(), dtype)
        sides = (Entries(side.indptr, side.indices, side.data) for side in (users, items))
        rows = [self._scaled_rows(side, others, scale) for side, others in zip(sides, matrix.shape[::-1], strict=True)]
        return RatingProblem(mean, scale, *rows)

    def _scale(self, size: float, entries: int) -> float:
        """The unit for ratings of that size; `UsageError` where their squares overflow, or the precision lacks it."""
        scale = power_of_four(size) if self._homogeneous else 1.0
        if not np.isfinite(size * size * entries):
            raise UsageError(
                f"ratings must be so small that their squares are finite; got {size:.0e}. Scale them down."
            )
        limits = np.finfo(self.dtype)
        if not float(limits.tiny) <= scale <= float(limits.max):
            raise UsageError(
                f"ratings must be of a size that {self.dtype} holds; they differ from their mean by {size:.0e}. "
                "Scale them, or pass dtype='float64'."
            )
        return scale

    def reading(self, facts: RatingFacts) -> tuple[float, Reading]:
        """The unit of the ratings, and how they are read, where the workers hold them.

        Raises
        ------
        UsageError
            For ratings that the model cannot learn from.
        """
        mean = facts.mean if self.biases else 0.0
        scale = self._scale(max(abs(facts.least - mean), abs(facts.largest - mean)), facts.entries)
        self._require_least(facts.least)
        return scale, self._reading(mean, scale)

    def _fit(self, matrix: sparse.csr_array, run: Run) -> None:
        problem = self._problem(matrix, self.dtype)
        penalty = self._penalty(problem.scale)
        users, items = self._start(problem)
        state = run.arrays(users=users, items=items)
        users, items = state["users"], state["items"]
        with one_blas_thread():
            for _ in run.left(self.iterations):
                items, _ = self._half_step(problem, self._less_biases(problem.items, users), users, items)
                rows = self._less_biases(problem.users, items)
                users, explained = self._half_step(problem, rows, items, users)
                held = float(problem.items.ridge @ (np.square(items) @ penalty))
                objective = (self._constant(rows) - explained + held) * problem.scale * problem.scale
                run.note(objective, {"users": users, "items": items})
        self._publish(problem, users, items, matrix, run.history)

    def _publish(
        self, problem: RatingProblem, users: Floats, items: Floats, matrix: sparse.csr_array, history: History
    ) -> None:
        """Take over factors that are in the units of a problem."""
        units = self._units(problem.scale)
        users, items = users.astype(self.dtype) * units, items.astype(self.dtype) * units
        self._adopt(users, items, problem.mean, pattern(matrix.shape, matrix.indptr, matrix.indices), history.entries)

    def _start(self, problem: RatingProblem) -> tuple[Floats, Floats]:
        generator = np.random.default_rng(self.seed)
        users, items = (np.zeros((count, self.rank + self.biases), self.dtype) for count in problem.shape)
        users[:, : self.rank] = generator.standard_normal((len(users), self.rank)) * self._starting_scale()
        # nothing random is ever published
        users[problem.users.lengths == 0] = 0
        return users, items

    def _half_step(self, problem: RatingProblem, rows: Rows, fixed: Floats, start: Floats) -> tuple[Floats, float]:
        solver = self._solver(fixed, problem.scale, self.solver, self.cg_steps)
        solution, explained = solver.solve(rows, start, thread_count(self.threads))
        if not np.isfinite(solution).all() or not np.isfinite(explained).all():
            raise UsageError(
                f"ratings and regularization must be of a size that {self.dtype} can square; got a fit that overflows. "
                + ("Scale them." if self.dtype == "float64" else "Scale them or use dtype='float64'.")
            )
        return solution, float(explained.sum())
