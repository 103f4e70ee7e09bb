"""The half-step of ALS as a pure function of sparse rows and the factor that is held fixed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.baselines.cholesky import cholesky_rows
from coded_als.baselines.compiled import routines
from coded_als.baselines.conjugate_gradients import conjugate_gradient_rows
from coded_als.baselines.threads import for_all_rows

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Rows:
    """The sparse rows of one side and what they ask for: ``a`` and ``b`` of `coded_als.baselines.cholesky`.

    Parameters
    ----------
    indptr, indices
        Of a csr matrix (rows, n).
    curvature, target
        (entries,) ``a > 0`` and ``b`` of every entry.
    ridge
        (rows,) the regularisation of each row.
    """

    indptr: NDArray[Any]
    indices: NDArray[Any]
    curvature: Floats
    target: Floats
    ridge: Floats

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[Any]:
        """(rows,) entries in each."""
        return np.diff(self.indptr)


@dataclass(frozen=True, eq=False)
class RowSolver:
    """Solves rows against one fixed factor; made once, applied to any number of rows.

    Parameters
    ----------
    fixed
        (n, d) the other factor.
    gram
        (d, d) the form that all rows share, or None for none.
    penalty
        (d,) positive weights of the ridge term; all 1 where there is a ``gram``.
    solver
        ``cholesky`` (exact) or ``cg`` (``cg_steps`` of conjugate gradients from where the rows are).
    """

    fixed: Floats
    gram: Floats | None
    penalty: Floats
    solver: str = "cholesky"
    cg_steps: int = 3
    _turned: Floats = field(init=False, repr=False)
    _axes: Floats | None = field(init=False, repr=False)
    _diagonal: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        turned, axes, diagonal = self.fixed, None, np.zeros(len(self.penalty), self.fixed.dtype)
        if self.gram is not None and self.solver == "cholesky":
            # in the eigenbasis of G the exact solver finds a diagonal, and short rows become small problems
            values, vectors = np.linalg.eigh(np.asarray(self.gram, dtype=np.float64))
            axes = vectors.astype(self.fixed.dtype)
            diagonal = np.maximum(values, 0.0).astype(self.fixed.dtype)
            turned = self.fixed @ axes
        object.__setattr__(self, "_turned", turned)
        object.__setattr__(self, "_axes", axes)
        object.__setattr__(self, "_diagonal", diagonal)

    def solve(self, rows: Rows, start: Floats, threads: int = 1) -> tuple[Floats, NDArray[np.float64]]:
        """New rows and what they explain.

        Parameters
        ----------
        rows
            The sparse rows.
        start
            (rows, d) where they are: the starting point of conjugate gradients, and what stays of a row whose
            matrix is not numerically positive definite.
        threads
            Threads to share the rows over.

        Returns
        -------
        solution, explained
            (rows, d), and (rows,) ``2 b.x - x.A x`` at the solution: minus the row's part of the objective.
        """
        explained = np.zeros(rows.count)
        # multiplications: exact solutions cost entries * d^2 + d^3 / 3, gradients about entries * d + d^2
        work = rows.lengths + len(self.penalty)
        common = (rows.indptr, rows.indices, rows.curvature, rows.target)
        if self.solver == "cg":
            out = start.copy()
            gram = np.zeros((len(self.penalty),) * 2, self.fixed.dtype) if self.gram is None else self.gram

            def improve(part: NDArray[np.int64]) -> None:
                conjugate_gradient_rows(
                    part, *common, self.fixed, gram, rows.ridge, self.penalty, self.cg_steps, out, explained
                )

            for_all_rows(improve, work, threads)
            return out, explained
        out = start.copy() if self._axes is None else start @ self._axes
        addresses = routines(self.fixed.dtype)

        def solve_exactly(part: NDArray[np.int64]) -> None:
            cholesky_rows(
                part, *common, self._turned, self._diagonal, rows.ridge, self.penalty, addresses, out, explained
            )

        for_all_rows(solve_exactly, work, threads)
        return (out if self._axes is None else out @ self._axes.T), explained
