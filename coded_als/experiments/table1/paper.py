"""Table I as the paper has it, and how much effort to spend on a cell of it."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from coded_als.als.schemes import Size
from coded_als.experiments.table1.rows import Table1Cell


@dataclass(frozen=True)
class PaperCell:
    """One published figure."""

    partitions: int
    live: int
    seconds: float

    def key(self) -> Table1Cell:
        return {"partitions": self.partitions, "live": self.live}


@dataclass(frozen=True)
class Effort:
    """How much to spend on a cell.

    Parameters
    ----------
    size
        The problem of the runs with numerics.
    iterations
        Iterations that a run may survive at most.
    repeats
        Draws of the virtual clock and of the decoding errors.
    wall
        Whether to time real workers too.
    """

    size: Size
    iterations: int
    repeats: int
    wall: bool

    def document(self, seed: int) -> dict[str, Any]:
        return {"kind": "table1", "format": 1, "seed": seed, **asdict(self)}


def paper_size() -> Size:
    """The size of the paper's problem."""
    table = _document()
    return Size(table["rows"], table["columns"], table["rank"])


def paper_source() -> str:
    """Where the table is from."""
    return str(_document()["source"])


def paper_cells() -> list[PaperCell]:
    """The 17 published cells, by live workers and partitions."""
    return [
        PaperCell(int(partitions), row["workers"], seconds)
        for row in _document()["live"]
        for partitions, seconds in row["seconds"].items()
    ]


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    return tomllib.loads(files("coded_als.experiments.table1").joinpath("table1.toml").read_text())


QUICK = Effort(Size(240, 150, 20), iterations=20, repeats=10, wall=False)
FULL = Effort(Size(2400, 1500, 200), iterations=20, repeats=20, wall=True)
