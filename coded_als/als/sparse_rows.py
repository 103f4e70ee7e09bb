"""Products with a sparse matrix that stays sparse: blocks of its rows on the workers, each block in several copies.

Coding would fill the blocks in: a sum of p sparse blocks is p times as full. And the Gram matrix D = A^T A of a sparse
A is dense, so where it is large nothing forms it: workers return A_k^T (A_k X), and the first copy of each block counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from coded_als.als.products import RoundLog
from coded_als.arrays import FLOAT64, FLOAT_BYTES, Array, eps_of
from coded_als.checks import require_whole
from coded_als.cluster.questions import EveryPiece, pieces_of_sum
from coded_als.cluster.rules import first_copies
from coded_als.cluster.seam import Round
from coded_als.codes.pieces import PieceLayout
from coded_als.codes.product import deal
from coded_als.codes.replication import copied_blocks
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import row_block
from coded_als.planner.schemes import rows_operations


class SparseRows:
    """A sparse A, (rows, l), in blocks of rows on the workers of a cluster.

    ``log``: where its rounds run; ``shape``: (rows, l); ``blocks``: row numbers of each block, -1 at the end of those
    that are filled up; worker w holds block w modulo their number; ``entries``: of the fullest block; ``name``: under
    which, with a suffix, the workers hold the three arrays of their block; ``dtype``: of their entries, and of what is
    sent and responded; ``pieces``: pieces of each block in a product with A^T A; None: by operation counts. Copies go
    through them in rotated order.
    """

    recovery_threshold: int

    def __init__(
        self,
        log: RoundLog,
        shape: tuple[int, int],
        blocks: Sequence[Any],
        entries: int,
        name: str = "rows",
        pieces: int | None = None,
        dtype: np.dtype[Any] = FLOAT64,
    ) -> None:
        self._pieces, self._dtype = pieces, dtype
        self.shape, self._log, self._rows, self._entries, self._name = shape, log, blocks, entries, name
        self.recovery_threshold = len(blocks)
        self._block_of = copied_blocks(log.cluster.size, len(blocks))
        self._rule = first_copies(log.cluster.size, len(blocks))

    @classmethod
    def given_out(
        cls,
        matrix: Any,
        log: RoundLog,
        copies: int,
        name: str = "rows",
        pieces: int | None = None,
        dtype: np.dtype[Any] = FLOAT64,
    ) -> SparseRows:
        """Give the blocks of a matrix to the workers.

        Raises UsageError for more copies than workers, or a block of 2^31 entries or columns.
        """
        workers = log.cluster.size
        require_copies(copies, workers)
        matrix = sparse.csr_array(matrix)
        rows = deal(np.diff(matrix.indptr), workers // copies)
        cut = (row_block(matrix, held) for held in rows)
        blocks = [(data.astype(dtype, copy=False), *places) for data, *places in cut]
        given = cls(log, matrix.shape, rows, max(data.size for data, *_ in blocks), name, pieces, dtype)
        for part, operand in enumerate(given.operands):
            log.cluster.store(operand, [blocks[block][part] for block in given._block_of])
        return given

    @property
    def operands(self) -> tuple[str, ...]:
        """Names of the stored arrays: values, columns and row ends of a block."""
        return tuple(f"{self._name}.{part}" for part in ("data", "indices", "indptr"))

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Rounding only, if every block is there; else infinite."""
        return eps_of(self._dtype) if self._rule.satisfied(workers) else np.inf

    def product(self, right: Array, label: str = "U = A H") -> Array:
        """A H in one round, (rows, d). ``right``: H, (l, d)."""
        height, width = len(self._rows[0]), right.shape[1]
        result = np.empty((self.shape[0], width))
        round = self._round("row_product", right, (height, width), 1, label)
        for block, response in self._answered(round).items():
            held = self._rows[block] >= 0
            result[self._rows[block][held]] = response[held]
        return result

    def gram_product(self, right: Array, label: str = "E = A^T (A X)") -> Array:
        """A^T (A X) in one round, (l, b), without A^T A."""
        round = self._round("row_gram_product", right, right.shape, 2, label)
        pieces, machine = self._pieces, self._log.cluster.machine
        if pieces is None:
            work_s = machine.computing_s(round.operations)
            pieces = pieces_of_sum(self._block_of.size, len(self._rows), work_s, round.response_bytes, machine)
        return self._total(self._answered(round) if pieces == 1 else self._summed(round, pieces))

    def _summed(self, round: Round, pieces: int) -> dict[int, Array]:
        """The sum of each block, from the first answer to each of its pieces."""
        until = EveryPiece(self._rule, PieceLayout(self._block_of.size, pieces), summed=True)
        responses = self._log.run_pieces(round, until, lambda done: eps_of(self._dtype))
        return until.layout.sums(responses.results, self.recovery_threshold)

    def transposed_product(self, left: Array, unit: float = 1.0) -> Array:
        """A^T Y / unit in one round, (l, b), of Y, (rows, b), of which each worker is sent its rows."""
        shape = (self.shape[1], left.shape[1])
        extent = np.zeros((self.shape[1], 0), self._dtype)
        payloads = [(part, extent) for part in self._parts_of(left, unit)]
        return self._total(self._answered(self._round("row_transposed_product", left, shape, 1, "A^T Y", payloads)))

    def squared_error(self, left: Array, right: Array) -> float:
        """||A - Y X^T||^2 in one round, entry by entry of A as if it were dense.

        ``left``: Y, (rows, b); ``right``: X, (l, b).
        """
        payloads = [(part, right) for part in self._parts_of(left)]
        round = self._round("row_squared_error", left, (1, 1), 1, "|A - Y X^T|^2", payloads)
        return float(self._total(self._answered(round))[0, 0])

    def _parts_of(self, left: Array, unit: float = 1.0) -> list[Array]:
        """The rows of Y / unit, (rows, b), that belong to each block, zeros where it is filled up."""
        held = []
        for rows in self._rows:
            part = left[rows].astype(self._dtype, copy=False)
            part[rows < 0] = 0.0
            part /= unit
            held.append(part)
        return [held[block] for block in self._block_of]

    def _total(self, responses: dict[int, Array]) -> Array:
        # in the order of the blocks and not of arrival: the sum is the same to the last bit with any workers slow
        total = responses[0].astype(np.float64)
        for block in range(1, self.recovery_threshold):
            total += responses[block]
        return total

    def _round(
        self,
        kernel: str,
        right: Array,
        shape: tuple[int, int],
        passes: int,
        label: str,
        payloads: Sequence[tuple[Array, ...]] | None = None,
    ) -> Round:
        right = np.ascontiguousarray(right, dtype=self._dtype)
        return Round(
            kernel,
            operands=self.operands,
            payloads=[(right,)] * self._block_of.size if payloads is None else payloads,
            response_shapes=(shape,),
            operations=rows_operations(passes, self._entries, right.shape[1]) * self._dtype.itemsize / FLOAT_BYTES,
            label=label,
            dtype=self._dtype,
        )

    def _answered(self, round: Round) -> dict[int, Array]:
        """The first response of every block."""
        responses = self._log.run(round, self._rule, self)
        chosen: dict[int, Array] = {}
        for worker, response in responses.first().items():
            chosen.setdefault(int(self._block_of[worker]), response)
        return chosen


def require_copies(copies: int, workers: int) -> None:
    """Raise `UsageError` unless each block can have that many copies."""
    require_whole("copies", copies, 1)
    if copies > workers:
        raise UsageError(f"workers must be at least copies={copies}; got {workers}. Add workers or lower copies.")
