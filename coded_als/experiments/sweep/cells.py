"""Cells of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from coded_als.als.schemes import Scheme
from coded_als.experiments.sweep.rows import SchemeCell, SweepCell


@dataclass(frozen=True)
class Cell:
    """One scheme under one delay model and one number of dead workers.

    Parameters
    ----------
    scheme
        What runs.
    stragglers
        Workers that never respond, besides what the delays do.
    delays
        A delay SPEC.
    """

    scheme: Scheme
    stragglers: int
    delays: str

    @property
    def injected_delays(self) -> str:
        """The SPEC of the delays with this cell's dead workers."""
        return f"{self.delays}+dead:n={self.stragglers}" if self.stragglers else self.delays

    def key(self) -> SweepCell:
        """The cell as columns."""
        return {**scheme_cell(self.scheme), "stragglers": self.stragglers, "delays": self.delays}


def scheme_cell(scheme: Scheme) -> SchemeCell:
    """A scheme as columns."""
    return {
        "code": scheme.code,
        "workers": scheme.workers,
        "partitions": scheme.partitions,
        "protocol": scheme.protocol,
        "solver": scheme.solver,
    }


def cell_of(key: SweepCell) -> Cell:
    """The cell that `Cell.key` describes."""
    scheme = Scheme(key["code"], key["workers"], key["partitions"], key["protocol"], key["solver"])
    return Cell(scheme, key["stragglers"], key["delays"])
