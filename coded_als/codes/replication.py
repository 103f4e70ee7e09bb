"""The products without a code: every block product on one worker, or on several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.checks import require_whole
from coded_als.codes.family import CodeSpec, register_code
from coded_als.codes.pieces import require_pieces
from coded_als.codes.product import BlockCut, MatrixShape, cut, join
from coded_als.errors import NotEnoughWorkers, UsageError


class ReplicatedProduct(BlockCut):
    """C = A B cut as for the entangled polynomial code, each of the pqr block products on ``copies`` workers.

    One copy waits for every worker. Workers beyond ``p q r copies`` take part as further copies of the first blocks.
    Copies of a block go to workers far apart in their ids.

    Parameters
    ----------
    p
        Number of parts of the rows of A.
    r
        Number of parts of the columns of A and of the rows of B.
    q
        Number of parts of the columns of B.
    workers
        Number of workers W, at least ``p q r copies``.
    copies
        Copies of every block product.
    """

    def __init__(self, p: int, r: int, q: int, workers: int, copies: int = 1) -> None:
        super().__init__(p, r, q)
        blocks = p * r * q
        if copies < 1 or workers < blocks * copies:
            raise UsageError(
                f"workers must be at least {blocks * copies} for {blocks} blocks in {copies} copies; got {workers}. "
                "Add workers, lower copies, or lower the parts."
            )
        self.workers, self.copies = workers, copies
        self._block_of = copied_blocks(workers, blocks)

    @property
    def groups(self) -> tuple[frozenset[int], ...]:
        """The workers that hold each block product."""
        return holders(self.workers, self._blocks)

    @property
    def recovery_threshold(self) -> int:
        """Responses without which no set of workers suffices: one of each block."""
        return self._blocks

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Rounding only, if every block is there; else infinite."""
        complete = all(not group.isdisjoint(workers) for group in self.groups)
        return float(np.finfo(np.float64).eps) if complete else np.inf

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Each worker's block of A, (1, N / p, M / r), without a copy where the matrix is cut by rows."""
        blocks = cut(matrix, self.p, self.r)
        for block in self._block_of:
            i, j, _ = self._parts(int(block))
            yield blocks[i, j][np.newaxis]

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Each worker's block of B, (1, M / r, Q / q)."""
        blocks = cut(matrix, self.r, self.q)
        for block in self._block_of:
            _, j, k = self._parts(int(block))
            yield blocks[j, k][np.newaxis]

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """C from one response of every block; ``tolerance`` is always met.

        Parameters
        ----------
        responses
            By worker, (1, rows, columns) each.
        shape
            (N, Q); by default with the padding of the last blocks.
        tolerance
            Not needed: copies are exact.

        Returns
        -------
        C, (N, Q).

        Raises
        ------
        NotEnoughWorkers
            When a block is missing.
        """
        chosen: dict[int, Array] = {}
        for worker, response in responses.items():
            chosen.setdefault(int(self._block_of[worker]), response)
        if len(chosen) < self.recovery_threshold:
            raise NotEnoughWorkers(len(chosen), self.recovery_threshold, "Add copies or use a code.")
        rows, columns = next(iter(chosen.values())).shape[1:]
        blocks = np.zeros((self.p, self.q, rows, columns))
        for block, response in sorted(chosen.items()):
            i, _, k = self._parts(block)
            blocks[i, k] += response[0]
        return join(blocks, shape or (self.p * rows, self.q * columns))

    @property
    def _blocks(self) -> int:
        return self.p * self.r * self.q

    def _parts(self, block: int) -> tuple[int, int, int]:
        """The row part of A, the column part of A and the column part of B of a block product."""
        return block % self.p, (block // self.p) % self.r, block // (self.p * self.r)


@register_code("replicated")
@dataclass(frozen=True)
class Replicated(CodeSpec):
    """Every block product on several workers: waits for the first copy of each.

    Parameters
    ----------
    copies
        Copies of each block product; D is cut as finely as the workers allow.
    pieces
        Pieces of each share, which the copies of a block go through from starts of their own; by default as many as
        workers, or one where rounds are short.
    """

    copies: int = 2
    pieces: int | None = None
    coded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_pieces(self.pieces)
        require_whole("copies", self.copies, 1)

    @property
    def spec(self) -> str:
        # two copies are named too: beside three of them in a table a bare name is a riddle
        return f"{self.name}:copies={self.copies}" + (f",pieces={self.pieces}" if self.pieces is not None else "")

    @property
    def fewest_workers(self) -> int:
        return self.copies

    def for_product(self, workers: int) -> ReplicatedProduct:
        rows, columns = most_parts(workers // self.copies)
        return ReplicatedProduct(rows, columns, 1, workers, self.copies)

    def for_gram(self, workers: int) -> ReplicatedProduct:
        blocks = workers // self.copies
        side = math.isqrt(blocks)
        return ReplicatedProduct(side, blocks // side**2, side, workers, self.copies)

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        # of the numbers that cut D alike, the largest: the workers left over hold further copies anyway
        for blocks in sorted({workers // copies for copies in range(2, workers + 1)}, reverse=True):
            yield cls(workers // blocks)


@register_code("uncoded")
@dataclass(frozen=True)
class Uncoded(CodeSpec):
    """Every block product on one worker: waits for all of them."""

    coded: ClassVar[bool] = False

    def for_product(self, workers: int) -> ReplicatedProduct:
        return Replicated(1).for_product(workers)

    def for_gram(self, workers: int) -> ReplicatedProduct:
        return Replicated(1).for_gram(workers)


class _Backed(CodeSpec):
    """Every block on two workers, each of which does one half of its product; the other half it does when asked to."""

    coded: ClassVar[bool] = False
    pieces = 2

    @property
    def fewest_workers(self) -> int:
        return 2

    def for_product(self, workers: int) -> ReplicatedProduct:
        return Replicated(2).for_product(workers)

    def for_gram(self, workers: int) -> ReplicatedProduct:
        return Replicated(2).for_gram(workers)

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        """None: two copies in pieces have done each other's work before it is late."""
        return iter(())


@register_code("hedged")
@dataclass(frozen=True)
class HedgedCopies(_Backed):
    """Uncoded with hedged requests: a task that is late is sent to the other worker that holds its block."""

    quantile: float = 0.95  # a task is late after this quantile of the times of earlier rounds

    def __post_init__(self) -> None:
        _require_part("quantile", self.quantile)


@register_code("speculative")
@dataclass(frozen=True)
class SpeculativeCopies(_Backed):
    """Uncoded with speculative execution, as Spark has it: a late task is sent to the other worker that holds its block."""

    after: float = 0.75  # part of the tasks that must have answered before any is late: 0.75 in Spark 3, 0.9 in Spark 4
    times: float = 1.5  # multiple of their median time from which a task is late: 1.5 in Spark 3, 3 in Spark 4

    def __post_init__(self) -> None:
        _require_part("after", self.after)
        if not isinstance(self.times, (int, float)) or not 1 <= self.times < math.inf:
            raise UsageError(
                f"times must be a number of at least 1; got {self.times!r}. Write speculative:times=1.5, say."
            )


def _require_part(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= 1:
        raise UsageError(f"{name} must be above 0 and at most 1; got {value!r}. Write {name}=0.95, say.")


def most_parts(blocks: int) -> tuple[int, int]:
    """(p, q) with p <= q and as many parts p q <= blocks as possible, as square as that allows."""
    p = max(range(1, math.isqrt(blocks) + 1), key=lambda p: (p * (blocks // p), p))
    return p, blocks // p


def copied_blocks(workers: int, blocks: int) -> NDArray[np.intp]:
    """The block that each of W workers holds a copy of, (W,): neighbours hold different ones, as a rack fails together."""
    return np.arange(workers) % blocks


def holders(workers: int, blocks: int) -> tuple[frozenset[int], ...]:
    """The workers that hold a copy of each block."""
    held = copied_blocks(workers, blocks)
    return tuple(frozenset(np.flatnonzero(held == block).tolist()) for block in range(blocks))


def copies_of(code: CodeSpec) -> int:
    """Workers that hold each block of sparse rows."""
    return code.copies if isinstance(code, Replicated) else 1
