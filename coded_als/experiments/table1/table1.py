"""Table I of the paper: its numbers, its formula, and what we find cell by cell.

For each cell with h partitions and k live workers: the formula (46) fitted to the paper's own cells, the same
law drawn on the virtual clock, the error of decoding at real points and on the circle, and how many iterations
a run with that decoding survives.
"""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from coded_als.als.statistics import mean_and_interval
from coded_als.codes import PointFamily
from coded_als.experiments.table1.first_responses import errors_of_first
from coded_als.experiments.table1.paper import Effort, PaperCell, paper_size
from coded_als.experiments.table1.rows import AtPoints, Table1Row, with_points
from coded_als.experiments.table1.survival import survival
from coded_als.experiments.table1.theory import OperationTime, expected_seconds
from coded_als.experiments.table1.times import virtual_seconds

# Speed at which the paper's seconds are turned into a number of products; one core, floating-point operations.
ASSUMED_FLOPS = 30e9
FAMILIES: tuple[PointFamily, ...] = ("real", "equispaced", "circle")
# Columns of every cell.
NUMBERS = (
    *("paper_seconds", "formula_seconds", "virtual_seconds_mean", "paper_products_implied"),
    *(f"{points}_{name}" for points in FAMILIES for name in ("error_estimated", "error_actual", "iterations_survived")),
)


def evaluate(cell: PaperCell, law: OperationTime, effort: Effort, seed: int) -> Table1Row:
    """Everything about one cell but its wall time.

    Parameters
    ----------
    cell
        One row of the paper's table.
    law
        Time of an operation, as fitted to the table.
    effort
        How often each figure is measured.
    seed
        Of all random numbers.
    """
    size = paper_size()
    product_s = 2 * size.length**2 * size.rank / cell.partitions**2 / ASSUMED_FLOPS
    with threadpool_limits(1):
        mean, low, high = mean_and_interval(virtual_seconds(cell, law, effort.repeats, seed))
        row: Table1Row = {
            "cell": cell.key(),
            "status": "done",
            "paper_seconds": cell.seconds,
            "formula_seconds": expected_seconds(law, size.length, size.rank, cell.partitions, cell.live),
            "virtual_seconds_mean": mean,
            "virtual_seconds_low95": low,
            "virtual_seconds_high95": high,
            "paper_products_implied": cell.seconds / product_s,
        }
        for points in FAMILIES:
            errors = errors_of_first(cell, points, effort.repeats, seed)
            row = with_points(row, points, AtPoints(*errors, *survival(cell, points, effort, seed)))
    return row
