"""The reproduction of Table I, cell by cell, into a results folder.

For each cell with h partitions and k live workers: the formula (46) fitted to the paper's own cells, the same
law drawn on the virtual clock, the error of decoding at real points and on the circle, and how many iterations
a run with that decoding survives. Wall seconds depend on the machine, so they have a file of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.als.als import PaperProtocol
from coded_als.als.products import RoundLog
from coded_als.als.spread import store_data
from coded_als.arrays import Array
from coded_als.cluster import Fastest, Round, WellConditioned
from coded_als.cluster.rules import counted_workers
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.cluster.waiting import RoundCost
from coded_als.codes import Entangled, EntangledPolynomialCode, PointFamily, iteration_threshold
from coded_als.experiments.sweep.result_folder import ResultFolder
from coded_als.experiments.sweep.rows import canonical
from coded_als.experiments.table1.extended import LAW_ALONE, fitted_spec, run_totals
from coded_als.experiments.table1.paper_table import (
    FAMILIES,
    WALL_FILE,
    AtPoints,
    Effort,
    OperationTime,
    PaperCell,
    Table1Row,
    WallRow,
    append_wall,
    expected_seconds,
    paper_cells,
    paper_ratings,
    paper_size,
    read_wall,
    with_points,
)
from coded_als.planner.schemes import Size
from coded_als.planner.statistics import mean_and_interval

# Speed at which the paper's seconds are turned into a number of products; one core, floating-point operations.
ASSUMED_FLOPS = 30e9
# A run has deviated once its exact objective is this much above that of exact arithmetic's run.
DEVIATION = 0.01
CIRCLE_TOLERANCE = 1e-10
# Lets a round stop at the paper's threshold with any decoding error.
ANY_ERROR = 1e300
WALL_ROUNDS = 20
# Decoding this well is of no concern to the times: cells where real points reach it fit the law (46).
SOUND_ERROR = 1e-8


def run_table1(
    folder: ResultFolder[Table1Row], effort: Effort, law: OperationTime, seed: int, progress: Callable[[int, int], None]
) -> list[Table1Row]:
    """Evaluate the unfinished cells, and return the rows of all.

    Wall seconds depend on the machine, so they are kept in a file of their own.
    """
    cells = paper_cells()
    for done, cell in enumerate(cells):
        progress(done, len(cells))
        if canonical(cell.key()) not in folder.finished:
            folder.append(evaluate(cell, law, effort, seed))
    rows = folder.finish([cell.key() for cell in cells])
    if effort.wall:
        known = {canonical(row["cell"]) for row in read_wall(folder.path)}
        for done, cell in enumerate(cells):
            progress(done, len(cells))
            if canonical(cell.key()) not in known:
                append_wall(folder.path / WALL_FILE, wall_seconds(cell, law, seed))
    progress(len(cells), len(cells))
    return rows


def evaluate(cell: PaperCell, law: OperationTime, effort: Effort, seed: int) -> Table1Row:
    """Everything about one cell but its wall time."""
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


def errors_of_first(cell: PaperCell, points: PointFamily, repeats: int, seed: int) -> tuple[float, float]:
    """Median estimated and actual relative errors of decoding E = D B from random first responses."""
    h = cell.partitions
    code = EntangledPolynomialCode(h, h, 1, cell.live, points)
    rng = np.random.default_rng([seed, h, cell.live])
    root, factor = rng.standard_normal((12 * h, 12 * h)), rng.standard_normal((12 * h, 10))
    data = root.T @ root
    left, right, exact = list(code.encode_left(data)), list(code.encode_right(factor)), data @ factor
    rule = WellConditioned(code, CIRCLE_TOLERANCE if points == "circle" else ANY_ERROR)
    estimated, actual = [], []
    for _ in range(repeats):
        workers = counted_workers(tuple(rng.permutation(cell.live).tolist()), rule)
        decoder = code.decoder(workers)
        responses = {worker: _multiply(left[worker], right[worker]) for worker in workers}
        found = code.decode(responses, exact.shape)
        estimated.append(decoder.error_estimate)
        actual.append(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)))
    return float(np.median(estimated)), float(np.median(actual))


def _multiply(left: Array, right: Array) -> Array:
    """The product of two shares, by complex arithmetic: (planes, a, b)."""
    if left.shape[0] == 1:
        return np.asarray(np.matmul(left[0], right[0])[np.newaxis])
    product = np.matmul(left[0] + 1j * left[1], right[0] + 1j * right[1])
    planes: Array = np.stack([product.real, product.imag])
    return planes


def survival(cell: PaperCell, points: PointFamily, effort: Effort, seed: int) -> tuple[int, float | None]:
    """How many iterations of the paper's protocol stay with exact arithmetic, and the worst relative deviation.

    The update is the bare (12), without the checks of `coded_als.als` that refuse to go on with a broken
    decoding: it shows the errors that an implementation without them would have met.

    Returns iterations, and the deviation; None where the objective was not finite.
    """
    size, code = effort.size, Entangled(h=cell.partitions, points=points)
    ratings = paper_ratings(size, seed)
    data = ratings.T @ ratings
    deviations = []
    with SimulatedCluster(cell.live, "exp:mean=1ms", seed) as cluster, np.errstate(all="ignore"):
        log = RoundLog(cluster)
        store_data(log, code, data)
        tolerance = CIRCLE_TOLERANCE if points == "circle" else ANY_ERROR
        protocol = PaperProtocol(log, code, size.length, tolerance)
        factor = _start(size, seed)
        for reference in _reference_objectives(effort, seed):
            try:
                gram, projected, _ = protocol.products(factor)
                factor = protocol.update(np.asarray(np.linalg.solve(projected, gram), dtype=np.float64))
            except np.linalg.LinAlgError:
                factor = np.full_like(factor, np.nan)
            deviations.append(abs(_objective(data, factor) - reference) / reference)
    sound = [deviation <= DEVIATION for deviation in deviations]
    survived = sound.index(False) if False in sound else len(sound)
    return survived, max(deviations) if np.isfinite(deviations).all() else None


def _start(size: Size, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((size.length, size.rank))


@lru_cache(maxsize=1)
def _reference_objectives(effort: Effort, seed: int) -> list[float]:
    """Objectives of plain ALS, one for each iteration."""
    ratings = paper_ratings(effort.size, seed)
    data, factor = ratings.T @ ratings, _start(effort.size, seed)
    objectives = []
    for _ in range(effort.iterations):
        # ALS in its direct form is a power step; the span is all that the objective depends on
        factor = np.linalg.qr(data @ factor)[0]
        objectives.append(_objective(data, factor))
    return objectives


def _objective(data: Array, factor: Array) -> float:
    """||R - U B^T||^2 with the best U, from D = R^T R; infinite for a factor that is not finite."""
    if not np.isfinite(factor).all():
        return np.inf
    basis = np.linalg.qr(factor)[0]
    return float(np.trace(data) - np.vdot(basis, data @ basis))


def virtual_seconds(cell: PaperCell, law: OperationTime, repeats: int, seed: int) -> Array:
    """Seconds of whole runs on the virtual clock, (repeats,): stage 1 alone, as (46) counts it."""
    size, until = paper_size(), Fastest(iteration_threshold(cell.partitions, "real"))
    cost = RoundCost(size.length**2 * size.rank / cell.partitions**2)
    return run_totals(fitted_spec(law), cell.live, cost, until, LAW_ALONE, repeats, seed)


def wall_seconds(cell: PaperCell, law: OperationTime, seed: int) -> WallRow:
    """Wall seconds of a round E = D B on real workers that also wait out delays of the fitted law."""
    from coded_als.master import LocalCluster

    size, h = paper_size(), cell.partitions
    code = EntangledPolynomialCode(h, h, 1, cell.live, "real")
    rng = np.random.default_rng(seed)
    data, factor = rng.standard_normal((size.length, size.length)), rng.standard_normal((size.length, size.rank))
    shape = (size.length, size.rank)
    round = Round(
        "product",
        ("D",),
        [(share,) for share in code.encode_right(factor)],
        response_shapes=(code.response_shape(shape),),
        operations=size.length**2 * size.rank / h**2,
        label="E = D B",
    )
    with LocalCluster(cell.live, fitted_spec(law), seed) as cluster:
        cluster.store("D", code.encode_left(data))
        until = Fastest(iteration_threshold(h, "real"))
        seconds = np.array([cluster.run(round, until).elapsed_s for _ in range(WALL_ROUNDS)])
    mean, low, high = mean_and_interval(seconds)
    return {
        "cell": cell.key(),
        "wall_seconds_per_round_mean": mean,
        "wall_seconds_per_round_low95": low,
        "wall_seconds_per_round_high95": high,
    }


def sound_cells() -> list[PaperCell]:
    """Cells of those columns in which every cell decodes soundly at real points: where (46) can hold."""
    worst: dict[int, float] = {}
    for cell in paper_cells():
        estimated, _ = errors_of_first(cell, "real", repeats=5, seed=0)
        worst[cell.partitions] = max(worst.get(cell.partitions, 0.0), estimated)
    return [cell for cell in paper_cells() if worst[cell.partitions] <= SOUND_ERROR]
