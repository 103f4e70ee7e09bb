"""The contract of a solver, and the solver of a name: each is a module of this package, with a row in `planner.solvers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from coded_als.als.history import Recorder
from coded_als.als.problem import Problem
from coded_als.als.products import DistributedData, RoundLog
from coded_als.arrays import Array
from coded_als.codes import CodeSpec
from coded_als.planner.solvers import SOLVERS, Solver


@dataclass(frozen=True)
class SolverInput:
    """Everything that a solver may use of a fit."""

    # the data on the workers: ``held.gram_product`` multiplies a block of any width, (l, b), with D in one round
    held: DistributedData
    problem: Problem  # the same data at the master, for products without a round
    # (l, columns), as many columns as in the solver's row: independent standard normal numbers, but for the first columns of
    # a fit that goes on from a model
    start: Array
    begun: int  # columns of independent numbers that a proof may rest on
    rank: int  # factors d
    iterations: int  # the most iterations to run
    ridge: float  # ridge weight lam, in the unit of the data
    # takes the Ritz pairs of every iteration, decides when to stop, and keeps the state of the solver for a resumption
    recorder: Recorder
    # for solvers with rounds of their own: the requested protocol, the place of the rounds, the code of D, and the
    # relative error that a decoded product may have
    protocol: str
    log: RoundLog
    code: CodeSpec
    tolerance: float


# Returns an orthonormal basis of the factor, (l, k) with k >= d, and the block that A is multiplied with for the other
# factor, (l, k); mostly the basis itself.
Solve = Callable[[SolverInput], tuple[Array, Array]]

_REGISTERED: dict[str, Solve] = {}


def register_solver(solver: Solver, solve: Solve) -> None:
    """Make a solver known by its name to `CodedALS`, and to ``fit``, ``plan`` and ``sweep``.

    ``solver``: its row: name, costs and options; ``solve``: runs it: from a `SolverInput` to an orthonormal basis, (l,
    k) with k >= d, and the block that A is multiplied with for the other factor, (l, k).
    """
    SOLVERS[solver.name], _REGISTERED[solver.name] = solver, solve


def solver_of(name: str) -> Solve:
    """The function that runs the solver of a name."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    found: Solve = import_module(f"coded_als.als.{name}").solve
    return found
