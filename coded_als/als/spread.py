"""The spread of a fit's data over the workers: D = A^T A in coded shares, the sparse rows of A in copies, or A on one worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import sparse

from coded_als.als.centring import CentredProblem, CentredRows
from coded_als.als.problem import Problem
from coded_als.als.products import AT_WORST, DATA, DistributedData, RoundLog, StoredProduct
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.updates import symmetric
from coded_als.arrays import FLOAT64, FLOAT_BYTES, Array, eps_of
from coded_als.blas import all_blas_threads
from coded_als.cluster.backups import backups_of
from coded_als.cluster.machine import Machine
from coded_als.cluster.rules import first_copies, rule_for
from coded_als.cluster.scope import Shares
from coded_als.cluster.seam import Round
from coded_als.codes import CodeSpec, Replicated, Uncoded
from coded_als.codes.product import multiplications
from coded_als.codes.replication import copies_of
from coded_als.codes.single import in_type
from coded_als.delays.models import DelayModel
from coded_als.errors import UsageError, readable
from coded_als.planner.default import ROWS, ChosenCode, default_choice, default_row_copies
from coded_als.planner.schemes import (
    Extent,
    Size,
    block_bytes,
    forming_pays,
    gram_at_master_s,
    gram_bytes,
    gram_on_workers_s,
    holds_gram,
    whole_operations,
    whole_pays,
)

GRAM_LEFT, GRAM_RIGHT, WHOLE = "A_left", "A_right", "A"
Where = Literal["auto", "local", "coded", "none"]


# With more multiplications than this the master forms D on all of its cores: workers that share them have no work yet.
LONG = 1_000_000_000


def local_gram(problem: Problem) -> Array:
    """D = A^T A, (l, l), at the master: right for a sparse R, as its Gram matrix costs little."""
    rows, length = problem.matrix.shape
    with all_blas_threads() if not problem.is_sparse and rows * length**2 > LONG else nullcontext():
        return _gram(problem)


def _gram(problem: Problem) -> Array:
    """A^T A, (l, l)."""
    # centred, or widened to float64, before it is multiplied: some rows at a time
    if isinstance(problem, CentredProblem) or (not problem.is_sparse and problem.matrix.dtype != FLOAT64):
        return np.asarray(sum(block.T @ block for _, block in problem.panels()))
    product = problem.matrix.T @ problem.matrix.astype(FLOAT64, copy=False)
    return np.asarray(product.toarray() if sparse.issparse(product) else product)


class CodedGram:
    """D on the workers, and the other factor too where the shares of A that they hold by then serve it."""

    def __init__(self, problem: Problem, log: RoundLog, code: CodeSpec, tolerance: float) -> None:
        self._problem, self._log, self._code, self._tolerance = problem, log, code, tolerance
        self._matrix = problem.dense()

    def gram(self) -> Array:
        """D = A^T A, (l, l)."""
        cluster = self._log.cluster
        code = self._code.for_gram(cluster.size)
        matrix = self._matrix
        cluster.store(GRAM_LEFT, Shares(cluster.size, lambda: code.encode_left(matrix.T)))
        cluster.store(GRAM_RIGHT, Shares(cluster.size, lambda: code.encode_right(matrix)))
        rows, length = self._matrix.shape
        round = Round(
            kernel="product",
            operands=(GRAM_LEFT, GRAM_RIGHT),
            response_shapes=(code.response_shape((length, length)),),
            operations=multiplications(code, (length, rows), length),
            label="D = A^T A",
            dtype=code.dtype,
        )
        rule, accepted = rule_for(code, self._tolerance, AT_WORST), max(self._tolerance, AT_WORST)
        return symmetric(self._log.run_product(round, rule, code, (length, length), accepted, self._code.pieces))

    def last_product(self, weights: Array) -> Array:
        """A H, (rows, d). To send A once more would take longer than the product."""
        code = self._code.for_other_factor(self._log.cluster.size)
        if code is None:
            return self._problem.image(weights)
        product = StoredProduct(
            self._log, code, GRAM_LEFT, self._matrix.shape, self._tolerance, transposed_shares=True, label="U = A H",
            at_worst=AT_WORST,
        )  # fmt: skip
        found = product(weights)
        if self._log.records[-1].error_estimate > self._tolerance:
            # nothing comes after this product to mend it, and A is here
            return self._problem.image(weights)
        return found


def store_data(log: RoundLog, code: CodeSpec, data: Array, dtype: np.dtype[Any] = FLOAT64) -> None:
    """Give every worker its share of D, encoded as it is sent. ``data``: D, (l, l)."""
    product = in_type(code.for_product(log.cluster.size), dtype)
    log.cluster.store(DATA, Shares(log.cluster.size, lambda: product.encode_left(data)))


def stored_product(
    log: RoundLog, code: CodeSpec, length: int, tolerance: float, label: str, dtype: np.dtype[Any] = FLOAT64
) -> StoredProduct:
    """X -> D X in one round, of the D, (l, l), that `store_data` gave to the workers.

    Where no other worker can respond, it is decoded as well as it can be: the certificate judges the result.
    """
    product = in_type(code.for_product(log.cluster.size), dtype)
    return StoredProduct(
        log, product, DATA, (length, length), tolerance, label=label, at_worst=AT_WORST, pieces=code.pieces,
        backups=backups_of(code),
    )  # fmt: skip


def extent_of(problem: Problem, *, centred: bool = False) -> Extent:
    """The numbers of a problem that the spread of its data depends on; ``centred``: less its means, which are to come."""
    matrix, (rows, length) = problem.matrix, problem.matrix.shape
    if not problem.is_sparse:
        return Extent(rows, length, None, narrow=matrix.dtype != FLOAT64)
    if matrix.format == "csc":
        return Extent(rows, length, np.bincount(matrix.indices, minlength=rows), centred=centred)
    return Extent(rows, length, np.diff(sparse.csr_array(matrix).indptr).astype(np.int64), centred=centred)


def sooner_at_the_master(extent: Extent, code: CodeSpec, workers: int, machine: Machine) -> bool:
    """Whether A^T A takes the master less than sending each worker its shares of A and waiting for their products."""
    if extent.held or extent.lengths is not None:
        return not extent.held
    on_workers_s = gram_on_workers_s(code, extent.rows, extent.length, workers, machine)
    return gram_at_master_s(extent.rows, extent.length, machine) <= on_workers_s


@dataclass(frozen=True)
class Spread:
    """The spread of the data over the workers."""

    code: CodeSpec  # tied to the workers: how D is spread, or in how many copies the sparse rows of A are
    precomputation: Literal["local", "coded", "none"]  # where D is formed; ``"none"``: nowhere, the workers hold A
    reason: str = field(default="as asked", compare=False)  # why this code, for people
    columns: int = field(default=0, compare=False)  # of the block that D is multiplied with

    def give_out(
        self, problem: Problem, log: RoundLog, tolerance: float, dtype: np.dtype[Any] = FLOAT64
    ) -> DistributedData:
        """Store the data on the workers, in arrays of a type."""
        if self.precomputation == "none" and not problem.is_sparse:
            return WholeMatrix(log, problem, dtype)
        if self.precomputation == "none":
            copies, pieces = copies_of(self.code), self.code.pieces
            held = SparseRows.given_out(problem.matrix, log, copies, pieces=pieces, dtype=dtype)
            rows = CentredRows(held, problem.directions) if isinstance(problem, CentredProblem) else held
            return rows if dtype == FLOAT64 else CoarseRows(rows.gram_product, problem.image)
        if self.precomputation == "local":
            return FormedGram(log, self.code, tolerance, local_gram(problem), problem.image, dtype)
        coded = CodedGram(problem, log, self.code, min(tolerance, self.code.tolerance))
        return FormedGram(log, self.code, tolerance, coded.gram(), coded.last_product, dtype)


@dataclass(frozen=True)
class CoarseRows:
    """Products with sparse rows on the workers in float32; nothing follows the last one to mend it, so the data make it."""

    gram_product: Callable[[Array], Array]
    product: Callable[[Array], Array]


class WholeMatrix:
    """Products with a dense A, (rows, l), that a single worker holds as it is: D is not formed, and no code is possible."""

    recovery_threshold = 1

    def __init__(self, log: RoundLog, problem: Problem, dtype: np.dtype[Any]) -> None:
        self._log, self._shape, self._dtype = log, problem.matrix.shape, dtype
        self.product = problem.image  # at the master, which has A
        log.cluster.store(WHOLE, [problem.matrix.astype(dtype, copy=False)])

    def gram_product(self, right: Array) -> Array:
        """A^T (A X) in one round, (l, b)."""
        right = np.ascontiguousarray(right, dtype=self._dtype)
        (rows, length), columns = self._shape, right.shape[1]
        round = Round(
            kernel="gram_product",
            operands=(WHOLE,),
            payloads=[(right,)],
            response_shapes=(right.shape,),
            operations=whole_operations(rows, length, columns) * self._dtype.itemsize / FLOAT_BYTES,
            label="E = A^T (A X)",
            dtype=self._dtype,
        )
        responses = self._log.run(round, first_copies(1, 1), self)
        return responses.first()[0].astype(FLOAT64, copy=False)

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Rounding only, as the worker has all of A."""
        return eps_of(self._dtype)


class FormedGram:
    """Products with D, formed and distributed in shares, and the last one where it is there sooner.

    ``log``: the cluster and the record of its rounds; ``code``: how D is spread; ``tolerance``: estimated relative
    error that a decoded product may have; ``gram``: D, (l, l); ``last_product``: H -> A H, of (l, d), (rows, d);
    ``dtype``: of the shares.
    """

    def __init__(
        self,
        log: RoundLog,
        code: CodeSpec,
        tolerance: float,
        gram: Array,
        last_product: Callable[[Array], Array],
        dtype: np.dtype[Any] = FLOAT64,
    ) -> None:
        store_data(log, code, gram, dtype)
        self.gram_product = stored_product(log, code, len(gram), tolerance, "E = D X", dtype)
        self.product = last_product


def auto_code(
    size: Size,
    workers: int,
    solver: str,
    delays: str | DelayModel | None,
    machine: Machine,
    tolerance: float | None = None,
    memory_per_worker: float = np.inf,
) -> ChosenCode:
    """The code that ``auto`` takes: delays decide only where they are known and D is not spread in pieces.

    Raises UsageError where the workers together have too little memory.
    """
    default = default_choice(size, workers, solver, machine, memory_per_worker)
    if delays is None or (default.pieces > 1 and size.entries is None):
        return default
    from coded_als.planner.choice import choose  # SciPy's distributions take long to load

    return default.beside(choose(size, workers, solver, delays, machine, tolerance, memory_per_worker), size)


def choose_spread(
    extent: Extent,
    workers: int,
    columns: int,
    asked: CodeSpec | ChosenCode,
    where: Where,
    machine: Machine,
    memory_per_worker: float = np.inf,
) -> Spread:
    """The spread over W workers by a requested code or by the choice of `auto`, and what is open by counting.

    D of a sparse A is formed if a code of D is requested, or if that takes less time; D of a dense A is formed unless one
    worker is sooner done without it.
    """
    may_stay_whole = extent.whole_on(workers, memory_per_worker) and isinstance(asked, (ChosenCode, Uncoded))
    if may_stay_whole and (where == "none" or (where == "auto" and whole_pays(extent, columns, machine))):
        return Spread(Uncoded(), "none", _reason(asked))
    if where == "none" or (isinstance(asked, ChosenCode) and asked.rows):
        return _rows_spread(extent, workers, asked, memory_per_worker)
    formed = asked.code if isinstance(asked, ChosenCode) else asked.bind(workers, extent.length)
    fits = extent.lengths is None or fits_here(extent)
    if where == "auto" and extent.lengths is not None and _may_stay_sparse(asked, fits):
        share, rows = formed.share(workers), _rows_spread(extent, workers, asked, memory_per_worker)
        if not (fits and forming_pays(extent, workers, copies_of(rows.code), share, columns, machine)):
            return rows
    if not fits:
        raise UsageError(
            f"D = R^T R of a sparse R must fit into memory; it would be dense, {readable(gram_bytes(extent.length))} "
            f"for code {formed.spec}. Use code='auto' or copies (replicated:copies=3), which keep R sparse."
        )
    if where == "auto":
        where = "local" if sooner_at_the_master(extent, formed, workers, machine) else "coded"
    return Spread(formed, where, _reason(asked))


def fits_here(extent: Extent) -> bool:
    """Whether there is memory for D = A^T A."""
    enough = extent.memory_bytes is None or gram_bytes(extent.length) <= extent.memory_bytes
    return enough and holds_gram(extent.length)


def _may_stay_sparse(asked: CodeSpec | ChosenCode, fits: bool) -> bool:
    """Whether operations are to be counted: not for a code of D on request, nor after a comparison under known delays."""
    if isinstance(asked, ChosenCode):
        return not (asked.timed and fits)
    return isinstance(asked, (Replicated, Uncoded))


def _rows_spread(extent: Extent, workers: int, asked: CodeSpec | ChosenCode, memory_per_worker: float) -> Spread:
    """The sparse rows of A in copies."""
    if extent.entries is None:
        raise UsageError(
            "precomputation 'none' multiplies with the sparse rows of R; got a dense R. "
            "Pass a scipy sparse matrix, use precomputation='auto', or fit a float64 matrix on one worker with memory for it."
        )
    if not isinstance(asked, ChosenCode):
        return Spread(rows_code(asked, workers), "none")
    if asked.rows:
        return Spread(asked.code, "none", _reason(asked))
    stored = block_bytes(Size(extent.rows, extent.length, 1, extent.entries), 1)
    return Spread(default_row_copies(workers, stored, memory_per_worker), "none", f"chosen by auto: {ROWS}")


def _reason(asked: CodeSpec | ChosenCode) -> str:
    return f"chosen by auto: {asked.reason}" if isinstance(asked, ChosenCode) else "as asked"


def rows_code(asked: CodeSpec | None, workers: int) -> Replicated | Uncoded:
    """The code of sparse rows, by default copies, since sums of rows are no longer sparse."""
    if asked is None:
        return default_row_copies(workers)
    if not isinstance(asked, (Replicated, Uncoded)):
        raise UsageError(
            f"sparse rows are held in copies, not coded, because sums of sparse rows are dense; got code {asked.spec}. "
            "Use replicated:copies=3 or uncoded, or let D be formed (a dense matrix for an operator)."
        )
    return asked.bind(workers, 1)
