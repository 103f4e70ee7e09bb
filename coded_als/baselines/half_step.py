"""The half-step of ALS as a pure function of sparse rows and the factor that is held fixed."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array, Floats
from coded_als.baselines.cholesky import cholesky_rows
from coded_als.baselines.compiled import routines
from coded_als.baselines.conjugate_gradients import LOCKSTEP, conjugate_gradient_rows
from coded_als.baselines.threads import for_all_rows


@dataclass(frozen=True)
class RatingFacts:
    """The master's facts about the ratings as a whole."""

    entries: int
    mean: float  # of all ratings
    # of all ratings
    least: float
    largest: float
    squares: float  # sum of their squares


@dataclass(frozen=True)
class Reading:
    """A model's reading of a stored rating r: weight ``a = c0 + c1 (r - mean)``, target ``b = t0 + t1 (r - mean)``."""

    mean: float = 0.0
    c0: float = 1.0  # weight of a rating of the mean
    c1: float = 0.0  # and what each more adds to it
    t0: float = 0.0
    t1: float = 1.0
    power: int = 2  # the model's constant is the sum of this power of the targets, 1 or 2
    bits: int = 64  # of the arithmetic, 32 or 64
    stable: bool = False  # whether rows are solved in a way that is backward stable, so that their residuals prove them

    def as_array(self) -> Array:
        """The numbers in their order, (8,), as they travel."""
        return np.array(astuple(self), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Rows:
    """The sparse rows of one side with weights and targets: ``a`` and ``b`` of `coded_als.baselines.cholesky`."""

    # of a csr matrix (rows, n)
    indptr: NDArray[Any]
    indices: NDArray[Any]
    # (entries,) ``a`` and ``b`` of every entry; ``a`` is negative only where the shared form makes up for it
    curvature: Floats
    target: Floats
    ridge: Floats  # (rows,) the regularisation of each row

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[Any]:
        """(rows,) entries in each."""
        return np.asarray(self.indptr[1:] - self.indptr[:-1])


@dataclass(frozen=True, eq=False)
class RowSolver:
    """Solves rows against one fixed factor; made once, applied to any number of rows.

    Attributes
    ----------
    turned, axes, diagonal
        For the exact solver: the other factor along the axes (d, d) on which the shared form is diagonal, and that
        diagonal (d,). Without such a form the axes are None.
    """

    fixed: Floats  # (n, d) the other factor
    gram: Floats | None  # (d, d) the form that all rows share, or None for none
    penalty: Floats  # (d,) positive weights of the ridge term; all 1 where there is a ``gram``
    # ``cholesky`` (exact) or ``cg`` (``cg_steps`` of conjugate gradients from where the rows are)
    solver: str = "cholesky"
    cg_steps: int = 3
    turned: Floats = field(init=False, repr=False)
    axes: Floats | None = field(init=False, repr=False)
    diagonal: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        turned, axes, diagonal = self.fixed, None, np.zeros(len(self.penalty), self.fixed.dtype)
        if self.gram is not None and self.solver == "cholesky":
            # in the eigenbasis of G the exact solver finds a diagonal, and short rows become small problems
            values, vectors = np.linalg.eigh(np.asarray(self.gram, dtype=np.float64))
            axes = vectors.astype(self.fixed.dtype)
            diagonal = np.maximum(values, 0.0).astype(self.fixed.dtype)
            turned = self.fixed @ axes
        object.__setattr__(self, "turned", turned)
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "diagonal", diagonal)

    def solve(self, rows: Rows, start: Floats | None = None, threads: int = 1) -> tuple[Floats, NDArray[np.float64]]:
        """New rows, and the part of the objective that each explains.

        ``start``: (rows, d) their present values: the starting point of conjugate gradients, which also solve a row
        if its matrix is not numerically positive definite. Zero by default. Returns the solution (rows, d), and
        explained (rows,): ``2 b.x - x.A x`` at the solution, minus the row's part of the objective.
        """
        axes = None if self.solver == "cg" else self.axes
        if start is None:
            out: Floats = np.zeros((rows.count, len(self.penalty)), self.fixed.dtype)
        else:
            out = start.copy() if axes is None else start @ axes
        explained = np.zeros(rows.count)
        if self.solver == "cg":
            self._improve(rows, np.arange(rows.count), self.cg_steps, threads, out, explained)
        else:
            failed = self._solve_exactly(rows, threads, out, explained)
            if failed.size:
                self._improve(rows, failed, 2 * len(self.penalty), 1, out, explained)
        return (out if axes is None else out @ axes.T), explained

    def _solve_exactly(
        self, rows: Rows, threads: int, out: Floats, explained: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Solve all rows in place; the numbers of those that Cholesky could not."""
        failed = without_roots(rows)
        addresses, refused = routines(self.fixed.dtype), failed.any()

        def solve(part: NDArray[np.int64]) -> None:
            cholesky_rows(
                part[~failed[part]] if refused else part, rows.indptr, rows.indices, rows.curvature, rows.target, self.turned, self.diagonal,
                rows.ridge, self.penalty, addresses, out, explained, failed,
            )  # fmt: skip

        if threads == 1:
            solve(np.arange(rows.count))
        else:
            for_all_rows(solve, self._work(rows), threads)
        return failed.nonzero()[0]

    def _improve(
        self,
        rows: Rows,
        chosen: NDArray[np.int64],
        steps: int,
        threads: int,
        out: Floats,
        explained: NDArray[np.float64],
    ) -> None:
        """Steps of conjugate gradients on the chosen rows, in place."""
        fixed, gram = self.fixed, self.gram
        if self.solver != "cg":
            fixed, gram = self.turned, np.diag(self.diagonal)
        elif gram is None:
            gram = np.zeros((len(self.penalty),) * 2, fixed.dtype)
        least = float(np.finfo(fixed.dtype).tiny)

        def improve(part: NDArray[np.int64]) -> None:
            conjugate_gradient_rows(
                chosen[part], rows.indptr, rows.indices, rows.curvature, rows.target, fixed, gram,
                rows.ridge, self.penalty, steps, least, out, explained,
            )  # fmt: skip

        for_all_rows(improve, self._work(rows)[chosen], threads, LOCKSTEP)

    def _work(self, rows: Rows) -> NDArray[Any]:
        # multiplications: exact solutions cost entries * d^2 + d^3 / 3, gradients about entries * d + d^2
        return rows.lengths + len(self.penalty)


def without_roots(rows: Rows) -> NDArray[np.bool_]:
    """Which rows have an entry of no positive curvature, (rows,): Cholesky divides by its root, so conjugate gradients solve them."""
    found = np.zeros(rows.count, dtype=np.bool_)
    if rows.curvature.min(initial=1.0) <= 0:
        owners = np.repeat(np.arange(rows.count), rows.lengths)
        found[owners[rows.curvature <= 0]] = True
    return found


def without_idle(rows: Rows) -> Rows:
    """The same rows without the entries that change nothing."""
    used = (rows.curvature != 0) | (rows.target != 0)
    if used.all():
        return rows
    indptr = np.concatenate(([0], np.cumsum(used)))[rows.indptr]
    return Rows(indptr, rows.indices[used], rows.curvature[used], rows.target[used], rows.ridge)
