"""Seconds under the fitted law: on the virtual clock, and of rounds on real workers."""

from __future__ import annotations

import numpy as np

from coded_als.als.draws import repetition_seed
from coded_als.als.statistics import mean_and_interval
from coded_als.arrays import Array
from coded_als.cluster import Fastest, Round, fastest
from coded_als.cluster.machine import Machine, RoundCost
from coded_als.cluster.waiting import round_seconds
from coded_als.codes import EntangledPolynomialCode, iteration_threshold
from coded_als.delays import DelayStream
from coded_als.experiments.table1.paper import PaperCell, paper_size
from coded_als.experiments.table1.rows import WallRow
from coded_als.experiments.table1.theory import OperationTime

# Iterations that the draws of the virtual clock spread the fitted totals over.
NOMINAL_ITERATIONS = 1000
WALL_ROUNDS = 20


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


def wall_seconds(cell: PaperCell, law: OperationTime, seed: int) -> WallRow:
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
