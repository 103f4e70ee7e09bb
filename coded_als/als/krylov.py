"""Block Lanczos for the leading eigenpairs of D: no direction is forgotten, and the block may be narrower than the rank."""

from __future__ import annotations

from functools import partial

import numpy as np

from coded_als.als.lanczos import KrylovSpace
from coded_als.als.ritz import RitzPairs, orthonormal_complement
from coded_als.als.solving import SolverInput
from coded_als.arrays import Array
from coded_als.planner.solvers import GUARD_VECTORS

# Guards of a narrow block that a probe of the data may leave out: with more of them it takes fewer products.
DEFLATED = 20
# Columns of a relation whose values take much less time than its eigenvectors: an iteration that is far from the last needs
# the values alone.
MANY = 60
# Separate the random columns that join a narrow block, and those that complete a basis, from those of probes and of a start.
OTHERS, COMPLETING = 2, 3


def solve(given: SolverInput) -> tuple[Array, Array]:
    """A basis of the leading eigenvectors of D, one product with D a round.

    ``given.start`` may have any number of columns. Returns orthonormal Ritz vectors, guards included, twice, (l, k).
    """
    recorder, rank, (length, width) = given.recorder, given.rank, given.start.shape
    wanted = min(rank + GUARD_VECTORS, length)
    resumed = recorder.resumed(partial(KrylovSpace.of, length=length, wanted=wanted, width=width))
    space = KrylovSpace.empty(length, wanted, width) if resumed is None else resumed
    if resumed is None:
        space.join(given.start)
        space.begun = given.begun
    # a run that goes on may be given another width, but its evidence is that of its start
    width = space.begun
    recorder.begins_with(width)
    shown = min(width if width > rank else rank + DEFLATED, length)
    pairs = space.pairs(shown, rank) if space.known else RitzPairs.none()
    for _ in range(len(recorder.history), given.iterations):
        space.make_room(space.next)
        recorder.keep(**space.state())
        space.grow(given.held.gram_product(space.pending))
        early = space.known > MANY and recorder.is_far(pairs, space.coupling)
        pairs = space.pairs(shown, rank, values_alone=early)
        if recorder.finish(pairs, early=early, exhausted=space.next == 0, complete=space.known == length):
            break
        missed = recorder.missed()
        if missed is not None:
            width = min(2 * width, rank + GUARD_VECTORS)
            others = np.random.default_rng((OTHERS, length, space.known)).standard_normal((length, width))
            space.make_room(space.next + missed.shape[1] + width)
            space.join(np.hstack([missed, others]))
        elif recorder.renews():
            space.renew(pairs.vectors[:, :wanted])
        if space.next == 0:
            break
    # a run may go on from a space that has just begun anew, with no iteration left
    basis = _completed(pairs.vectors[:, : max(wanted, width)] if pairs.values.size else space.pending, rank)
    return basis, basis


def _completed(vectors: Array, rank: int) -> Array:
    """Orthonormal vectors, (l, k), and as many more as the rank needs: D vanishes on them, where it has no more."""
    lacking = rank - vectors.shape[1]
    if lacking <= 0:
        return vectors
    others = np.random.default_rng((COMPLETING, len(vectors))).standard_normal((len(vectors), lacking))
    return np.hstack([vectors, orthonormal_complement(others, [vectors])])
