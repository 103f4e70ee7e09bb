"""The survivors from which a code decodes worst: all sets where they are few, else those that a search finds.

The largest error of decoding belongs to the worst set of workers that respond, and W over p sets are too many to
examine. A search examines three kinds: sets without neighbours, random sets, and sets made from these, and from all
workers, by exchanging or leaving out the worker that costs most digits when it is missing. It finds lower bounds of the
worst error, a thousand times above those of random sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.arrays import Array
from coded_als.codes.decoding import LinearCode, solve_triangular
from coded_als.codes.entangled import EntangledPolynomialCode
from coded_als.codes.replication import ReplicatedProduct
from coded_als.codes.systematic import SystematicCode

Survivors = tuple[int, ...]
# Default number of sets that a search examines, and of the worst of them that it keeps.
LOOKED_AT, KEPT = 2000, 50
# A set with an error estimate above it does not decode.
NO_DIGITS = 0.01
# Additions that one exchange tries, and sets without neighbours that a search starts from.
TRIED, CONTIGUOUS = 4, 100


class Decodable(Protocol):
    """The part of a code that a search needs."""

    @property
    def workers(self) -> int:
        """Number of workers W."""
        ...

    @property
    def recovery_threshold(self) -> int:
        """Responses without which no set of workers suffices."""
        ...

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Estimated relative error of decoding from these workers; infinite where they do not suffice."""
        ...


@dataclass(frozen=True)
class WorstSurvivors:
    """The sets of one size that decode worst, among the examined ones."""

    sets: tuple[Survivors, ...]  # worker ids, ascending, the worst set first
    estimates: tuple[float, ...]  # estimated error of decoding from each
    looked_at: int  # sets that were looked at
    exhaustive: bool  # whether those are all sets of this size

    @property
    def worst(self) -> float:
        """The largest estimate; infinite where some set does not decode at all."""
        return self.estimates[0]


def worst_survivors(
    code: Decodable, size: int, looked_at: int = LOOKED_AT, seed: int = 0, starts: Iterable[Survivors] = ()
) -> WorstSurvivors:
    """The sets of workers of one size from which a code decodes worst. Returns the worst, fifty at most."""
    # many tiny systems: BLAS threads that spin for each other take a hundred times as long
    with threadpool_limits(1, "blas"):
        return _searched(code, size, looked_at, seed, starts)


def _searched(code: Decodable, size: int, looked_at: int, seed: int, starts: Iterable[Survivors]) -> WorstSurvivors:
    search = _Search(code)
    if comb(code.workers, size) <= looked_at:
        for chosen in combinations(range(code.workers), size):
            search.look_at(chosen)
        return search.found(exhaustive=True)
    for chosen in [*starts, *_without_neighbours(code.workers, size), *search.thinned(size)]:
        search.look_at(chosen)
    rng = np.random.default_rng(seed)
    while len(search.known) < looked_at // 4:
        search.look_at(rng.permutation(code.workers)[:size].tolist())
    search.exchange(looked_at, rng)
    return search.found(exhaustive=False)


def _without_neighbours(workers: int, size: int) -> list[Survivors]:
    """All workers but neighbours, around the end too."""
    firsts = np.unique(np.linspace(0, workers - 1, CONTIGUOUS).astype(int))
    return [tuple(sorted((first + place) % workers for place in range(size))) for first in firsts.tolist()]


class _Search:
    """Examined sets, and the ways to worse ones."""

    def __init__(self, code: Decodable) -> None:
        self._code, self._guide = code, _guide_of(code)
        self.known: dict[Survivors, float] = {}

    def look_at(self, chosen: Iterable[int]) -> float:
        """The estimate of a set, remembered."""
        survivors = tuple(sorted(int(worker) for worker in chosen))
        if survivors not in self.known:
            self.known[survivors] = float(self._code.error_estimate(survivors))
        return self.known[survivors]

    def found(self, *, exhaustive: bool) -> WorstSurvivors:
        """The worst of the sets examined."""
        worst = sorted(self.known, key=lambda survivors: (-self.known[survivors], survivors))[:KEPT]
        return WorstSurvivors(
            tuple(worst), tuple(self.known[survivors] for survivors in worst), len(self.known), exhaustive
        )

    def thinned(self, size: int) -> list[Survivors]:
        """All workers less, one after the other, the worker that costs most when it is missing."""
        if self._guide is None:
            return []
        chosen = list(range(self._code.workers))
        while len(chosen) > size:
            chosen.pop(int(np.argmax(self._guide.without(chosen))))
        return [tuple(chosen)]

    def exchange(self, looked_at: int, rng: np.random.Generator) -> None:
        """Exchange one worker of the worst sets for another as long as that makes them worse."""
        done: set[Survivors] = set()
        while len(self.known) < looked_at:
            start = max(self.known.keys() - done, key=self.known.__getitem__, default=None)
            if start is None or len(start) == self._code.workers:
                return
            done.add(start)
            for neighbour in self._neighbours(start, rng):
                self.look_at(neighbour)

    def _neighbours(self, chosen: Survivors, rng: np.random.Generator) -> list[list[int]]:
        """Sets that differ by one worker: those that the guide expects to be the worst, or random ones."""
        outside = np.setdiff1d(np.arange(self._code.workers), chosen)
        found = []
        if self._guide is None or not np.isfinite(self.known[chosen]):
            for _ in range(TRIED):
                others = list(chosen)
                others[rng.integers(len(others))] = int(rng.choice(outside))
                found.append(others)
            return found
        for added in outside[np.argsort(self._guide.helpfulness(chosen, outside.tolist()))[:TRIED]]:
            grown = [*chosen, int(added)]
            # the one that was added stays: without it the set would be as it was
            costs = self._guide.without(grown)[:-1]
            grown.pop(int(np.argmax(costs)))
            found.append(grown)
        return found


@dataclass(frozen=True)
class _Guide:
    """Changes of a decoder's squared norm by one worker more or less, from rows (W, planes, unknowns) of the code."""

    rows: Array

    def without(self, chosen: Sequence[int]) -> Array:
        """Growth of the squared norm when one of ``chosen`` is missing, (len(chosen),); infinite where all is lost."""
        small, large = self._seen(chosen, chosen)
        loss = np.eye(small.shape[1]) - small
        flat = np.linalg.det(loss) <= 1e-12
        loss[flat] = np.eye(small.shape[1])
        return np.where(flat, np.inf, np.trace(np.linalg.solve(loss, large), axis1=1, axis2=2))

    def helpfulness(self, chosen: Sequence[int], others: Sequence[int]) -> Array:
        """Fall of the squared norm when one of ``others`` is added, (len(others),)."""
        small, large = self._seen(chosen, others)
        return np.asarray(np.trace(np.linalg.solve(np.eye(small.shape[1]) + small, large), axis1=1, axis2=2))

    def _seen(self, chosen: Sequence[int], others: Sequence[int]) -> tuple[Array, Array]:
        """a N^-1 a^T and a N^-2 a^T for the rows a of each other worker, N = A^T A of the chosen, (others, planes, planes)."""
        planes, unknowns = self.rows.shape[1:]
        triangle = np.linalg.qr(self.rows[list(chosen)].reshape(-1, unknowns))[1]
        floor = np.finfo(np.float64).eps * np.abs(triangle).max()
        diagonal = np.diagonal(triangle)
        triangle[np.diag_indices(unknowns)] = np.where(np.abs(diagonal) < floor, floor, diagonal)
        sides = self.rows[list(others)].reshape(-1, unknowns).T
        once = solve_triangular(triangle, sides, transposed=True)
        twice = solve_triangular(triangle, once)
        both = (part.T.reshape(len(others), planes, unknowns) for part in (once, twice))
        small, large = (part @ part.transpose(0, 2, 1) for part in both)
        return small, large


def _guide_of(code: Decodable) -> _Guide | None:
    """The guide of a code with known rows."""
    if isinstance(code, SystematicCode):
        return _Guide(np.vstack([np.eye(code.recovery_threshold), code.parities])[:, np.newaxis])
    return _Guide(code.coefficients) if isinstance(code, LinearCode) else None


@dataclass(frozen=True)
class Enough:
    """The number of responses that are enough to decode."""

    workers: int  # W
    at_best: int  # the fewest of which some set decodes
    # the fewest of which every set decodes to the tolerance, as far as was looked; None where not even all do
    always: int | None
    looked_at: int  # sets that were looked at
    proved: bool  # whether the count is certain: by the structure of the code, or because all sets were examined
    worst: float  # the largest estimated error found for ``always`` responses; infinite where there is no such number

    @property
    def tolerated(self) -> int:
        """Number of workers that may be missing, in any combination."""
        return 0 if self.always is None else self.workers - self.always


def enough_by_structure(code: Decodable, looked_at: int = LOOKED_AT) -> Enough:
    """The number of responses that are enough to decode at all, with any error."""
    workers, at_best = code.workers, code.recovery_threshold
    if isinstance(code, ReplicatedProduct):
        # all copies of one block can be among the missing
        always = workers - min(map(len, code.groups)) + 1
        return Enough(workers, at_best, always, 0, True, code.error_estimate(range(always)))
    if isinstance(code, (SystematicCode, EntangledPolynomialCode)):
        return Enough(workers, at_best, at_best, 0, True, np.nan)
    return enough_for(code, NO_DIGITS, looked_at)


def enough_for(code: Decodable, tolerance: float, looked_at: int = LOOKED_AT) -> Enough:
    """The number of responses that always decode to a tolerance, by the code's own estimate."""
    if isinstance(code, ReplicatedProduct):
        return enough_by_structure(code)
    workers, at_best, looked = code.workers, code.recovery_threshold, 0
    bad: tuple[Survivors, ...] = ()
    for size in range(at_best, workers + 1):
        # one bad set is enough to go on: those that were too small, with one more worker, are the likeliest
        bad = tuple(grown for grown in {_grown(code, survivors) for survivors in bad})
        looked += len(bad)
        if any(code.error_estimate(survivors) > tolerance for survivors in bad):
            continue
        found = worst_survivors(code, size, looked_at, starts=bad)
        looked += found.looked_at
        if found.worst <= tolerance:
            return Enough(workers, at_best, size, looked, found.exhaustive, found.worst)
        bad = found.sets[:TRIED]
    return Enough(workers, at_best, None, looked, True, np.inf)


def _grown(code: Decodable, survivors: Survivors) -> Survivors:
    """A set with the worker added that helps it least."""
    outside = np.setdiff1d(np.arange(code.workers), survivors)
    guide = _guide_of(code)
    least = 0 if guide is None else int(np.argmin(guide.helpfulness(survivors, outside.tolist())))
    return tuple(sorted((*survivors, int(outside[least]))))
