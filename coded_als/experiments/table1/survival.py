"""Survival of the paper's protocol: iterations with decoded products that stay with exact arithmetic."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from coded_als.als.phases import store_data
from coded_als.als.protocols import PaperProtocol
from coded_als.als.rounds import RoundLog
from coded_als.als.schemes import Size
from coded_als.arrays import Array
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.codes import Entangled, PointFamily
from coded_als.experiments.problems import paper_ratings
from coded_als.experiments.table1.paper import Effort, PaperCell

# A run has deviated once its exact objective is this much above that of exact arithmetic's run.
DEVIATION = 0.01
CIRCLE_TOLERANCE = 1e-10
# Lets a round stop at the paper's threshold whatever it decodes to.
ANY_ERROR = 1e300


def survival(cell: PaperCell, points: PointFamily, effort: Effort, seed: int) -> tuple[int, float | None]:
    """How many iterations of the paper's protocol stay with exact arithmetic, and the worst relative deviation.

    The update is the bare (12), without the checks of `coded_als.als` that refuse to go on with a broken
    decoding: the question is what an implementation without them would have run into.

    Parameters
    ----------
    cell
        One row of the paper's table.
    points
        Where the code is evaluated.
    effort
        How many iterations are tried.
    seed
        Of the matrix and of who responds first.

    Returns
    -------
    Iterations, and the deviation; None where the objective was not finite.
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
    data, factor = (
        ratings.T @ ratings,
        np.random.default_rng(seed).standard_normal((effort.size.length, effort.size.rank)),
    )
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
