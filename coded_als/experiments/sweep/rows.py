"""Rows of results: the stored form of a cell and its figures, its seconds, and the flat form for CSV and Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypedDict, cast, get_args

import numpy as np

from coded_als.arrays import Array
from coded_als.errors import UsageError
from coded_als.planner.statistics import mean_and_interval

# Levels of the quantiles stored with every cell: enough to draw the distribution of iteration times again, and to see
# where a mixture of fast and slow workers steps.
QUANTILES = (0.0, 0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99, 1.0)


CellStatus = Literal["done", "infeasible", "failed"]


STATUSES: tuple[CellStatus, ...] = get_args(CellStatus)


class StoredRow(TypedDict):
    """The columns of every cell of a results folder; each kind of experiment adds its figures."""

    cell: Any
    status: CellStatus


class SchemeCell(TypedDict):
    """A scheme as columns; ``partitions`` is h where the grid has cut a code that leaves it open."""

    code: str
    workers: int
    partitions: int | None
    protocol: str
    solver: str


class SweepCell(SchemeCell):
    """A cell of a sweep as columns."""

    stragglers: int
    delays: str


class Quantiles(TypedDict):
    """Iteration times at some levels, and the middle 95 % of the repetitions' own."""

    levels: list[float]
    seconds: list[float]
    low95: list[float]
    high95: list[float]


class SecondsColumns(TypedDict, total=False):
    """Seconds of a cell, of the clock that it has: until convergence, and of one iteration."""

    virtual_seconds_mean: float
    virtual_seconds_low95: float | None
    virtual_seconds_high95: float | None
    virtual_iteration_seconds_p50: float
    virtual_iteration_seconds_p95: float
    virtual_iteration_seconds_p99: float
    virtual_iteration_seconds_quantiles: Quantiles
    wall_seconds_mean: float
    wall_seconds_low95: float | None
    wall_seconds_high95: float | None
    wall_iteration_seconds_p50: float
    wall_iteration_seconds_p95: float
    wall_iteration_seconds_p99: float
    wall_iteration_seconds_quantiles: Quantiles


class Figures(SecondsColumns, total=False):
    """Figures of a finished cell; drawn times alone have no objective."""

    round_seconds: list[list[list[float]]]
    iterations: int
    virtual_master_seconds: float
    worker_storage_bytes: int
    worker_operations: float
    objective: float
    converged: bool
    largest_decoding_error_estimate: float
    history: list[list[float]]


class _Ended(TypedDict):
    cell: SweepCell
    status: CellStatus
    reason: str | None


class SweepRow(_Ended, Figures, total=False):
    """One stored cell of a sweep."""


def with_seconds(figures: Figures, seconds: Array, clock: str) -> Figures:
    """Figures of a cell with those of its seconds, (repeats, iterations), named after their clock.

    The quantiles of the iterations carry their levels, and the middle 95 % of the repetitions' own quantiles.
    """
    mean, low, high = mean_and_interval(seconds.sum(axis=1))
    # seconds that some iteration took: between a fast and a slow one there may be none
    quantiles = np.quantile(seconds, QUANTILES, method="inverted_cdf").tolist()
    of_each = np.quantile(seconds, QUANTILES, axis=1, method="inverted_cdf")
    low_of, high_of = np.quantile(of_each, (0.025, 0.975), axis=1, method="inverted_cdf")
    named = dict(zip(QUANTILES, quantiles, strict=True))
    columns = {
        f"{clock}_seconds_mean": mean,
        f"{clock}_seconds_low95": low,
        f"{clock}_seconds_high95": high,
        f"{clock}_iteration_seconds_p50": named[0.5],
        f"{clock}_iteration_seconds_p95": named[0.95],
        f"{clock}_iteration_seconds_p99": named[0.99],
        f"{clock}_iteration_seconds_quantiles": {
            "levels": list(QUANTILES),
            "seconds": quantiles,
            "low95": low_of.tolist(),
            "high95": high_of.tolist(),
        },
    }
    # a test holds the keys against the type
    return cast(Figures, {**figures, **columns})


def mean_seconds(row: SweepRow, clock: str) -> float:
    """Mean seconds until convergence of a cell that is done."""
    return float(row["virtual_seconds_mean"] if clock == "virtual" else row["wall_seconds_mean"])


def interval_seconds(row: SweepRow, clock: str) -> tuple[float, float]:
    """The 95 % interval of `mean_seconds`, or the mean twice where there is none."""
    virtual = clock == "virtual"
    low = row["virtual_seconds_low95"] if virtual else row["wall_seconds_low95"]
    high = row["virtual_seconds_high95"] if virtual else row["wall_seconds_high95"]
    return known_interval(mean_seconds(row, clock), low, high)


def known_interval(mean: float, low: float | None, high: float | None) -> tuple[float, float]:
    """An interval that can be drawn: the mean twice where there is none, since nothing varied."""
    return (mean, mean) if low is None or high is None else (max(low, 0.0), high)


def iteration_quantiles(row: SweepRow, clock: str) -> Quantiles:
    """Stored quantiles of the iteration times of a cell that is done."""
    return row["virtual_iteration_seconds_quantiles"] if clock == "virtual" else row["wall_iteration_seconds_quantiles"]


def canonical(value: Any) -> str:
    """One line of JSON, the same for equal values."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row with the fields of its cell as columns, status and reason after them, and lists as JSON."""
    last = ("status", "reason")
    others = {key: row[key] for key in (*last, *sorted(row.keys() - {"cell", *last})) if key in row}
    values = {**dict(sorted(row["cell"].items())), **others}
    return {key: canonical(value) if isinstance(value, list | dict) else value for key, value in values.items()}


def flat_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of all rows in the order of their first appearance, and the rows as of `flat`."""
    flattened = [flat(row) for row in rows]
    return list(dict.fromkeys(column for row in flattened for column in row)), flattened


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Columns as Parquet; `UsageError` when pyarrow is not installed."""
    require_pyarrow()
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)


def require_pyarrow() -> None:
    """Check for pyarrow before the work; `UsageError` when it is not installed."""
    if find_spec("pyarrow") is None:
        raise UsageError("--parquet needs pyarrow; it is not installed. pip install 'coded-als[parquet]'.")
