"""A probe of the data for the largest eigenvalue of D outside a subspace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.als.bounds import doubt_of
from coded_als.als.problem import Problem
from coded_als.als.ritz import orthonormal_complement, rayleigh_ritz, search_directions, stepped
from coded_als.arrays import Array

PROBE_COLUMNS, KNOWN_COLUMNS, PROBE_STEPS = 4, 5, 24
# A probe ends when what it may have missed is this part of the gap.
TOLD_APART = 0.1


@dataclass(frozen=True)
class Probe:
    """The largest eigenvalue that a few products with the data find outside a subspace.

    Parameters
    ----------
    inside
        The dimension of the subspace.
    value, residual
        Its Ritz value, and the norm of its residual.
    above
        What no eigenvalue outside is above, unless a random start has missed it (`doubt_of`).
    vectors
        Where the next probe starts, (l, k).
    """

    inside: int
    value: float
    residual: float
    above: float
    vectors: Array


def probed(problem: Problem, vectors: Array, below: float, known: Array | None) -> Probe:
    """The largest eigenvalue of D outside a subspace.

    Parameters
    ----------
    problem
        The data.
    vectors
        An orthonormal basis of the subspace, (l, k) with k < l.
    below
        The smallest Ritz value inside; the probe ends when it has told the two apart.
    known
        Directions to start from beside random ones, (l, j): guards, or what an earlier probe found.
    """

    def multiply(columns: Array) -> Array:
        image = problem.adjoint(problem.image(columns))
        return np.asarray(image - vectors @ (vectors.T @ image))

    columns = np.random.default_rng(vectors.shape).standard_normal((problem.length, PROBE_COLUMNS))
    if known is not None:
        columns = np.hstack([known[:, :KNOWN_COLUMNS], columns])
    start = orthonormal_complement(columns, [vectors])
    basis = rayleigh_ritz([start], [multiply(start)], keep=start.shape[1])
    for _ in range(PROBE_STEPS):
        residual = float(np.linalg.norm(basis.residuals[:, 0]))
        value, missed = float(basis.values[0]), doubt_of(problem.length) * residual
        probe = Probe(vectors.shape[1], value, residual, value + missed, basis.vectors)
        directions = search_directions(basis, [vectors])
        if missed <= TOLD_APART * abs(below - value) or directions.shape[1] == 0:
            break
        basis = stepped(basis, directions, multiply(directions))
    return probe
