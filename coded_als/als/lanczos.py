"""A block Krylov space of a symmetric matrix D, with full reorthogonalisation and thick restarts (block Lanczos).

It keeps every direction that D was multiplied with. One relation holds all the time, D Q = [Q V] H: Q are the columns
multiplied with, V those that come next, and H has been measured, not assumed: the part of H that is not symmetric is
the error of the products. Ritz values and the norms of their residuals follow from H alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, eigh

from coded_als.als.ritz import GRAM_FLOOR, RitzPairs, cholesky_qr, require_orthonormal, thin_svd
from coded_als.als.updates import symmetric
from coded_als.arrays import EPS, Array
from coded_als.models.checkpoint import Settled, arrays_like

# The basis has at most so many times the columns of a block of rank and guards: the memory that a locally optimal
# iteration takes for three blocks with images, which it copies as they turn.
CAPACITY = 12
# The basis of narrow blocks has fewer columns at first, so many times rank and guards or so many blocks: a restart from its best
# half costs them hardly a round, and the algebra of a round grows with the columns. But values that lie close together need more:
# each restart doubles it.
NARROW_CAPACITY, BLOCKS = 3.5, 14
# Rows of a product that is subtracted: with usual widths they are in the second cache.
PANEL_ROWS = 4096
# OpenBLAS copies the factors of a product with more multiplications than this; parts with fewer rows cost too many calls.
COPIED, FEW_ROWS = 1_000_000, 512
# NumPy and SciPy bring a BLAS each, and threads of the one spin for a while where the other works: on two cores a small
# step of SciPy between two of NumPy takes some ten times as long. So every step calls NumPy, with one exception: SciPy computes
# the leading pairs of a relation with more columns than this, as NumPy would compute all of them, which takes longer still (of
# 600 columns 7 ms longer, of 1,000 30 and of 1,600 140, where a change of library costs some 50).
ALL_PAIRS = 1200
# The defect from orthonormality that is left alone, and the one that is gone when the columns are made so once more.
ORTHOGONAL, ALMOST = 128 * EPS, 1e-8
# Columns shorter than NOISE units of rounding of D are rounding alone. A unit column joins the others if the JOINING part
# of it is new.
NOISE, JOINING = 16.0, 1e-8


class KrylovSpace:
    """Orthonormal columns Q that were multiplied with, V that come next, and H with D Q = [Q V] H.

    All columns lie in one array, (l, capacity), in Fortran order: no step copies them as a whole.
    """

    def __init__(self, length: int, wanted: int, capacity: int, most: int = 0) -> None:
        self.known, self.next = 0, 0
        self._wanted, self._defect, self._locked = wanted, EPS, 0
        # the most columns that a restart may make room for
        self._most = max(capacity, most)
        # columns of the random start
        self.begun = 0
        self._columns: Array = np.empty((length, capacity), order="F")
        self._relation: Array = np.zeros((capacity, capacity), order="F")
        self._settled: list[Settled] = []
        # leading eigenpairs of the relation: a restart takes those that the last judgement has computed
        self._solved: tuple[Array, Array] | None = None

    @classmethod
    def empty(cls, length: int, wanted: int, width: int) -> KrylovSpace:
        """A space without columns, with room for an iteration that wants ``wanted`` pairs from blocks of ``width`` columns."""
        least, most = wanted + 4 * width, CAPACITY * wanted
        enough = min(most, max(int(NARROW_CAPACITY * wanted), BLOCKS * width))
        return cls(length, wanted, *(min(length, max(columns, least)) for columns in (enough, most)))

    @classmethod
    def outside(cls, vectors: Array, room: int) -> KrylovSpace:
        """A space of D on the complement of orthonormal columns, (l, k), with room for ``room`` columns, and no restarts."""
        length, locked = vectors.shape
        space = cls(length, room, min(length, locked + room))
        space._columns[:, :locked] = vectors
        space.known = space._locked = locked
        return space

    @property
    def length(self) -> int:
        """l."""
        return int(self._columns.shape[0])

    @property
    def pending(self) -> Array:
        """V, (l, b): the columns to be multiplied with next."""
        return self._columns[:, self.known : self._total]

    @property
    def _total(self) -> int:
        return self.known + self.next

    def grow(self, images: Array) -> None:
        """Take D V, (l, b): V joins Q, and the part of its images that is new comes next."""
        first, total, self._solved = self.known, self._total, None
        images, space = np.array(images, order="F"), self._columns[:, :total]
        scale = max(float(np.linalg.norm(images, axis=0).max(initial=0.0)), self._scale)
        expected = self._taken_as_expected(images)
        rest = _taken_out(space, images)
        fresh, triangle, defect = _orthonormal(images, space, rest, NOISE * EPS * scale, self._defect)
        self._relation[:total, first:total] = expected + rest
        self._relation[: self._locked, first:total] = 0.0
        self.known, self.next = total, 0
        added = self._append(fresh, defect)
        self._relation[total : total + added, first:total] = triangle[:added]

    def _taken_as_expected(self, images: Array) -> Array:
        """Take out of D V, (l, b), in place, the coordinates that the relation tells by its symmetry, and those in V.

        Returns the coordinates, (total, b). This removes nearly all of the part in the space, at the cost of the few columns
        that V came from, so the whole space has to be taken out once instead of twice. Errors of the relation do no harm:
        the coordinates that are left are measured.
        """
        first, total = self.known, self._total
        expected: Array = np.zeros((total, images.shape[1]), order="F")
        expected[:first] = self._relation[first:total, :first].T
        came_from = np.flatnonzero(expected.any(axis=1))
        if came_from.size:
            # they lie together: the last block, or all that a restart has kept
            near = slice(int(came_from[0]), int(came_from[-1]) + 1)
            _subtract(images, self._columns[:, near], expected[near])
        expected[first:] = _taken_out(self.pending, images)
        return expected

    def join(self, columns: Array) -> None:
        """Let the part of some columns, (l, k), that is new come next, beside V."""
        sizes = np.linalg.norm(columns, axis=0)
        columns = np.array(columns / np.maximum(sizes, np.finfo(np.float64).tiny), order="F")
        space = self._columns[:, : self._total]
        taken = _taken_out(space, columns)
        fresh, _, defect = _orthonormal(columns, space, taken, JOINING, self._defect)
        self._append(fresh, defect)

    def _append(self, fresh: Array, defect: float) -> int:
        """Columns that come next, as many as there is room for in the space."""
        total = self._total
        fresh = fresh[:, : self.length - total]
        added = int(fresh.shape[1])
        self._columns[:, total : total + added] = fresh
        self._settled.append(Settled(self._columns[:, total : total + added]))
        self._relation[total : total + added, :total] = 0.0
        self.next += added
        self._defect = max(self._defect, defect)
        return added

    @property
    def coupling(self) -> float:
        """The norm of the part of D Q outside of Q."""
        return float(np.linalg.norm(self._relation[self.known : self._total, : self.known]))

    @property
    def _scale(self) -> float:
        """About |D|, as far as it has been seen."""
        return float(np.abs(np.diagonal(self._relation)[: self.known]).max(initial=0.0))

    def ritz(self, count: int) -> tuple[Array, Array, Array]:
        """The leading Ritz values, (k,), their coordinates in Q, (j, k), and the norms of their residuals, (k,)."""
        values, rotation = self._eigenpairs(count)
        left = self._measured @ rotation
        left[: len(rotation)] -= rotation * values
        return values, rotation, np.linalg.norm(left, axis=0)

    @property
    def _measured(self) -> Array:
        """H without the part of columns that are locked, (total, known)."""
        return self._relation[self._locked : self._total, self._locked : self.known]

    @property
    def _restricted(self) -> Array:
        """Q^T D Q, (known, known)."""
        return symmetric(self._measured[: self.known - self._locked])

    def _eigenvalues(self) -> Array:
        """All Ritz values, (known,), descending, in half of the time that eigenpairs take."""
        return np.asarray(np.linalg.eigvalsh(self._restricted)[::-1])

    def _eigenpairs(self, count: int) -> tuple[Array, Array]:
        """The leading Ritz values, (k,), and their coordinates in Q, (j, k)."""
        count = min(count, self.known - self._locked)
        if self._solved is None or self._solved[0].size < count:
            self._solved = _leading(self._restricted, count)
        return self._solved[0][:count], self._solved[1][:, :count]

    def pairs(self, count: int, rank: int, *, values_alone: bool = False) -> RitzPairs:
        """The leading Ritz pairs, of which those beyond the rank are guards.

        ``values_alone``: whether all but the values is computed on demand, while the space stays as it is.
        """
        values = self._eigenvalues()[:count] if values_alone else self._eigenpairs(count)[0]
        guards = max(values.size - rank, 0)
        return RitzPairs(values, lambda: self.vectors(self._eigenpairs(count)[1]), lambda: self.ritz(count)[2], guards)

    def vectors(self, rotation: Array) -> Array:
        """Q times coordinates, (l, k)."""
        return self._columns[:, self._locked : self._locked + rotation.shape[0]] @ rotation

    def make_room(self, columns: int) -> bool:
        """Restart where the next step with so many columns would not fit; whether that was needed.

        The best Ritz vectors of Q stay, and V: the relation goes on to hold.
        """
        needed, capacity = self._total + columns, self._columns.shape[1]
        if needed <= capacity or capacity >= self.length:
            return False
        keep = max(self._wanted, capacity // 2)
        if keep + self.next + columns > capacity:
            self._widen(min(self.length, keep + 3 * (self.next + columns)))
            return self.make_room(columns)
        self._restart(keep)
        return True

    def _restart(self, keep: int) -> None:
        known, total = self.known, self._total
        _, rotation = self._eigenpairs(keep)
        kept = rotation.shape[1]
        relation = self._relation[:total, :known] @ rotation
        blocks = [self.vectors(rotation), self.pending]
        # a wide block may have made it larger than that
        capacity = max(len(self._relation), min(2 * len(self._relation), self._most))
        self._relation = np.zeros((capacity, capacity), order="F")
        self._begin_anew(blocks)
        self._relation[:kept, :kept] = rotation.T @ relation[:known]
        self._relation[kept : kept + self.next, :kept] = relation[known:]
        self.known = kept

    def _widen(self, capacity: int) -> None:
        relation = self._relation
        self._relation = np.zeros((capacity, capacity), order="F")
        self._relation[: len(relation), : len(relation)] = relation
        self._begin_anew([self._columns[:, : self._total]])

    def _begin_anew(self, blocks: list[Array]) -> None:
        """Columns in an array of their own: a snapshot may still have to be written of the old one."""
        columns: Array = np.empty((self.length, len(self._relation)), order="F")
        self._settled, self._solved, first = [], None, 0
        for block in blocks:
            last = first + block.shape[1]
            columns[:, first:last] = block
            self._settled.append(Settled(columns[:, first:last]))
            first = last
        self._columns = columns

    def state(self) -> dict[str, Any]:
        """Q and V in blocks, (l, total) together, and H, (total, known), as `of` takes them."""
        total = self._total
        columns = {f"columns{place:05d}": block for place, block in enumerate(self._settled)}
        relation = self._relation[:total, : self.known].copy()
        numbers = {"defect": self._defect, "begun": self.begun, "capacity": len(self._relation)}
        return {**columns, "relation": relation, **{name: np.array([number]) for name, number in numbers.items()}}

    @classmethod
    def of(cls, arrays: Mapping[str, Array], length: int, wanted: int, width: int) -> KrylovSpace:
        """The space that another run's `state` has given."""
        names = sorted(name for name in arrays if name.startswith("columns"))
        widths = {name: (length, f"width of {name}") for name in names}
        number = np.zeros(1, dtype=np.int64)
        taken = arrays_like(arrays, **widths, relation=("total", "known"), defect=(1,), begun=number, capacity=number)
        blocks = [taken[name] for name in names]
        if len(taken["relation"]) != sum(block.shape[1] for block in blocks):
            raise ValueError(f"it relates {len(taken['relation'])} columns, and holds others")
        require_orthonormal(np.hstack(blocks))
        total, known = taken["relation"].shape
        space = cls.empty(length, wanted, width)
        if known > total:
            raise ValueError(f"it relates {known} columns to {total}")
        capacity = max(len(space._relation), min(int(taken["capacity"][0]), space._most))
        space._widen(max(total, capacity))
        space._begin_anew(blocks)
        space._relation[:total, :known] = taken["relation"]
        space.known, space.next = known, total - known
        space._defect, space.begun = float(taken["defect"][0]), int(taken["begun"][0])
        return space

    def renew(self, vectors: Array) -> None:
        """Begin again with orthonormal columns, (l, k), as images so far are not trusted any more."""
        self.known, self.next = 0, 0
        self._begin_anew([])
        self.join(vectors)


def _leading(matrix: Array, count: int) -> tuple[Array, Array]:
    """The leading eigenpairs of a symmetric matrix, descending, so many or more."""
    size = len(matrix)
    if size > ALL_PAIRS:
        # the method that finds some pairs may fail on many equal values
        with suppress(LinAlgError):
            some, theirs = eigh(matrix, subset_by_index=(size - count, size - 1), check_finite=False)
            return some[::-1], np.asfortranarray(theirs[:, ::-1])
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1], np.asfortranarray(vectors[:, ::-1])


def _taken_out(space: Array, columns: Array) -> Array:
    """Take the part in an orthonormal space, (l, k), out of columns, (l, b), in place; its coordinates, (k, b)."""
    taken = _coordinates(space, columns)
    _subtract(columns, space, taken)
    return taken


def _coordinates(space: Array, columns: Array) -> Array:
    """S^T C, (k, b), of a space, (l, k), and columns, (l, b), both in Fortran order."""
    # of few columns some rows at a time, which BLAS multiplies as they lie in memory; it copies larger parts into an order of its
    # own first, which takes as long as the product
    rows = COPIED // max(1, space.shape[1] * columns.shape[1])
    if not FEW_ROWS <= rows < len(columns):
        return np.asarray((columns.T @ space).T)
    taken: Array = np.zeros((columns.shape[1], space.shape[1]))
    for start in range(0, len(columns), rows):
        taken += columns[start : start + rows].T @ space[start : start + rows]
    return np.asarray(taken.T)


def _subtract(columns: Array, space: Array, coordinates: Array) -> None:
    """Subtract S C of a space, (l, k), and coordinates, (k, b), from columns, (l, b), in place; all in Fortran order."""
    # some rows at a time, so that the cache still holds the product when it is subtracted
    for start in range(0, len(columns), PANEL_ROWS):
        rows = slice(start, start + PANEL_ROWS)
        columns[rows].T[...] -= coordinates.T @ space[rows].T


def _orthonormal(columns: Array, space: Array, taken: Array, noise: float, defect: float) -> tuple[Array, Array, float]:
    """Orthonormal columns, (l, k), a triangle, (k, b), and their defect; directions shorter than noise are dropped.

    The product of the first two is ``columns``, (l, b), overwritten: the rest of columns without the coordinates
    ``taken``, (j, b), in a space, (l, j). The defect of the space from orthonormality has grown in them as much as they
    have become shorter: where that is too much, the space is taken out once more, and ``taken`` mended. Done once in
    every round, it would grow from round to round.
    """
    before = float(np.sqrt(np.sum(taken**2, axis=0) + np.sum(columns**2, axis=0)).max(initial=0.0))
    fresh, triangle, smallest = _factored(columns, noise)
    grown = defect * before / max(smallest, np.finfo(np.float64).tiny)
    passes = 0 if grown <= ORTHOGONAL else 1 if grown <= ALMOST else 2
    for _ in range(passes):
        taken += _taken_out(space, fresh) @ triangle
        fresh, second, _ = _factored(fresh, JOINING)
        triangle = second @ triangle
    if passes == 0:
        fresh, second = _mended(fresh)
        triangle = second @ triangle
    return fresh, triangle, EPS if passes else grown


def _mended(columns: Array) -> tuple[Array, Array]:
    """Orthonormal columns, (l, k), and coordinates, (k, k), of columns that are nearly so, (l, k), overwritten."""
    off = columns.T @ columns - np.eye(columns.shape[1])
    if np.abs(off).max(initial=0.0) > ALMOST:
        fresh, triangle, _ = _factored(columns, 0.0)
        return fresh, triangle
    # the root of the Gram matrix to first order: what is left is the square of a number below rounding
    columns -= (0.5 * off @ columns.T).T
    return columns, np.eye(len(off)) + 0.5 * off


def _factored(columns: Array, noise: float) -> tuple[Array, Array, float]:
    """Orthonormal columns, (l, k), their coordinates, (k, b), and the least singular value, of columns, (l, b).

    By Cholesky QR where the Gram matrix has the digits for it; else singular vectors without those below the noise.
    """
    gram = columns.T @ columns
    squares = np.linalg.eigvalsh(gram)
    if squares.size and squares[0] > max(GRAM_FLOOR * squares[-1], noise**2):
        fresh, triangle = cholesky_qr(columns, gram)
        return fresh, triangle, float(np.sqrt(squares[0]))
    left, sizes, right = thin_svd(columns)
    kept = sizes > max(noise, np.finfo(np.float64).tiny)
    triangle = sizes[kept, np.newaxis] * right[kept]
    return np.asfortranarray(left[:, kept]), triangle, float(sizes.min(initial=0.0))
