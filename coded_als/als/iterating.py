"""The iterations of a fit, by the block iteration or by sweeps of ALS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coded_als.als.alternating import alternating
from coded_als.als.history import Recorder
from coded_als.als.lobpcg import locally_optimal
from coded_als.als.problem import Problem
from coded_als.als.protocols import PaperProtocol, square
from coded_als.als.rounds import RoundLog
from coded_als.als.spread import HeldData, Spread
from coded_als.als.sweeps import FusedSweeps, PaperSweeps, Sweeps
from coded_als.arrays import Array


def iterated(
    parameters: Mapping[str, Any],
    problem: Problem,
    held: HeldData,
    log: RoundLog,
    spread: Spread,
    columns: int,
    decoding: float,
    ridge: float,
    recorder: Recorder,
) -> tuple[Array, Array]:
    """A basis of the factor, (l, columns), and what A is multiplied with for the other one, (l, columns).

    Parameters
    ----------
    parameters
        Of the model.
    problem, held
        The data, and the same on the workers.
    log
        Where rounds run.
    spread
        What the workers hold.
    columns
        Of a product.
    decoding
        Relative error that a product may have.
    ridge
        Weight lam, in the unit of the data.
    recorder
        Keeps the history and decides when to stop.
    """
    start = np.random.default_rng(parameters["seed"]).standard_normal((problem.length, columns))
    if parameters["solver"] == "lobpcg":
        basis = locally_optimal(held.gram_product, start, parameters["rank"], parameters["iterations"], recorder)
        return basis, basis
    start = np.linalg.qr(start)[0]
    sweeps: Sweeps
    if parameters["protocol"] == "paper":
        sweeps = PaperSweeps(PaperProtocol(log, square(spread.code), problem.length, decoding), start)
    else:
        sweeps = FusedSweeps(held.gram_product, start)
    basis = alternating(sweeps, problem.squared_norm, ridge, parameters["iterations"], recorder)
    return basis, sweeps.other_factor_weights(basis)
