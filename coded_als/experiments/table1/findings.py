"""Findings about Table I in words, and its cells as text: derived from the rows and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr

from coded_als.codes import PointFamily
from coded_als.experiments.sweep.result_folder import ProblemSize
from coded_als.experiments.sweep.rows import canonical
from coded_als.experiments.table1.paper_table import FAMILIES, Table1Row, WallRow, at_points

AGREEMENT = 0.15
# A column has collapsed when a cell of it is worth less than this share of the first column's products.
COLLAPSE = 0.3


Agreement = Literal["agrees", "trend only", "disagrees", "supported", "partly supported", "not supported"]


@dataclass(frozen=True)
class Finding:
    """One verdict and the figures behind it."""

    subject: str
    verdict: Agreement
    evidence: str


def findings(rows: Sequence[Table1Row], size: ProblemSize) -> list[Finding]:
    """All verdicts on a complete table."""
    problem = f"m={size['rows']}, n={size['columns']}, d={size['rank']}"
    columns = sorted({row["cell"]["partitions"] for row in rows})
    by_column = [[row for row in rows if row["cell"]["partitions"] == h] for h in columns]
    return [
        _formula_on_the_clock(rows),
        *(_formula_on_the_paper(h, column) for h, column in zip(columns, by_column, strict=True)),
        _circle(rows, problem),
        _hypothesis(rows, problem),
    ]


def _relative(found: float, expected: float) -> float:
    return abs(found - expected) / expected


def _formula_on_the_clock(rows: Sequence[Table1Row]) -> Finding:
    worst = max(_relative(row["virtual_seconds_mean"], row["formula_seconds"]) for row in rows)
    return Finding(
        "formula (46) and the virtual clock",
        "agrees" if worst < 0.02 else "disagrees",
        f"the two differ by at most {worst:.1%} in any cell: (46) is the mean of the law it is derived from",
    )


def _formula_on_the_paper(partitions: int, column: Sequence[Table1Row]) -> Finding:
    worst = max(_relative(row["formula_seconds"], row["paper_seconds"]) for row in column)
    by_workers = sorted(column, key=lambda row: row["cell"]["live"])
    first, last = by_workers[0], by_workers[-1]
    falls = last["paper_seconds"] < first["paper_seconds"] and last["formula_seconds"] < first["formula_seconds"]
    verdict: Agreement = "agrees" if worst <= AGREEMENT else "trend only" if falls and worst <= 1.5 else "disagrees"
    factors = [row["formula_seconds"] / row["paper_seconds"] for row in column]
    spread = f"{min(factors):.3g}" if len(factors) == 1 else f"{min(factors):.3g} to {max(factors):.3g}"
    return Finding(
        f"the paper's column h = {partitions} and formula (46)",
        verdict,
        f"fitted seconds are {spread} times the published ones over {len(column)} cell{'s' * (len(column) > 1)}",
    )


def _circle(rows: Sequence[Table1Row], problem: str) -> Finding:
    worst = max(at_points(row, "circle").error_actual for row in rows)
    survived = all(at_points(row, "circle").iterations_survived == _most(rows) for row in rows)
    return Finding(
        "points on the circle in every cell of the table",
        "supported" if survived and worst < 1e-9 else "not supported",
        f"decoding errors are at most {worst:.0e}, and "
        + (
            f"every run stays with exact arithmetic for all {_most(rows)} iterations at {problem}"
            if survived
            else "some runs break"
        ),
    )


def _most(rows: Sequence[Table1Row]) -> int:
    return max(at_points(row, "circle").iterations_survived for row in rows)


def _hypothesis(rows: Sequence[Table1Row], problem: str) -> Finding:
    """Whether cells collapse because decoding at real points breaks down."""
    usual = float(np.median([row["paper_products_implied"] for row in rows if row["cell"]["partitions"] == 2]))
    collapsed = [row for row in rows if row["paper_products_implied"] < COLLAPSE * usual]
    others = [row for row in rows if row not in collapsed]
    broken = [row for row in collapsed if _lifetime(row) < _most(rows)]
    survivors_elsewhere = all(_lifetime(row) == _most(rows) for row in others)
    chebyshev = sum(at_points(row, "real").iterations_survived < _most(rows) for row in broken)
    rank = _rank_correlation(rows)
    if not collapsed:
        verdict: Agreement = "not supported"
    elif len(broken) == len(collapsed) and survivors_elsewhere:
        verdict = "supported"
    else:
        verdict = "partly supported" if len(broken) >= len(collapsed) / 2 and survivors_elsewhere else "not supported"
    cells = "; ".join(_collapsed(row, _most(rows)) for row in collapsed)
    return Finding(
        "hypothesis: cells collapse because decoding at real points breaks down",
        verdict,
        f"{len(broken)} of the {len(collapsed)} collapsed cells break down with the worse of the two families of real "
        f"points, {chebyshev} of them with Chebyshev nodes alone, within {_most(rows)} iterations at {problem}, "
        f"{'none' if survivors_elsewhere else 'some'} of the others {'do' if survivors_elsewhere else 'do too'}; "
        f"the rank correlation of implied products and equispaced decoding error over all cells is {rank:.2f} ({cells}). "
        f"A cell of {min(row['paper_products_implied'] for row in rows):.2g} products at 30 GFLOP/s is no whole iteration "
        "at any usual speed. This shows only that breakdown and collapse coincide, not the behaviour of the authors' program",
    )


def _collapsed(row: Table1Row, most: int) -> str:
    """A cell that has collapsed, in words."""
    real, equispaced = at_points(row, "real"), at_points(row, "equispaced")
    return (
        f"h={row['cell']['partitions']}, k={row['cell']['live']}: {row['paper_products_implied']:.3g} products, "
        f"decoding error {real.error_actual:.0e} (Chebyshev) or {equispaced.error_actual:.0e} (equispaced), "
        f"survives {real.iterations_survived} or {equispaced.iterations_survived} of {most} iterations"
    )


def _lifetime(row: Table1Row) -> int:
    """Iterations survived with the worse of the two real families: the paper does not say which it used."""
    return min(at_points(row, points).iterations_survived for points in ("real", "equispaced"))


def _rank_correlation(rows: Sequence[Table1Row]) -> float:
    errors = [at_points(row, "equispaced").error_actual for row in rows]
    return float(spearmanr([row["paper_products_implied"] for row in rows], errors).statistic)


COLUMNS: tuple[tuple[str, Callable[[Table1Row], Any]], ...] = (
    ("k", lambda row: row["cell"]["live"]),
    ("h", lambda row: row["cell"]["partitions"]),
    ("paper [s]", lambda row: f"{row['paper_seconds']:.4g}"),
    ("formula (46) [s]", lambda row: f"{row['formula_seconds']:.3g}"),
    ("virtual clock [virtual s]", lambda row: f"{row['virtual_seconds_mean']:.3g}"),
    ("products implied", lambda row: f"{row['paper_products_implied']:.3g}"),
    ("real: est./actual error", lambda row: _pair(row, "real")),
    ("equispaced: est./actual", lambda row: _pair(row, "equispaced")),
    ("circle: est./actual", lambda row: _pair(row, "circle")),
    (
        "survived r/e/c",
        lambda row: "/".join(str(at_points(row, points).iterations_survived) for points in FAMILIES),
    ),
)


def _pair(row: Table1Row, points: PointFamily) -> str:
    found = at_points(row, points)
    return f"{found.error_estimated:.0e} / {found.error_actual:.0e}"


def table_cells(rows: Sequence[Table1Row], wall: Sequence[WallRow]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table; wall time has a column of its own where it was measured."""
    headings = [name for name, _ in COLUMNS]
    body = [[str(show(row)) for _, show in COLUMNS] for row in rows]
    if wall:
        seconds = {canonical(row["cell"]): row["wall_seconds_per_round_mean"] for row in wall}
        headings.append("real workers [wall ms per round]")
        for row, line in zip(rows, body, strict=True):
            value = seconds.get(canonical(row["cell"]))
            line.append("" if value is None else f"{1e3 * value:.3g}")
    return headings, body
