"""Singular values that are equal where the rank cuts them: which of the equally good products a fit returns.

Where sigma_d and sigma_(d+1) are the same number, every choice of vectors in their common space is a best one, and the
products U V^T differ by as much as they can. The vectors that an iteration ends with depend on its rounding, and so on the
stragglers. Here the vectors are chosen by a rule that knows the common space alone: those nearest to fixed random vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.als.convergence import probed
from coded_als.als.problem import Problem
from coded_als.als.ritz import RitzBasis, orthonormal_complement, rayleigh_ritz, search_directions, stepped
from coded_als.arrays import EPS, Array

# Eigenvalues of D are equal if they differ by this part of them, or by rounding of the largest one.
EQUAL, ROUNDED = 1e-9, 32.0
# The space is known when its residuals are this part of the distance to the next value below, or rounding.
KNOWN = 1e-9
# A value below the tie has settled if its residual is this part of its distance from the tie.
SETTLED = 0.25
# Steps with the data, columns that a block is widened by where all of it is tied, and how far.
STEPS, WIDENED, WIDEST = 60, 8, 64


@dataclass(frozen=True)
class ResolvedCut:
    """The leading vectors of D, with a tie at the cut, if there is one, resolved."""

    basis: Array  # orthonormal columns, (l, d)
    # eigenvalues of D that are equal across the cut, descending; none where the cut lies between different ones
    tied: Array
    lost: float = 0.0  # the most of the objective that the choice may lose, because they are equal to rounding only
    # whether the vectors were chosen by the rule; not where the tie is wider than any block that was tried, or the
    # choice would lose too much
    chosen: bool = True


def resolved(problem: Problem, vectors: Array, rank: int, spare: float) -> ResolvedCut:
    """Decide whether the values at the cut are equal, and choose among equal ones, by products with the data.

    ``vectors``: orthonormal columns, (l, k) with k >= rank, near the leading eigenvectors of D; ``spare``: the most of the
    objective that the choice may lose.
    """
    basis, whole = _started(problem, vectors), False
    floor = ROUNDED * EPS * float(basis.values[0])
    for _ in range(STEPS):
        first, last = _tie(basis.values, rank, spare, floor)
        if last == basis.values.size < problem.length and last < rank + WIDEST:
            basis = _widened(problem, basis)
            continue
        directions = search_directions(basis, [])
        if directions.shape[1] > 0 and not _is_known(basis, last, floor):
            basis = stepped(basis, directions, problem.gram_product(directions))
            continue
        missed = _missed(problem, basis, last) if last - first > 1 else None
        whole = missed is None
        if whole or last >= rank + WIDEST:
            break
        basis = _widened(problem, basis, missed)
    first, last = _tie(basis.values, rank, spare, floor)
    if last - first < 2:
        return ResolvedCut(basis.vectors[:, :rank], basis.values[:0])
    tied = basis.values[first:last]
    lost = (rank - first) * float(tied[0] - tied[-1])
    if not whole or lost > spare:
        return ResolvedCut(basis.vectors[:, :rank], tied, chosen=False)
    inside = nearest(basis.vectors[:, first:last], rank - first)
    return ResolvedCut(np.hstack([basis.vectors[:, :first], inside]), tied, lost)


def _missed(problem: Problem, basis: RitzBasis, last: int) -> Array | None:
    """Directions to look for more of the tie in, (l, k); None where nothing of it is outside the first ``last`` vectors.

    The other vectors of the block can't tell: one that has converged hides the component of a missing direction in those
    that have not. A probe from a random start has had no time for that. Outside of the pairs that have settled it is
    quicker; their components of a missing direction are at most residual / distance (Davis and Kahan), which lowers the
    value that the probe would find by at most residual^2 / distance (and a sixteenth of that more).
    """
    if basis.values.size == problem.length:
        return None
    tie, values = float(basis.values[last - 1]), basis.values[last:]
    residuals = np.linalg.norm(basis.residuals[:, last:], axis=0)
    settled = int(np.argmin(np.append(residuals <= SETTLED * (tie - values), False)))
    lowered = float(np.sum(1.07 * residuals[:settled] ** 2 / (tie - values[:settled])))
    probe = probed(problem, basis.vectors[:, : last + settled], tie, None)
    return None if probe.above + lowered < tie else probe.vectors


def nearest(space: Array, count: int) -> Array:
    """So many orthonormal vectors of a space, which depend on the space alone and not on its basis.

    Those nearest to fixed random vectors, or the rest of the space without the nearest, whichever are fewer.

    ``space``: orthonormal columns, (l, k). Returns (l, count).
    """
    dimension = space.shape[1]
    fewer = min(count, dimension - count)
    fixed = np.random.default_rng(0).standard_normal((space.shape[0], fewer))
    turned = np.linalg.qr(space.T @ fixed, mode="complete")[0]
    return np.asarray(space @ (turned[:, :fewer] if fewer == count else turned[:, fewer:]))


def _tie(values: Array, rank: int, spare: float, floor: float) -> tuple[int, int]:
    """The first of the values that equal those at the cut, and the one after the last; one place where there is no tie."""
    if values.size <= rank:
        return rank - 1, rank
    inside = float(values[rank - 1])
    width = max(min(EQUAL * inside, spare / (4 * rank)), floor)
    if inside - values[rank] > width:
        return rank - 1, rank
    return int(np.sum(values > inside + width)), int(np.sum(values >= inside - width))


def _is_known(basis: RitzBasis, last: int, floor: float) -> bool:
    """Whether the space of the first ``last`` vectors is as good as it can be, and the next value not about to join it."""
    norms = np.linalg.norm(basis.residuals, axis=0)
    if last == basis.values.size:
        return bool(norms.max() <= floor)
    distance = float(basis.values[last - 1] - basis.values[last])
    fine = norms[:last].max() <= max(KNOWN * distance, floor)
    return bool(fine and norms[last] <= max(SETTLED * distance, floor))


def _started(problem: Problem, vectors: Array) -> RitzBasis:
    """Ritz vectors of a block that has a few columns more than was given."""
    block = _with_others(vectors, min(WIDENED, problem.length - vectors.shape[1]))
    return rayleigh_ritz([block], [problem.gram_product(block)], keep=block.shape[1])


def _widened(problem: Problem, basis: RitzBasis, others: Array | None = None) -> RitzBasis:
    """The same block with random columns beside it, or with given ones, (l, k)."""
    width = basis.values.size
    if others is None:
        block = _with_others(basis.vectors, min(WIDENED, problem.length - width))
    else:
        block = np.hstack([basis.vectors, orthonormal_complement(others, [basis.vectors])])
    images = np.hstack([basis.images, problem.gram_product(block[:, width:])])
    return rayleigh_ritz([block], [images], keep=block.shape[1])


def _with_others(vectors: Array, count: int) -> Array:
    """Orthonormal columns, and so many random ones beside them."""
    others = np.random.default_rng(vectors.shape).standard_normal((vectors.shape[0], count))
    return np.hstack([vectors, orthonormal_complement(others, [vectors])]) if count else vectors
