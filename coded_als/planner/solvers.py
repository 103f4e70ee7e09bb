"""The solvers, one row each, as plans, sweeps and the command line know them; `coded_als.als` runs the one of a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Vectors carried beyond the rank: the rate is then set by the gap behind them, and they show what lies below the cut.
GUARD_VECTORS = 5


@dataclass(frozen=True)
class Solver:
    """The costs and the options of a solver.

    Parameters
    ----------
    name
        As ``CodedALS(solver=...)`` takes it; the module of this name in `coded_als.als` holds its function ``solve``.
    summary
        One phrase for the help of ``coded-als fit``.
    columns
        Columns of the block that a product multiplies D with, from the rank d and the side l of D.
    iterations
        Iterations to convergence that a plan assumes: those on MovieLens 100K at rank 20 and the default tolerance, as
        `benchmarks/plan_constants.py` counts them.
    tall, small, calls
        The algebra of the master in an iteration with blocks of c columns, in multiplications of a matrix product: ``tall``
        products of l c^2, decompositions of ``small`` c^3, and what the calls themselves take, some tenths of a
        millisecond. `benchmarks/plan_constants.py` measures them.
    protocols
        The protocols of `CodedALS` that it can run.
    """

    name: str
    summary: str
    columns: Callable[[int, int], int]
    iterations: int
    tall: float
    small: float
    calls: float
    protocols: tuple[str, ...] = ("fused",)

    def algebra_operations(self, length: int, columns: int) -> float:
        """Multiplications that the master's algebra in an iteration is worth, D being (l, l)."""
        return self.tall * length * columns**2 + self.small * columns**3 + self.calls


def guarded_columns(rank: int, length: int) -> int:
    """The rank and the guard vectors, as far as the space has so many dimensions."""
    return min(rank + GUARD_VECTORS, length)


def rank_columns(rank: int, length: int) -> int:
    """The rank alone."""
    return min(rank, length)


# The first is the default.
SOLVERS = {
    solver.name: solver
    for solver in (
        Solver("lobpcg", "locally optimal block iteration", guarded_columns, 11, 45.0, 100.0, 3e6),
        Solver("krylov", "block Lanczos iteration, of any block width", guarded_columns, 9, 20.0, 100.0, 2e6),
        Solver("als", "the paper's ALS", rank_columns, 97, 12.0, 20.0, 1.5e6, ("fused", "paper")),
    )
}


def solvers_of(protocol: str) -> tuple[str, ...]:
    """Names of the solvers that can run a protocol, the default first."""
    return tuple(name for name, solver in SOLVERS.items() if protocol in solver.protocols)


def default_solver(protocol: str = "fused") -> str:
    """The solver of a protocol where none is named."""
    return solvers_of(protocol)[0]


def typical_iterations(**counted: int) -> dict[str, int]:
    """Iterations of each solver: those given, and for the others what a plan assumes."""
    return {name: solver.iterations for name, solver in SOLVERS.items()} | counted
