"""The solvers, one row each, as plans, sweeps and the command line know them; `coded_als.als` runs the one of a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Vectors carried beyond the rank: the rate is then set by the gap behind them, and they show the eigenvalues below the cut.
GUARD_VECTORS = 5


@dataclass(frozen=True)
class Solver:
    """The costs and the options of a solver."""

    # as ``CodedALS(solver=...)`` takes it; the module of this name in `coded_als.als` holds its function ``solve``
    name: str
    summary: str  # one phrase for the help of ``coded-als fit``
    # columns of the block that a product multiplies D with, from the rank d and the side l of D
    columns: Callable[[int, int], int]
    # iterations to convergence that a plan assumes: those on MovieLens 100K at rank 20 and the default tolerance, as
    # `benchmarks/plan_constants.py` counts them
    iterations: int
    # the algebra of the master in an iteration with blocks of c columns, in multiplications of a matrix product:
    # ``tall`` products of l c^2, decompositions of ``small`` c^3, and the time of the calls, some tenths of a
    # millisecond. `benchmarks/plan_constants.py` measures them
    tall: float
    small: float
    calls: float
    protocols: tuple[str, ...] = ("fused",)  # the protocols of `CodedALS` that it can run
    # other widths of the block that a plan tries, as parts of ``columns``; none where the width is not free
    widths: tuple[float, ...] = ()
    flattening: float = 0.0  # a block of k times the columns takes k^-flattening times the iterations
    # products of a few columns with the data itself, at the master or in rounds of their own where it is not there, by
    # which a block that is no wider than the rank is proved to have missed nothing
    probe: int = 0

    def algebra_operations(self, length: int, columns: int, longer: float = 1.0) -> float:
        """Multiplications that the master's algebra in an iteration is worth, D being (l, l).

        ``longer``: ratio of the iterations of a block of this width to the usual ones: a basis that keeps all columns
        is so much wider.
        """
        return self.tall * longer * length * columns**2 + self.small * longer**2 * columns**3 + self.calls

    def blocks(self, rank: int, length: int) -> list[int]:
        """The widths of the block that a plan tries, the usual one first."""
        usual = self.columns(rank, length)
        # in fours, as the processor multiplies them: a product with 12 columns takes less time than one with 11
        others = (min(length, max(4, 4 * round(part * usual / 4))) for part in self.widths)
        return list(dict.fromkeys([usual, *others]))

    def longer(self, block: int, rank: int, length: int) -> float:
        """Ratio of the iterations of a block of a width to the usual ones."""
        return float((self.columns(rank, length) / block) ** self.flattening)


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
        Solver(
            "krylov",
            "block Lanczos iteration, with a block of any width",
            guarded_columns,
            iterations=9,
            tall=20.0,
            small=150.0,
            calls=1e7,
            widths=(0.2, 0.3, 0.5, 0.7, 1.4, 2.0),
            flattening=0.5,
            probe=15,
        ),
        Solver("lobpcg", "locally optimal block iteration", guarded_columns, 11, 45.0, 100.0, 3e6),
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
    """Iterations of each solver: those given, and for the others the assumption of a plan."""
    return {name: solver.iterations for name, solver in SOLVERS.items()} | counted
