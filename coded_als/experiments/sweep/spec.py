"""The spec of a sweep: everything that its results depend on besides its cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coded_als.als.schemes import Size
from coded_als.als.timing import Iterations, Workload
from coded_als.cluster.machine import Machine

Clock = Literal["virtual", "local"]


@dataclass(frozen=True)
class SweepSpec:
    """Everything that the results of a sweep depend on, besides its cells, which carry the delays.

    Parameters
    ----------
    cluster
        ``"virtual"`` or ``"local"`` (real processes and wall seconds).
    numerics
        Whether the algorithm runs to convergence on a synthetic problem; otherwise only times are drawn.
    size
        The problem.
    machine
        One worker and its link.
    tolerance
        Relative error that a decoded product may have; None: what the scheme's code can keep to.
    iterations
        Iterations of each solver.
    repeats
        Repetitions of each cell, each with random numbers of its own that all cells share.
    seed
        Seed of the delays and of the synthetic problem.
    """

    cluster: Clock
    numerics: bool
    size: Size
    machine: Machine
    tolerance: float | None
    iterations: Iterations
    repeats: int
    seed: int

    def __post_init__(self) -> None:
        self.workload("none")  # refuses what no cell could use

    def workload(self, delays: str) -> Workload:
        """What a cell runs under these delays."""
        return Workload(self.size, delays, self.machine, self.tolerance, self.iterations)

    @property
    def clock(self) -> str:
        """The word in front of every column of seconds."""
        return "virtual" if self.cluster == "virtual" else "wall"

    @property
    def columns(self) -> tuple[str, ...]:
        """Numbers that every finished cell has."""
        return (f"{self.clock}_seconds_mean", f"{self.clock}_iteration_seconds_p50", "iterations")
