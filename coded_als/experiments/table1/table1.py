"""Table I of the paper: its numbers, its formula, and what we find cell by cell.

For each cell with h partitions and k live workers: the formula (46) fitted to the paper's own cells, the same
law drawn on the virtual clock, the error of decoding at real points and on the circle, and how many iterations
a run with that decoding survives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from coded_als.als.draws import repetition_seed
from coded_als.arrays import Array
from coded_als.cluster import Fastest, Round, WellConditioned, fastest
from coded_als.cluster.inline import counted_workers
from coded_als.cluster.machine import Machine, RoundCost
from coded_als.cluster.waiting import round_seconds
from coded_als.codes import EntangledPolynomialCode, PointFamily, iteration_threshold
from coded_als.delays import DelayStream
from coded_als.experiments.plan.timing import mean_and_interval
from coded_als.experiments.sweep.tables import Row
from coded_als.experiments.table1.paper import Effort, PaperCell, paper_cells, paper_size
from coded_als.experiments.table1.survival import ANY_ERROR, CIRCLE_TOLERANCE, survival
from coded_als.experiments.table1.theory import OperationTime, expected_seconds, formula_terms

# Decoding this well is of no concern to the times: cells where real points reach it fit the law (46).
SOUND_ERROR = 1e-8
# Iterations that the draws of the virtual clock spread the fitted totals over.
NOMINAL_ITERATIONS = 1000
# Speed at which the paper's seconds are turned into a number of products; one core, floating-point operations.
ASSUMED_FLOPS = 30e9
WALL_ROUNDS = 20
FAMILIES: tuple[PointFamily, ...] = ("real", "equispaced", "circle")
# Columns of every cell.
NUMBERS = (
    *("paper_seconds", "formula_seconds", "virtual_seconds_mean", "paper_products_implied"),
    *(f"{points}_{name}" for points in FAMILIES for name in ("error_estimated", "error_actual", "iterations_survived")),
)


def fit_law(cells: Sequence[PaperCell]) -> OperationTime:
    """T mu_u and T sigma_u of (46) with the least relative error over the cells, neither below zero."""
    size = paper_size()
    factors = np.array([formula_terms(size.length, size.rank, cell.partitions, cell.live) for cell in cells])
    published = np.array([cell.seconds for cell in cells])
    scale = np.abs(factors).max(axis=0)
    solution, _ = nnls(factors / scale / published[:, np.newaxis], np.ones(len(cells)))
    mu, sigma = solution / scale
    return OperationTime(float(mu), float(sigma))


def sound_cells() -> list[PaperCell]:
    """Cells of those columns in which every cell decodes soundly at real points: where (46) can hold."""
    worst: dict[int, float] = {}
    for cell in paper_cells():
        estimates = errors_of_first(cell, "real", repeats=5, seed=0)["estimated"]
        worst[cell.partitions] = max(worst.get(cell.partitions, 0.0), estimates)
    return [cell for cell in paper_cells() if worst[cell.partitions] <= SOUND_ERROR]


def evaluate(cell: PaperCell, law: OperationTime, effort: Effort, seed: int) -> Row:
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
        row: Row = {
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
            row |= {f"{points}_error_{name}": error for name, error in errors.items()}
            row |= {f"{points}_{name}": value for name, value in survival(cell, points, effort, seed).items()}
    return row


def virtual_seconds(cell: PaperCell, law: OperationTime, repeats: int, seed: int) -> Array:
    """Seconds of whole runs on the virtual clock, (repeats,): stage 1 alone, as (46) counts it.

    Parameters
    ----------
    cell
        One row of the paper's table.
    law
        Time of an operation, as fitted to the table.
    repeats
        Number of runs.
    seed
        Of the delays.
    """
    size = paper_size()
    operations = size.length**2 * size.rank / cell.partitions**2
    mu, sigma = law.total_mu_s / NOMINAL_ITERATIONS, law.total_sigma_s / NOMINAL_ITERATIONS
    spec = f"normal-ops:mu={mu!r}s,sigma={sigma!r}s"
    # the law of the delays is all the time there is: no other work, no messages
    machine, until = Machine(np.inf, np.inf, 0.0, 0.0), Fastest(iteration_threshold(cell.partitions, "real"))
    totals = [
        round_seconds(
            DelayStream(spec, cell.live, repetition_seed(seed, repetition)),
            [(RoundCost(operations), until)],
            machine,
            NOMINAL_ITERATIONS,
        ).sum()
        for repetition in range(repeats)
    ]
    return np.array(totals)


def errors_of_first(cell: PaperCell, points: PointFamily, repeats: int, seed: int) -> dict[str, float]:
    """Median estimated and actual relative error of decoding E = D B from random first responses.

    Parameters
    ----------
    cell
        One row of the paper's table.
    points
        Where the code is evaluated.
    repeats
        Number of decodings.
    seed
        Of the matrices and of who responds first.
    """
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
    return {"estimated": float(np.median(estimated)), "actual": float(np.median(actual))}


def _multiply(left: Array, right: Array) -> Array:
    """The product of two shares, by complex arithmetic: (planes, a, b)."""
    if left.shape[0] == 1:
        return np.asarray(np.matmul(left[0], right[0])[np.newaxis])
    product = np.matmul(left[0] + 1j * left[1], right[0] + 1j * right[1])
    planes: Array = np.stack([product.real, product.imag])
    return planes


def wall_seconds(cell: PaperCell, law: OperationTime, seed: int) -> Row:
    """Wall seconds of a round E = D B on real workers that also wait out delays of the fitted law.

    Parameters
    ----------
    cell
        One row of the paper's table.
    law
        Time of an operation, as fitted to the table.
    seed
        Of the delays.
    """
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
    mu, sigma = law.total_mu_s / NOMINAL_ITERATIONS, law.total_sigma_s / NOMINAL_ITERATIONS
    with LocalCluster(cell.live, f"normal-ops:mu={mu!r}s,sigma={sigma!r}s", seed) as cluster:
        cluster.store("D", code.encode_left(data))
        until = fastest(iteration_threshold(h, "real"))
        seconds = np.array([cluster.run(round, until).elapsed_s for _ in range(WALL_ROUNDS)])
    mean, low, high = mean_and_interval(seconds)
    return {
        "cell": cell.key(),
        "wall_seconds_per_round_mean": mean,
        "wall_seconds_per_round_low95": low,
        "wall_seconds_per_round_high95": high,
    }
