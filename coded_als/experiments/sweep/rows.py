"""Rows of a sweep: what a stored cell holds."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, get_args

CellStatus = Literal["done", "infeasible", "failed"]
STATUSES: tuple[CellStatus, ...] = get_args(CellStatus)


class StoredRow(TypedDict):
    """A cell of a results folder, whatever was computed; its figures come besides."""

    cell: Any
    status: CellStatus


class SchemeCell(TypedDict):
    """A scheme as columns: the fields of `coded_als.als.schemes.Scheme`."""

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
    """What a cell that is done has found; times alone have no objective."""

    round_seconds: list[list[list[float]]]
    iterations: int
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
