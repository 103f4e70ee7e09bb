"""A SciPy linear operator with products that survive stragglers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, get_args

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from coded_als.als.centring import Center, CentredRows, centred_matrix
from coded_als.als.problem import unit_of
from coded_als.als.products import RoundLog, RoundRecord, StoredProduct
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.spread import auto_code, rows_code
from coded_als.arrays import FLOAT64, Array
from coded_als.checks import require_one_of
from coded_als.cluster.backups import backups_of
from coded_als.cluster.scope import Scope, Shares
from coded_als.cluster.seam import Cluster
from coded_als.cluster.verification import Verify, verified
from coded_als.codes import CodeSpec, asked_code
from coded_als.codes.replication import copies_of
from coded_als.codes.single import ShareType, in_type, tolerance_in
from coded_als.errors import UsageError
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import default_solver

# Columns of a block that a choice of code assumes; their number is not known beforehand.
TYPICAL_COLUMNS = 20
# Kinds of NumPy types that are real numbers.
REAL = "biuf"
# Columns with larger entries are scaled on their way: sums of products with most matrices would overflow.
LARGE = 2.0**500

Product = Callable[[Array], Array]


class CodedOperator(LinearOperator):  # type: ignore[misc]
    """X -> A X on a cluster, one coded round for each product: any SciPy block method becomes straggler-tolerant.

    A block of vectors costs one round, so prefer methods that use `matmat` (`scipy.sparse.linalg.lobpcg`) over those
    that ask for one vector after the other. The adjoint ``operator.H`` multiplies with A^T in rounds of its own. The first
    of these products gives the workers shares of a dense A^T beside those of A; rows of a sparse A serve both.

    Parameters
    ----------
    matrix
        A, (M, N), dense or scipy sparse. Its shares are stored on the workers at once; a sparse one stays sparse.
    cluster
        Any `coded_als.cluster.Cluster`.
    code
        SPEC of how A is spread (`coded_als.codes.parse_code`); ``"auto"`` is that of `CodedALS`, and three copies of a
        sparse A: its rows stay sparse only where they are not coded.
    partitions
        h of the entangled code, cut h x h.
    decoding_tolerance
        Relative error that a product may have (by default the tolerance of the code): a round goes on until its
        responses decode to it.
    name
        Name of its rounds, for people.
    verify
        ``"freivalds"``: every response is checked before it counts (`coded_als.CodedALS`); ``"off"``.
    gram
        Whether the operator is A^T A, (N, N), and not A: formed of a dense A, and X -> A^T (A X) in one round of a sparse
        one, where A^T A is not formed.
    center
        The means that are subtracted from A: ``"columns"``, ``"rows"`` or ``"both"``, as in `coded_als.CodedALS`; None
        subtracts none. A sparse A is not filled in.
    dtype
        Type of the shares and of the blocks that are sent, ``"float64"`` or ``"float32"``; products are float64.

    Attributes
    ----------
    rounds
        A `RoundRecord` of every product so far.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import InlineCluster
    >>> a = np.diag([3.0, 2.0, 1.0])
    >>> operator = CodedOperator(a, InlineCluster(workers=5), code="systematic:p=3")
    >>> np.allclose(operator @ np.ones(3), [3.0, 2.0, 1.0])
    True
    """

    def __init__(
        self,
        matrix: Any,
        cluster: Cluster,
        *,
        code: str = "auto",
        partitions: int | None = None,
        decoding_tolerance: float | None = None,
        name: str = "operator",
        verify: Verify = "off",
        gram: bool = False,
        center: Center | None = None,
        dtype: ShareType = "float64",
    ) -> None:
        require_one_of("dtype", dtype, get_args(ShareType))
        numbers = np.dtype(dtype)
        matrix, means, unit = _checked(matrix), None, 1.0
        if numbers != FLOAT64:  # far from the ends of float32
            unit = unit_of(max(float(matrix.max()), -float(matrix.min())))
            matrix = matrix * (1.0 / unit)
        shape, stays_sparse = matrix.shape, sparse.issparse(matrix)
        if center is not None:
            require_one_of("center", center, get_args(Center))
            matrix, means = centred_matrix(matrix, center)
        if gram and not stays_sparse:
            with np.errstate(over="ignore"):
                matrix = _finite(matrix.T @ matrix, "A^T A")
        super().__init__(np.dtype(np.float64), (shape[1],) * 2 if gram else shape)
        self._symmetric = gram or (means is None and _is_symmetric(matrix))
        asked = asked_code(code, partitions)
        self._scale = (LARGE, 1.0) if numbers == FLOAT64 else (0.0, unit * unit if gram else unit)
        scope = Scope(cluster)
        # drop the shares when the operator is garbage-collected; the scope must not reference it, or it would stay alive
        self._finalizer = weakref.finalize(self, scope.close)
        self._finalizer.atexit = False
        log = RoundLog(verified(scope, verify))
        self.rounds: list[RoundRecord] = log.records
        if stays_sparse:
            copies = copies_of(rows_code(asked, cluster.size))
            given_out = SparseRows.given_out(matrix, log, copies, name, dtype=numbers)
            rows = given_out if means is None else CentredRows(given_out, means)
            self._product = _sparse_product(rows, name, gram)
            self._of_transpose: Callable[[], Product] = lambda: rows.transposed_product
            return

        def stored(matrix: Array, name: str) -> Product:  # without the operator, which would never go
            chosen = CodedOperator._choose(asked, cluster, matrix.shape)
            product = in_type(chosen.for_product(cluster.size), numbers)
            log.cluster.store(name, Shares(cluster.size, lambda: product.encode_left(matrix)))
            tolerance = tolerance_in(chosen.tolerance, numbers) if decoding_tolerance is None else decoding_tolerance
            return StoredProduct(
                log, product, name, matrix.shape, tolerance, label=f"{name} @ X", pieces=chosen.pieces,
                backups=backups_of(chosen),
            )  # fmt: skip

        self._product = stored(matrix, name)
        self._of_transpose = lambda: stored(np.ascontiguousarray(matrix.T), f"{name}^T")

    def close(self) -> None:
        """Let the workers forget the shares, as happens when the operator is forgotten."""
        self._finalizer()

    @staticmethod
    def _choose(asked: CodeSpec | None, cluster: Cluster, shape: tuple[int, int]) -> CodeSpec:
        """The requested code; without a request the choice of a plan for products of some columns."""
        length, workers = min(shape), cluster.size
        if asked is not None:
            return asked.bind(workers, length)
        size = Size(*shape, min(TYPICAL_COLUMNS, length))
        return auto_code(size, workers, default_solver(), cluster.delays, cluster.machine).code

    @cached_property
    def _transposed_product(self) -> Product:
        """X -> A^T X; its shares are stored on its first use."""
        return self._product if self._symmetric else self._of_transpose()

    def _matmat(self, X: Any) -> Any:
        return _multiplied(self._product, X, self.shape[0], self._scale)

    def _matvec(self, x: Any) -> Any:
        return self._matmat(np.asarray(x).reshape(-1, 1))[:, 0]

    def _rmatmat(self, X: Any) -> Any:
        return _multiplied(self._transposed_product, X, self.shape[1], self._scale)

    def _rmatvec(self, x: Any) -> Any:
        return self._rmatmat(np.asarray(x).reshape(-1, 1))[:, 0]

    def _adjoint(self) -> LinearOperator:
        return self if self._symmetric else super()._adjoint()


def _multiplied(product: Product, given: Any, rows: int, scale: tuple[float, float]) -> Any:
    """The product with a block of vectors, (rows, columns), in one round.

    ``scale``: columns with larger entries are scaled on their way, and the unit of the product.
    """
    large, unit = scale
    block = np.asarray(given)
    if block.dtype.kind not in REAL + "c":
        raise UsageError(f"cannot multiply by an array of dtype {block.dtype}. Pass real or complex numbers.")
    if not block.shape[1]:  # block solvers pass an empty block when all vectors have converged
        return np.zeros((rows, 0), np.result_type(block.dtype, np.float64))
    if block.dtype.kind == "c":  # in one round: A real, so the parts do not mix
        columns = block.shape[1]
        both = _multiplied(product, np.hstack([block.real, block.imag]), rows, scale)
        return both[:, :columns] + 1j * both[:, columns:]
    with np.errstate(over="ignore"):
        right = _finite(block.astype(np.float64, copy=False), "the right operand")
    largest = np.abs(right).max(axis=0, initial=0.0)
    if unit == 1.0 and not (largest > large).any():
        return product(right)
    # products that overflow look like those of a worker that fails; powers of two change no digit
    units = np.where(largest > large, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
    with np.errstate(over="ignore"):
        return _finite(product(right / units) * units * unit, "the product")


def _finite(block: Array, noun: str) -> Array:
    """The block; `UsageError` with the place of its first entry that is not finite."""
    if not np.isfinite(block).all():
        row, column = np.argwhere(~np.isfinite(block))[0]
        raise UsageError(
            f"{noun} must be finite in float64; got {block[row, column]} in row {row}, column {column} (counted from 0). "
            "Correct or scale it."
        )
    return block


def _checked(matrix: Any) -> Any:
    """A real, finite matrix as a csr array or an array of its own: shares may be views of it."""
    given = matrix if sparse.issparse(matrix) else np.asarray(matrix)
    real = given.dtype.kind in REAL and given.ndim == 2
    if real and sparse.issparse(given):
        given = sparse.csr_array(given, dtype=np.float64, copy=True)
    if not real or not np.isfinite(given.data if sparse.issparse(given) else given).all():
        raise UsageError(
            f"a coded operator must be a real, finite 2-d array; got {given.dtype} of shape {given.shape}, or NaN. "
            "Correct the matrix."
        )
    return given if sparse.issparse(given) else np.array(given, dtype=np.float64, order="C")


def _is_symmetric(matrix: Any) -> bool:
    if matrix.shape[0] != matrix.shape[1]:
        return False
    if sparse.issparse(matrix):
        return bool((matrix != matrix.T).nnz == 0)
    return bool(np.array_equal(matrix, matrix.T))


def _sparse_product(rows: SparseRows | CentredRows, name: str, gram: bool) -> Product:
    """X -> A X, or A^T (A X), with blocks of rows of A that the workers hold."""
    if gram:
        return partial(rows.gram_product, label=f"{name}: A^T (A X)")
    return partial(rows.product, label=f"{name} @ X")
