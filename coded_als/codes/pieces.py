"""Shares in pieces: every share cut into c pieces of rows, and a product that decodes piece by piece.

Piece j of C = A B holds the j-th rows of every block. The responses of any workers that decode C decode piece j from their
j-th pieces alone, with the same coefficients. Worker w goes through its pieces in cyclic order from piece floor(w c / W), so
that the finished work of all workers at any time covers all pieces about equally: at equal speeds each piece has p
responses when each worker has done p/W of its share, and a slow worker counts with its finished pieces. Any code of
which a row of a response is a combination of rows of blocks can be used so; decoding costs as much as for whole
responses.

Prior art: hierarchical coded multiplication (Kiani, Ferdinand, Draper 2018), leveraging partial stragglers (Das,
Ramamoorthy 2020), multi-message communication (Ozfatura, Ulukus, Gunduz 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.checks import require_whole
from coded_als.codes.product import MatrixCode, MatrixShape
from coded_als.errors import DecodingError, NotEnoughWorkers
from coded_als.kernels import piece_rows

# Pieces that a worker has done, in its own order: the first so many.
Done = Mapping[int, int]


@dataclass(frozen=True)
class PieceLayout:
    """The order in which W workers go through the pieces of their shares."""

    workers: int  # number of workers W
    pieces: int  # pieces c of each share
    starts: tuple[int, ...] = ()  # the piece that each worker begins with; empty: they are spread evenly

    def __post_init__(self) -> None:
        require_whole("workers", self.workers, 1)
        require_whole("pieces", self.pieces, 1)

    def start(self, worker: int) -> int:
        """The piece that a worker begins with."""
        return self.starts[worker] if self.starts else worker * self.pieces // self.workers

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """In which place each worker has each piece, from 0, (W, c)."""
        starts = np.array(self.starts or np.arange(self.workers) * self.pieces // self.workers)
        return np.asarray((np.arange(self.pieces) - starts[:, np.newaxis]) % self.pieces)

    def counts(self, done: Done) -> NDArray[np.int64]:
        """Responses to each piece, (c,)."""
        chosen = np.fromiter(done, dtype=np.int64)
        return np.asarray((self.places[chosen] < np.array([*done.values()])[:, np.newaxis]).sum(axis=0))

    def responded(self, done: Done) -> Iterator[tuple[int, ...]]:
        """The workers that have responded to piece 0, 1, ..., each in the order of ``done``."""
        chosen = np.fromiter(done, dtype=np.int64)
        has = self.places[chosen] < np.array([*done.values()])[:, np.newaxis]
        for of_piece in has.T:
            yield tuple(chosen[of_piece].tolist())

    def rows(self, height: int, piece: int) -> slice:
        """The rows of one piece among those of a share."""
        return piece_rows(height, piece, self.pieces)

    def order(self, worker: int, height: int, first: int, last: int) -> list[slice]:
        """The rows that a worker computes from its place ``first`` to before its place ``last``, in that order."""
        start = self.start(worker)
        return [self.rows(height, (start + place) % self.pieces) for place in range(first, last)]

    def sums(self, answers: Mapping[int, Sequence[Array]], blocks: int) -> dict[int, Array]:
        """The sum of each block in float64, from the first answer to each of its pieces.

        ``answers``: of each worker, in its own order; worker w holds block w modulo ``blocks``.
        """
        parts: dict[tuple[int, int], Array] = {}
        for worker, found in answers.items():
            for place, part in enumerate(found):
                parts.setdefault((worker % blocks, (self.start(worker) + place) % self.pieces), part)
        # in the order of the pieces and not of arrival: the sum is the same to the last bit with any workers slow
        return {
            block: reduce(np.add, (parts[block, piece].astype(np.float64, copy=False) for piece in range(self.pieces)))
            for block in range(blocks)
        }


def arcs(done: NDArray[np.int64], turns: int, pieces: int) -> NDArray[np.int64]:
    """The piece that each worker begins with, where each is expected to have done so many pieces when a round ends.

    The workers' arcs of pieces are laid end to end, so that they cover the circle ``turns`` times, by as many pieces in
    all or more. Whenever they close a turn the next arc begins elsewhere: starts are spread, and the work of a worker
    that fails is not missed by all at once. ``done``: (W,).
    """
    spare, at = int(done.sum()) - turns * pieces, 0
    starts, groups = [], [0]
    for count in done.tolist():
        starts.append(at)
        at += count
        if at % pieces <= spare:  # pieces that are not needed may be covered once more
            spare, at = spare - at % pieces, 0
            groups.append(len(starts))
    turned = np.searchsorted(groups, np.arange(len(starts)), side="right") - 1
    return np.asarray((np.array(starts) + turned * pieces // (turned[-1] + 1)) % pieces)


def placed(layout: PieceLayout, worker: int, answers: Array, done: int, height: int) -> Array:
    """The rows of a worker's first pieces, (planes, rows, columns) in its own order, where they belong; zeros elsewhere.

    Returns (planes, ``height``, columns).
    """
    found = np.zeros((answers.shape[0], height, answers.shape[2]))
    at = 0
    for rows in layout.order(worker, height, 0, done):
        found[:, rows] = answers[:, at : at + rows.stop - rows.start]
        at += rows.stop - rows.start
    return found


@dataclass(frozen=True)
class CodeInPieces:
    """A code for workers that respond piece by piece."""

    code: MatrixCode
    layout: PieceLayout  # the pieces of its workers

    @property
    def recovery_threshold(self) -> int:
        """Responses to a piece without which it does not decode."""
        return self.code.recovery_threshold

    def error_estimate(self, done: Done) -> float:
        """Estimated error of C, relative to |A| |B| (Frobenius): that of the piece that decodes worst."""
        if not done or int(self.layout.counts(done).min()) < self.recovery_threshold:
            return np.inf
        return max(map(self.code.error_estimate, set(map(_sorted, self.layout.responded(done)))))

    def decode(
        self,
        responses: Mapping[int, Array],
        done: Done,
        shape: MatrixShape,
        tolerance: float | None = None,
    ) -> Array:
        """C of the given shape (N, Q) from the first pieces of each worker.

        ``responses``: by worker, (planes, rows, columns): the rows of its first pieces, one after the other in its own
        order; ``done``: number of these pieces; ``shape``: (N, Q); ``tolerance``: relative error that it may have; by
        default any. Raises NotEnoughWorkers when fewer workers respond than the code needs; DecodingError when the
        estimated error of all responses is above the tolerance.
        """
        self._require_decodable(done, tolerance)
        height = self.code.response_shape(shape)[1]
        whole = {worker: placed(self.layout, worker, responses[worker], done[worker], height) for worker in done}
        found = [self._decoded(whole, workers, rows) for workers, rows in self._stretches(done, height)]
        blocks = np.concatenate([part for part in found if part.size], axis=1)
        joined = blocks.reshape(-1, blocks.shape[2])[: shape[0], : shape[1]]
        return np.ascontiguousarray(joined)

    def _require_decodable(self, done: Done, tolerance: float | None) -> None:
        estimate = self.error_estimate(done)
        if np.isinf(estimate):
            fewest = int(self.layout.counts(done).min()) if done else 0
            raise NotEnoughWorkers(fewest, self.recovery_threshold, "This many have responded to one of the pieces.")
        if tolerance is not None and not estimate <= tolerance:
            raise DecodingError(estimate, tolerance)

    def _stretches(self, done: Done, height: int) -> Iterator[tuple[tuple[int, ...], slice]]:
        """Rows next to each other to which the same workers have responded."""
        pieces = enumerate(self.layout.responded(done))
        for workers, alike in groupby(pieces, lambda piece: piece[1]):
            numbers = [number for number, _ in alike]
            first, last = self.layout.rows(height, numbers[0]), self.layout.rows(height, numbers[-1])
            yield workers, slice(first.start, last.stop)

    def _decoded(self, whole: Mapping[int, Array], workers: tuple[int, ...], rows: slice) -> Array:
        """Some rows of all blocks of C, (blocks, rows, columns)."""
        height = rows.stop - rows.start
        if not height:
            return np.zeros((0, 0, 0))
        product = self.code.decode({worker: whole[worker][:, rows] for worker in workers})
        return product.reshape(-1, height, product.shape[1])


def _sorted(workers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(workers))


def require_pieces(pieces: object) -> None:
    """`UsageError` unless the number of pieces of a SPEC is one, or left open."""
    if pieces is not None:
        require_whole("pieces", pieces, 1)
