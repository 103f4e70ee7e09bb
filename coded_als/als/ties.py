"""Singular values that are equal where the rank cuts them: which of the equally good products a fit returns.

Where sigma_d and sigma_(d+1) are the same number, every choice of vectors in their common space is a best one, and the
products U V^T differ by as much as they can. What an iteration happens to end with depends on its rounding, and so on who
was slow. Here the vectors are chosen by a rule that knows the common space alone: those nearest to fixed random vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.als.convergence import doubt_of
from coded_als.als.problem import Problem
from coded_als.als.ritz import RitzBasis, orthonormal_complement, rayleigh_ritz, search_directions, stepped
from coded_als.arrays import EPS, Array

# Eigenvalues of D whose difference is this part of them, or rounding of the largest one, are equal.
EQUAL, ROUNDED = 1e-9, 32.0
# The space is known when its residuals are this part of the distance to what is below, or rounding.
KNOWN = 1e-9
# Columns of a block beyond the tie: one alone is nearly orthogonal to a missing direction once in ten blocks, four
# together once in ten thousand.
SPARE = 4
# Steps with the data, columns that a block is widened by where it has no more to spare, and how far.
STEPS, WIDENED, WIDEST = 60, 8, 64


@dataclass(frozen=True)
class ResolvedCut:
    """The leading vectors of D, with a tie at the cut, if there is one, resolved.

    Parameters
    ----------
    basis
        Orthonormal columns, (l, d).
    tied
        Eigenvalues of D that are equal across the cut, descending; none where the cut lies between different ones.
    lost
        What the choice may lose of the objective, because they are equal to rounding only.
    chosen
        Whether the vectors were chosen by the rule; not where the tie is wider than any block that was tried.
    """

    basis: Array
    tied: Array
    lost: float = 0.0
    chosen: bool = True


def resolved(problem: Problem, vectors: Array, rank: int, worth: float) -> ResolvedCut:
    """Tell whether the values at the cut are equal, and choose among equal ones; the data themselves are multiplied with.

    ``vectors``: orthonormal columns, (l, k) with k >= rank, near the leading eigenvectors of D.
    """
    basis = _started(problem, vectors)
    floor = ROUNDED * EPS * float(basis.values[0])
    for _ in range(STEPS):
        first, last = _tie(basis.values, rank, worth, floor)
        if basis.values.size < min(last + SPARE, problem.length):
            if last >= rank + WIDEST:
                break
            basis = _widened(problem, basis)
            continue
        directions = search_directions(basis, [])
        if directions.shape[1] == 0 or _is_known(basis, last, floor, problem.length):
            break
        basis = stepped(basis, directions, _multiplied(problem, directions))
    first, last = _tie(basis.values, rank, worth, floor)
    if last - first < 2:
        return ResolvedCut(basis.vectors[:, :rank], basis.values[:0])
    tied = basis.values[first:last]
    if not _is_whole(basis, last, problem.length):
        return ResolvedCut(basis.vectors[:, :rank], tied, chosen=False)
    inside = nearest(basis.vectors[:, first:last], rank - first)
    lost = (rank - first) * float(tied[0] - tied[-1])
    return ResolvedCut(np.hstack([basis.vectors[:, :first], inside]), tied, lost)


def nearest(space: Array, count: int) -> Array:
    """So many orthonormal vectors of a space, which depend on the space alone and not on its basis.

    Those nearest to fixed random vectors, or what is left without the nearest, whichever is fewer to find.

    ``space``: orthonormal columns, (l, k). Returns (l, count).
    """
    dimension = space.shape[1]
    fewer = min(count, dimension - count)
    fixed = np.random.default_rng(0).standard_normal((space.shape[0], fewer))
    turned = np.linalg.qr(space.T @ fixed, mode="complete")[0]
    return np.asarray(space @ (turned[:, :fewer] if fewer == count else turned[:, fewer:]))


def _tie(values: Array, rank: int, worth: float, floor: float) -> tuple[int, int]:
    """The first of the values that equal those at the cut, and the one after the last; one place where there is no tie."""
    if values.size <= rank:
        return rank - 1, rank
    inside = float(values[rank - 1])
    width = max(min(EQUAL * inside, worth / (4 * rank)), floor)
    if inside - values[rank] > width:
        return rank - 1, rank
    return int(np.sum(values > inside + width)), int(np.sum(values >= inside - width))


def _is_known(basis: RitzBasis, last: int, floor: float, length: int) -> bool:
    """Whether the space of the first ``last`` vectors is as good as it can be, and the next value not about to join it."""
    norms = np.linalg.norm(basis.residuals, axis=0)
    if last == basis.values.size:
        return bool(norms.max() <= floor)
    distance = float(basis.values[last - 1] - basis.values[last])
    return bool(norms[:last].max() <= max(KNOWN * distance, floor) and _is_whole(basis, last, length))


def _is_whole(basis: RitzBasis, last: int, length: int) -> bool:
    """Whether no more of the tie is outside of the block.

    A tied direction that is missing has a component c in the next vector, whose residual is then at least c times its
    distance from the tie; iterating never shrinks c, and it was seldom below 1 / `doubt_of` in the random start.
    """
    if last == basis.values.size:
        return last == length
    distance = float(basis.values[last - 1] - basis.values[last])
    return doubt_of(length) * float(np.linalg.norm(basis.residuals[:, last])) <= distance


def _multiplied(problem: Problem, columns: Array) -> Array:
    return problem.adjoint(problem.image(columns))


def _started(problem: Problem, vectors: Array) -> RitzBasis:
    """Ritz vectors of a block that has a few columns more than was given."""
    block = _with_others(vectors, min(WIDENED, problem.length - vectors.shape[1]))
    return rayleigh_ritz([block], [_multiplied(problem, block)], keep=block.shape[1])


def _widened(problem: Problem, basis: RitzBasis) -> RitzBasis:
    width = basis.values.size
    block = _with_others(basis.vectors, min(WIDENED, problem.length - width))
    images = np.hstack([basis.images, _multiplied(problem, block[:, width:])])
    return rayleigh_ritz([block], [images], keep=block.shape[1])


def _with_others(vectors: Array, count: int) -> Array:
    """Orthonormal columns, and so many random ones beside them."""
    others = np.random.default_rng(vectors.shape).standard_normal((vectors.shape[0], count))
    return np.hstack([vectors, orthonormal_complement(others, [vectors])]) if count else vectors
