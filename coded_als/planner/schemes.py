"""Seconds until the workers hold D: where D = A^T A is computed sooner, its encoding, and sending the shares."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import FLOAT_BYTES
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece, pieces_for, pieces_of_sum
from coded_als.cluster.rules import Fastest, WellConditioned, first_copies, rule_for
from coded_als.cluster.seam import StoppingRule
from coded_als.cluster.waiting import RoundCost, pieces_waiting_s, waiting_s
from coded_als.codes import CodeSpec, FactorCode, InnerProductCode, MatrixCode, parse_code
from coded_als.codes.entangled import square
from coded_als.codes.pieces import PieceLayout
from coded_als.codes.product import multiplications
from coded_als.codes.replication import copies_of
from coded_als.errors import UsageError
from coded_als.kernels import SPARSE_SLOWDOWN
from coded_als.planner.solvers import SOLVERS

# Of D = A^T A of a sparse A, in multiplications of a dense product: for each pair of entries in a row, and for each entry
# of the result (measured: 5 and 30 ns).
PAIR_OPERATIONS, FORMED_OPERATIONS = 50.0, 300.0


def gram_at_master_s(rows: int, length: int, machine: Machine) -> float:
    """Seconds of A^T A, (l, l), of a dense A, (rows, l), at the master: a symmetric rank-k update, half the product."""
    return machine.computing_s(rows * length**2 / 2)


def sparse_gram_s(pairs: float, length: int, machine: Machine) -> float:
    """Seconds of A^T A, (l, l), of a sparse A at the master."""
    return machine.computing_s(PAIR_OPERATIONS * pairs + FORMED_OPERATIONS * length**2)


def summed_gram_s(pairs: float, length: int, blocks: int, machine: Machine) -> float:
    """Seconds of A^T A, (l, l), of a sparse A in blocks of rows that lie apart: one of each, summed up in a tree."""
    levels = math.ceil(math.log2(blocks)) if blocks > 1 else 0
    sent_s = machine.sending_s(1, FLOAT_BYTES * length**2)
    # the sum is sent once more, to the master
    return (
        sparse_gram_s(pairs / blocks, length, machine) + levels * machine.computing_s(length**2) + (levels + 1) * sent_s
    )


def gram_on_workers_s(code: CodeSpec, rows: int, length: int, workers: int, machine: Machine) -> float:
    """Seconds of A^T A on W workers that nothing delays: encoding A twice, sending both shares, one round, decoding."""
    gram = code.for_gram(workers)
    left, right = gram.left_shape((length, rows)), gram.right_shape((rows, length))
    shares_bytes = gram.dtype.itemsize * (math.prod(left) + math.prod(right))
    response_bytes = gram.dtype.itemsize * math.prod(gram.response_shape((length, length)))
    round = RoundCost(multiplications(gram, (length, rows), length), 0.0, response_bytes)
    encoding = sum(gram.encoded_planes) * rows * length
    return (
        machine.computing_s(encoding + gram.decoded_planes * length**2)
        + machine.giving_s(workers, shares_bytes)
        + _undisturbed_s(gram, code.pieces, round, gram.response_shape((length, length))[1], machine)
    )


def _undisturbed_s(code: MatrixCode, pieces: int | None, cost: RoundCost, height: int, machine: Machine) -> float:
    """Seconds of a round that nothing delays."""
    if pieces is None:
        pieces = pieces_for(code, machine.computing_s(cost.operations), height, machine)
    delays, fastest = np.zeros((1, code.workers)), Fastest(code.recovery_threshold)
    if pieces == 1:
        return float(waiting_s(cost.response_s(delays, machine), fastest)[0])
    until = EveryPiece(fastest, PieceLayout(code.workers, min(pieces, height)))
    return float(pieces_waiting_s(cost, delays, machine, None, until)[0])


def gram_s(code: CodeSpec, rows: int, length: int, workers: int, machine: Machine) -> float:
    """Seconds of D = A^T A where that takes less."""
    local_s = gram_at_master_s(rows, length, machine)
    return min(local_s, gram_on_workers_s(code, rows, length, workers, machine))


def sharing_s(code: CodeSpec, length: int, workers: int, machine: Machine) -> float:
    """Seconds of encoding D, (l, l), and sending every worker its share."""
    product = code.for_product(workers)
    share_bytes = product.dtype.itemsize * math.prod(product.left_shape((length, length)))
    encoding_s = machine.computing_s(product.encoded_planes[0] * length**2)
    return encoding_s + machine.giving_s(workers, share_bytes)


@dataclass(frozen=True, eq=False)
class Extent:
    """The size of A, as far as the choice of its products depends on it."""

    # of A, (rows, l)
    rows: int
    length: int
    lengths: NDArray[np.int64] | None  # (rows,) entries of each row of a sparse A; None for a dense one
    held: bool = False  # whether the workers hold its rows already, in blocks, and the master none of them
    memory_bytes: float | None = None  # the most that D may take; the memory of this machine unless given
    centred: bool = False  # whether D is that of A less its means, which fill a sparse A in
    # whether a dense A has another type than float64: the master then widens some rows at a time, and makes no copy of the whole
    narrow: bool = False

    @property
    def entries(self) -> int | None:
        """Number of entries of a sparse A."""
        return None if self.lengths is None else int(self.lengths.sum())

    def whole_on(self, workers: int, memory_bytes: float) -> bool:
        """Whether so many workers may hold a dense A as it is: one with the memory, as products with A itself have no code."""
        fits = FLOAT_BYTES * self.rows * self.length <= memory_bytes
        return workers == 1 and self.lengths is None and fits and not (self.held or self.narrow)


def holds_gram(length: int) -> bool:
    """Whether this machine has the memory for D, (l, l)."""
    return gram_bytes(length) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gram_bytes(length: int) -> int:
    """Bytes of D, (l, l)."""
    return FLOAT_BYTES * length**2


# Products that a fit takes, as a rule.
PRODUCTS = 12


# D is formed even if that takes so many seconds more: coded products wait for fewer stragglers.
WORTH_CODING_S = 1.0


# Of an entry, value and column, and of a row's end.
SPARSE_BYTES, ROW_BYTES = 12, 4


def rows_operations(passes: int, entries: float, columns: int) -> float:
    """Multiplications of a dense product that take as long as sparse products with a block."""
    return float(passes * entries * columns * SPARSE_SLOWDOWN)


def whole_operations(rows: int, length: int, columns: int) -> float:
    """Multiplications of the products of a dense A, (rows, l), and of A^T with a block."""
    return 2.0 * rows * length * columns


def forming_pays(extent: Extent, workers: int, copies: int, share: float, columns: int, machine: Machine) -> bool:
    """Whether a fit is quicker with D = A^T A formed than with sparse products, counted in seconds of one core each.

    ``extent``: of a sparse A, (rows, l).
    """
    assert extent.lengths is not None
    length, lengths, blocks = extent.length, extent.lengths.astype(np.float64), workers // copies
    entries, pairs = float(lengths.sum()), float(lengths @ lengths)
    form_s = summed_gram_s(pairs, length, blocks, machine) if extent.held else sparse_gram_s(pairs, length, machine)
    if extent.centred:
        form_s = gram_at_master_s(extent.rows, length, machine)
    give_out_s = machine.giving_s(workers, FLOAT_BYTES * length**2 * share)
    formed_s = form_s + give_out_s + PRODUCTS * machine.computing_s(length**2 * columns * share)
    rows_s = 0.0 if extent.held else machine.giving_s(workers, SPARSE_BYTES * entries / blocks)
    # the master waits for a single worker, whether it holds D or rows
    worth_s = WORTH_CODING_S if workers > 1 else 0.0
    return formed_s < worth_s + rows_s + PRODUCTS * machine.computing_s(rows_operations(2, entries / blocks, columns))


def whole_pays(extent: Extent, columns: int, machine: Machine) -> bool:
    """Whether a fit on one worker is quicker with products of a dense A and of A^T than with D = A^T A formed."""
    rows, length = extent.rows, extent.length
    product_s = machine.computing_s(length**2 * columns)
    formed_s = gram_at_master_s(rows, length, machine) + machine.giving_s(1, gram_bytes(length)) + PRODUCTS * product_s
    given_s = machine.giving_s(1, FLOAT_BYTES * rows * length)
    return given_s + PRODUCTS * machine.computing_s(whole_operations(rows, length, columns)) < formed_s


# Columns of a probe.
PROBE_COLUMNS = 4
# To read a dense operand from memory takes a product as long as to multiply it by this many columns (measured on operands
# that no cache holds: 13 columns with one thread, 25 to 30 with two).
READING = 20
# Adding a response up, in multiplications for each of its numbers.
ADDING = 10.0


@dataclass(frozen=True)
class Size:
    """The problem: an m x n matrix and the rank d; `UsageError` for a rank above both sides."""

    # m, n and d
    rows: int
    columns: int
    rank: int
    entries: int | None = None  # of a sparse matrix, those that are not zero; None for a dense one

    def __post_init__(self) -> None:
        if self.rank > self.length:
            raise UsageError(f"rank must be at most min(rows, cols) = {self.length}; got {self.rank}. Lower rank.")

    @property
    def length(self) -> int:
        """l = min(m, n), the side of D."""
        return min(self.rows, self.columns)


@dataclass(frozen=True)
class Scheme:
    """One way to run the factorization on W workers."""

    code: str  # SPEC of the code, as `CodedALS` takes it
    workers: int  # W
    protocol: str = "fused"  # ``"fused"`` or ``"paper"``
    solver: str = "als"  # a name in `coded_als.planner.solvers.SOLVERS`
    # whether D is not formed: the workers hold blocks of the sparse rows of R in copies, or one worker a dense R as it is
    rows: bool = False
    block: int | None = None  # columns of the block of a solver with a free width; None: the usual ones

    @property
    def family(self) -> CodeSpec:
        """The code, not yet tied to the workers."""
        return parse_code(self.code)

    @property
    def label(self) -> str:
        """Name for people: ``"entangled:h=6, fused, lobpcg"``."""
        solver = self.solver if self.block is None else f"{self.solver} {self.block}"
        return f"{self.family.spec}, {'sparse rows' if self.rows else self.protocol}, {solver}"

    def chosen(self, size: Size) -> CodeSpec:
        """The code, tied to the workers; `UsageError` when the workers are too few, or the matrix is too small."""
        return self.family.bind(self.workers, size.length)

    def product(self, size: Size) -> MatrixCode:
        """The code of E = D B, prepared once for all schemes that share it."""
        return _product(self.chosen(size), self.workers)

    def tolerance(self, size: Size) -> float:
        """Relative error that a decoded product may have unless asked otherwise."""
        return self.chosen(size).tolerance

    def block_columns(self, size: Size) -> int:
        """Columns of the block that goes to the workers: d and those that the solver has beyond it, unless their number is chosen."""
        if self.block is not None:
            return min(self.block, size.length)
        return SOLVERS[self.solver].columns(size.rank, size.length)

    def longer(self, size: Size) -> float:
        """Ratio of its iterations to the usual ones of its solver, for the width of its block."""
        return SOLVERS[self.solver].longer(self.block_columns(size), size.rank, size.length)

    def probe_operations(self, size: Size) -> float:
        """Multiplications with the data by which a narrow block is proved; 0 for a wide one."""
        if self.block_columns(size) > size.rank:
            return 0.0
        if size.entries is None:
            per_step = (2 * PROBE_COLUMNS + READING) * size.rows * size.columns
        else:
            per_step = 2 * PROBE_COLUMNS * SPARSE_SLOWDOWN * size.entries
        return float(SOLVERS[self.solver].probe * per_step)

    def reading_operations(self, size: Size) -> float:
        """The time in which a worker reads its dense operand in an iteration, in multiplications, for any width of the block."""
        if self.rows:
            return 0.0 if size.entries is not None else READING * size.rows * size.columns
        return READING * self.family.share(self.workers) * size.length**2

    def schedule(self, size: Size, tolerance: float) -> list[tuple[RoundCost, StoppingRule]]:
        """Cost and stopping rule of each round of one iteration, decoded to ``tolerance``."""
        if self.rows:
            return [self._rows_round(size)]
        product, rule = self._product_round(size), rule_for(self.product(size), tolerance)
        return [(product, rule)] if self.protocol == "fused" else self._paper_rounds(size, tolerance, product, rule)

    def pieces(self, size: Size, machine: Machine) -> int:
        """Pieces of each share, as the product of a fit takes them."""
        if self.rows:
            return self._pieces_of_rows(size, machine)
        if self.protocol != "fused":
            return 1
        product, asked = self.product(size), self.chosen(size).pieces
        cost, height = self._product_round(size), product.response_shape((size.length, self.block_columns(size)))[1]
        if asked is None:
            asked = pieces_for(product, machine.computing_s(cost.operations), height, machine)
        return min(asked, height)

    def _pieces_of_rows(self, size: Size, machine: Machine) -> int:
        asked, (cost, _) = self.family.pieces, self._rows_round(size)
        if asked is not None:
            return asked
        if size.entries is None:
            return 1
        return pieces_of_sum(
            self.workers, self._blocks, machine.computing_s(cost.operations), cost.response_bytes, machine
        )

    def storage_bytes(self, size: Size) -> int:
        """Bytes that one worker keeps between rounds: its share of D, and in the paper's protocol shares of factors."""
        if self.rows:
            return round(block_bytes(size, self._blocks))
        code = self.product(size)
        kept = 0
        if self.protocol == "paper":
            # f_R(B) and f_R(E); at real points f_L(B) too
            factors = 2 if square(self.chosen(size)).points == "circle" else 3
            kept = factors * math.prod(code.right_shape((size.length, size.rank)))
        return code.dtype.itemsize * (math.prod(code.left_shape((size.length, size.length))) + kept)

    def worker_operations(self, size: Size) -> float:
        """Multiplications of one worker in one iteration."""
        rounds = self.schedule(size, self.tolerance(size))
        return float(sum(cost.operations for cost, _ in rounds))

    def startup_s(self, size: Size, machine: Machine) -> float:
        """Seconds until every worker has its share of D: computing D, encoding it and sending the shares; or its rows."""
        code, workers = self.chosen(size), self.workers
        if self.rows:
            return machine.giving_s(workers, block_bytes(size, self._blocks))
        rows = max(size.rows, size.columns)
        if size.entries is None:
            computing_s = gram_s(code, rows, size.length, workers, machine)
        else:
            computing_s = sparse_gram_s(size.entries**2 / rows, size.length, machine)
        return computing_s + sharing_s(code, size.length, workers, machine)

    def master_operations(self, size: Size) -> float:
        """Multiplications of the master in one iteration: encoding, decoding, and the algebra of the solver.

        Decoding is counted at the threshold; responses beyond it are few.
        """
        length, columns = size.length, self.block_columns(size)
        algebra = SOLVERS[self.solver].algebra_operations(length, columns, self.longer(size))
        if self.rows:
            # the first copy of each block is added up: a pass over memory, some ten multiplications a number
            return ADDING * self._blocks * length * columns + algebra
        code = self.product(size)
        encoding = code.encoded_planes[1] * length * columns
        decoding = code.decoded_planes * length * columns
        if self.protocol == "paper":
            # two factors are encoded (three at real points, which need f_L besides f_R), two decoded
            family = square(self.chosen(size))
            factors, planes = (2, 2) if family.points == "circle" else (3, 1)
            return float(factors * encoding + decoding + family.cut[0] * planes * length * columns)
        return float(encoding + decoding) + algebra

    @property
    def _blocks(self) -> int:
        """Blocks of sparse rows, each of which some workers hold a copy of."""
        return self.workers // copies_of(self.family)

    def _rows_round(self, size: Size) -> tuple[RoundCost, StoppingRule]:
        exchanged = FLOAT_BYTES * size.length * self.block_columns(size)
        if size.entries is None:
            operations = whole_operations(size.rows, size.columns, self.block_columns(size))
        else:
            operations = rows_operations(2, size.entries / self._blocks, self.block_columns(size))
        return RoundCost(operations, exchanged, exchanged), first_copies(self.workers, self._blocks)

    def _product_round(self, size: Size) -> RoundCost:
        code, square_shape, columns = self.product(size), (size.length, size.length), self.block_columns(size)
        payload = math.prod(code.right_shape((size.length, columns)))
        response = math.prod(code.response_shape((size.length, columns)))
        operations = multiplications(code, square_shape, columns)
        return RoundCost(operations, code.dtype.itemsize * payload, code.dtype.itemsize * response)

    def _paper_rounds(
        self, size: Size, tolerance: float, product: RoundCost, rule: StoppingRule
    ) -> list[tuple[RoundCost, StoppingRule]]:
        family, rank = square(self.chosen(size)), size.rank
        (h, _), points = family.cut, family.points
        factor = math.prod(self.product(size).right_shape((size.length, rank)))
        factor_bytes, gram_bytes, small = FLOAT_BYTES * factor, FLOAT_BYTES * rank**2, float(factor * rank)
        # at real points f_L(B) travels beside f_R(B); on the circle one is the conjugate of the other
        sent = factor_bytes * (1 if points == "circle" else 2)
        first = RoundCost(product.operations + small, sent, product.response_bytes + gram_bytes)
        inner = WellConditioned(InnerProductCode(h, self.workers, points), tolerance)
        interpolation = WellConditioned(FactorCode(h, self.workers, points), tolerance)
        return [
            (first, rule),
            (RoundCost(small, factor_bytes, gram_bytes), inner),
            (RoundCost(small, gram_bytes, factor_bytes), interpolation),
        ]


def block_bytes(size: Size, blocks: int) -> float:
    """Bytes of a block of sparse rows, or of a dense matrix."""
    if size.entries is None:
        return FLOAT_BYTES * size.rows * size.columns / blocks
    return (SPARSE_BYTES * size.entries + ROW_BYTES * max(size.rows, size.columns)) / blocks


@lru_cache(maxsize=32)
def _product(code: CodeSpec, workers: int) -> MatrixCode:
    """Codes keep their decoders: one for all schemes, and for all rounds."""
    return code.for_product(workers)
