"""Table I as the paper has it: its problem, its expected times (46), and the rows of its reproduction."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from scipy.optimize import nnls
from scipy.special import ndtri

from coded_als.arrays import Array
from coded_als.codes import PointFamily, iteration_threshold
from coded_als.errors import UsageError
from coded_als.experiments.sweep.result_folder import saying_what_failed
from coded_als.experiments.sweep.rows import CellStatus, canonical
from coded_als.planner.schemes import Size

FAMILIES: tuple[PointFamily, ...] = ("real", "equispaced", "circle")
# Columns of every cell.
NUMBERS = (
    *("paper_seconds", "formula_seconds", "virtual_seconds_mean", "paper_products_implied"),
    *(f"{points}_{name}" for points in FAMILIES for name in ("error_estimated", "error_actual", "iterations_survived")),
)
WALL_FILE = "wall.jsonl"


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
    """The work to spend on a cell."""

    size: Size  # of the runs with numerics
    iterations: int  # iterations that a run may survive at most
    repeats: int  # draws of the virtual clock and of the decoding errors
    wall: bool  # whether to time real workers too

    def document(self, seed: int, law: OperationTime) -> dict[str, Any]:
        """The settings of a run as they stand in its folder, the fitted constants of (46) among them."""
        return {"kind": "table1", "format": 1, "seed": seed, **asdict(self), "law": asdict(law)}


@dataclass(frozen=True)
class OperationTime:
    """Appendix A's law of one multiplication, over a whole run."""

    total_mu_s: float  # T mu_u: iterations times mean seconds of one multiplication
    total_sigma_s: float  # T sigma_u


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


class Table1Cell(TypedDict):
    """A cell of the table: h, and the workers k that live."""

    partitions: int
    live: int


class Table1Row(TypedDict):
    """One cell: the paper's seconds, their worth in products, and the seconds of formula and virtual clock.

    Besides them it holds the columns that `at_points` reads.
    """

    cell: Table1Cell
    status: CellStatus
    paper_seconds: float
    formula_seconds: float
    virtual_seconds_mean: float
    virtual_seconds_low95: float | None
    virtual_seconds_high95: float | None
    paper_products_implied: float


class WallRow(TypedDict):
    """Wall seconds of a cell, of one round on real workers."""

    cell: Table1Cell
    wall_seconds_per_round_mean: float
    wall_seconds_per_round_low95: float | None
    wall_seconds_per_round_high95: float | None


@dataclass(frozen=True)
class AtPoints:
    """Quality of decoding at one family of points in a cell."""

    # medians over random first responses, relative
    error_estimated: float
    error_actual: float
    iterations_survived: int  # iterations that a run stays with exact arithmetic
    worst_deviation: float | None  # of its objective, relative; None where it broke down


def live_and_partitions(row: Table1Row) -> tuple[int, int]:
    """k and h of a row: its place in the paper's table."""
    return row["cell"]["live"], row["cell"]["partitions"]


def at_points(row: Table1Row, points: PointFamily) -> AtPoints:
    """The columns of a row for one family of points, each named after it."""
    columns = cast(dict[str, Any], row)
    return AtPoints(**{field.name: columns[f"{points}_{field.name}"] for field in fields(AtPoints)})


def with_points(row: Table1Row, points: PointFamily, found: AtPoints) -> Table1Row:
    """The row with the columns that `at_points` reads."""
    names = (f"{points}_{field.name}" for field in fields(AtPoints))
    return cast(Table1Row, {**row, **dict(zip(names, astuple(found), strict=True))})


def append_wall(path: Path, row: WallRow) -> None:
    with saying_what_failed(path), path.open("a") as file:
        file.write(canonical(row) + "\n")


def read_wall(folder: Path) -> list[WallRow]:
    """Wall seconds of the cells that have them; `UsageError` when the file is damaged."""
    path = folder / WALL_FILE
    if not path.exists():
        return []
    whole = path.read_text(errors="replace")
    try:
        rows: list[WallRow] = [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]
        for row in rows:  # the values that the table shows
            canonical(row["cell"]), float(row["wall_seconds_per_round_mean"])
        return rows
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"wall times must be whole lines; {path} is damaged. Remove it and run again.") from None


# Iterations that the draws of the virtual clock spread the fitted totals over.
NOMINAL_ITERATIONS = 1000
# Blom's constant: the a of (46), for the expected order statistics of normal variables.
BLOM = 0.375


def blom_quantile(k: int, count: int) -> float:
    """Approximate mean of the k-th smallest of ``count`` standard normal variables."""
    return float(ndtri((k - BLOM) / (count - 2 * BLOM + 1)))


def constants(law: OperationTime) -> str:
    """The fitted constants for people."""
    return f"T mu = {law.total_mu_s:.4g} s, T sigma = {law.total_sigma_s:.4g} s for a multiplication of a whole run"


def formula_terms(columns: int, rank: int, partitions: int, alive: int) -> tuple[float, float]:
    """Factors of T mu_u and T sigma_u in (46)."""
    quantile = blom_quantile(iteration_threshold(partitions, "real"), alive)
    return columns**2 * rank / partitions**2, quantile * math.sqrt(rank) * columns / partitions


def expected_seconds(law: OperationTime, columns: int, rank: int, partitions: int, alive: int) -> float:
    """Expected time of a run, equation (46)."""
    mean_factor, spread_factor = formula_terms(columns, rank, partitions, alive)
    return law.total_mu_s * mean_factor + law.total_sigma_s * spread_factor


def fit_law(cells: Sequence[PaperCell]) -> OperationTime:
    """T mu_u and T sigma_u of (46) with the least relative error over the cells, neither below zero."""
    size = paper_size()
    factors = np.array([formula_terms(size.length, size.rank, cell.partitions, cell.live) for cell in cells])
    published = np.array([cell.seconds for cell in cells])
    scale = np.abs(factors).max(axis=0)
    solution, _ = nnls(factors / scale / published[:, np.newaxis], np.ones(len(cells)))
    mu, sigma = solution / scale
    return OperationTime(float(mu), float(sigma))


@lru_cache(maxsize=2)
def paper_ratings(size: Size, seed: int, noise: float = 0.1) -> Array:
    """A product of random factors and noise of this deviation, as in section V of the paper: (m, n)."""
    rng = np.random.default_rng(seed)
    users, items = rng.standard_normal((size.rows, size.rank)), rng.standard_normal((size.columns, size.rank))
    ratings: Array = users @ items.T + noise * rng.standard_normal((size.rows, size.columns))
    return ratings
