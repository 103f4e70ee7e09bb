"""The locally optimal block iteration for the leading eigenpairs of D (Knyazev's LOBPCG)."""

from __future__ import annotations

from functools import partial

import numpy as np

from coded_als.als.ritz import RitzBasis, orthonormal_complement, rayleigh_ritz, search_directions, stepped
from coded_als.als.solving import SolverInput
from coded_als.arrays import Array


def solve(given: SolverInput) -> tuple[Array, Array]:
    """A basis of the leading eigenvectors of D, one product with D a round.

    Rayleigh-Ritz on the span of the Ritz vectors, their residuals and the last directions. Nothing is locked and the
    basis stays orthonormal; images of everything but the residuals are known already. They are sums over all rounds, with
    the errors of all: where residuals stagnate, the images of the Ritz vectors are computed anew.

    Returns orthonormal Ritz vectors, guards included, twice, (l, b).
    """
    multiply, start, rank, recorder = given.held.gram_product, given.start, given.rank, given.recorder
    resumed = recorder.resumed(partial(RitzBasis.of, length=start.shape[0], columns=start.shape[1]))
    if resumed is None:
        vectors = np.linalg.qr(start)[0]
        basis = rayleigh_ritz([vectors], [multiply(vectors)], keep=vectors.shape[1])
    else:
        basis = resumed
    for iteration in range(len(recorder.history), given.iterations):
        recorder.keep(**vars(basis))
        directions = search_directions(basis, [])
        exhausted = directions.shape[1] == 0
        if recorder.finish(basis.pairs(rank), exhausted=exhausted):
            break
        missed = recorder.missed()
        if missed is not None:
            directions = orthonormal_complement(np.hstack([directions, missed]), basis.parts()[0])
        if iteration < given.iterations - 1 and missed is None and recorder.renews():
            basis = rayleigh_ritz([basis.vectors], [multiply(basis.vectors)], keep=basis.values.size)
        elif iteration < given.iterations - 1:
            basis = stepped(basis, directions, multiply(directions))
    return basis.vectors, basis.vectors
