"""A sweep in a few sentences: the fastest scheme, what nearly ties with it, and what equal memory buys."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.codes import Uncoded
from coded_als.experiments.report.numbers import memory, plain
from coded_als.experiments.report.series import is_coded, scheme_name
from coded_als.experiments.report.slices import Slice
from coded_als.experiments.sweep.rows import SweepRow

# two schemes tie when their intervals overlap or their means are this close
CLOSE = 1.05


def sentences(part: Slice) -> list[str]:
    """What a slice says at its largest number of workers.

    Parameters
    ----------
    part
        A slice of a sweep.
    """
    ranked = sorted(part.largest, key=part.mean)
    return [_fastest(part, ranked), *_ties(part, ranked), *_equal_memory(part, ranked)]


def _seconds(part: Slice, row: SweepRow) -> str:
    return f"{plain(part.mean(row))} {part.clock} seconds"


def _fastest(part: Slice, ranked: Sequence[SweepRow]) -> str:
    best = ranked[0]
    uncoded = next((row for row in ranked if row["cell"]["code"] == Uncoded.name), best)
    text = f"{scheme_name(best['cell'])} is fastest with {_seconds(part, best)}"
    if uncoded is not best:
        text += f", {plain(part.mean(uncoded) / part.mean(best), 2)} times as fast as uncoded"
    return text + "."


def near_ties(part: Slice, ranked: Sequence[SweepRow]) -> list[SweepRow]:
    """Rows that the draws do not tell from the first, or that are within 5 % of it.

    Parameters
    ----------
    part
        The slice of the rows.
    ranked
        Rows, the fastest first.
    """
    _, high = part.interval(ranked[0])
    limit = CLOSE * part.mean(ranked[0])
    return [row for row in ranked[1:] if part.interval(row)[0] <= high or part.mean(row) <= limit]


def _ties(part: Slice, ranked: Sequence[SweepRow]) -> list[str]:
    ties = near_ties(part, ranked)
    if not ties:
        return []
    names = "; ".join(f"{scheme_name(row['cell'])} ({plain(part.mean(row))})" for row in ties)
    return [f"These repetitions do not tell it apart from (intervals overlap, or within 5 %): {names}."]


def _equal_memory(part: Slice, ranked: Sequence[SweepRow]) -> list[str]:
    """Each replicated scheme beside the fastest code that needs no more memory."""
    if any("worker_storage_bytes" not in row for row in ranked):
        return []
    coded = [row for row in ranked if is_coded(row["cell"])]
    plain_schemes = [row for row in ranked if not is_coded(row["cell"]) and row["cell"]["code"] != Uncoded.name]
    return [_beside(part, row, coded) for row in plain_schemes if coded]


def _beside(part: Slice, row: SweepRow, coded: Sequence[SweepRow]) -> str:
    room = row["worker_storage_bytes"]
    said = f"With the memory of {scheme_name(row['cell'])} ({memory(room)} a worker, {_seconds(part, row)})"
    fitting = [other for other in coded if other["worker_storage_bytes"] <= room]
    if not fitting:
        return f"{said} no coded cell of this sweep fits; more parts would."
    other = fitting[0]
    ratio = part.mean(row) / part.mean(other)
    return f"{said} the fastest code is {scheme_name(other['cell'])} ({memory(other['worker_storage_bytes'])}): {_compared(ratio)}."


def _compared(ratio: float) -> str:
    """How a scheme compares with one that takes ``ratio`` times its seconds."""
    if 1 / CLOSE <= ratio <= CLOSE:
        return "as fast, within 5 %"
    return f"{plain(ratio, 2)} times as fast" if ratio > 1 else f"{plain(1 / ratio, 2)} times as slow"
