"""A SciPy linear operator whose products survive stragglers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from coded_als.als.rounds import RoundLog, RoundRecord, StoredProduct
from coded_als.als.sparse_rows import SparseRows
from coded_als.als.spread import copies_of, rows_code
from coded_als.arrays import Array
from coded_als.cluster import Cluster
from coded_als.cluster.scope import Scope
from coded_als.cluster.shares import Shares
from coded_als.cluster.verification import Verify, verified
from coded_als.codes import Code, choose_code
from coded_als.errors import UsageError

# Columns of a block that a choice of code is made for; how many come is not known beforehand.
TYPICAL_COLUMNS = 20
# Kinds of NumPy types that are real numbers.
REAL = "biuf"


class CodedOperator(LinearOperator):  # type: ignore[misc]
    """X -> A X on a cluster, one coded round for each product: any SciPy block method becomes straggler-tolerant.

    A block of vectors costs one round, so prefer methods that use `matmat` (`scipy.sparse.linalg.lobpcg`) over those
    that ask for one vector after the other.

    Parameters
    ----------
    matrix
        A, (M, N), dense or scipy sparse. Its shares are stored on the workers at once; a sparse one stays sparse.
    cluster
        Any `coded_als.cluster.Cluster`.
    code
        SPEC of how A is spread (`coded_als.codes.parse_code`); ``"auto"`` is the fastest under the delays that the cluster
        knows of, without any a systematic code that leaves a quarter of the workers as stragglers, and three copies of a
        sparse A, whose rows stay sparse only where they are not coded.
    partitions
        h of the entangled code, cut h x h.
    decoding_tolerance
        Relative error that a product may have (by default what the code can keep to): a round goes on until its
        responses decode to it.
    name
        Name of its rounds, for people.
    verify
        ``"freivalds"``: every response is checked before it counts (`coded_als.CodedALS`); ``"off"``.
    gram
        Whether the operator is A^T A, (N, N), and not A: formed of a dense A, and X -> A^T (A X) in one round of a sparse
        one, whose A^T A is not formed.

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
    ) -> None:
        matrix = _checked(matrix)
        stays_sparse = sparse.issparse(matrix)
        if gram and not stays_sparse:
            matrix = matrix.T @ matrix
        super().__init__(np.dtype(np.float64), (matrix.shape[1],) * 2 if gram else matrix.shape)
        self._symmetric = gram or _is_symmetric(matrix)
        scope = Scope(cluster)
        # with the operator go its shares; the scope must not know it, or it would never go
        self._finalizer = weakref.finalize(self, scope.close)
        self._finalizer.atexit = False
        log = RoundLog(verified(scope, verify))
        self.rounds: list[RoundRecord] = log.records
        if stays_sparse:
            self._product: Callable[[Array], Array] = _sparse_product(
                matrix, log, rows_code(code, partitions, cluster.size), name, gram
            )
            return
        chosen = self._choose(code, partitions, cluster, matrix.shape)
        product = chosen.product(cluster.size)
        log.cluster.store(name, Shares(cluster.size, lambda: product.encode_left(matrix)))
        tolerance = chosen.tolerance if decoding_tolerance is None else decoding_tolerance
        self._product = StoredProduct(log, product, name, matrix.shape, tolerance, label=f"{name} @ X")

    def close(self) -> None:
        """Let the workers forget the shares, as happens when the operator is forgotten."""
        self._finalizer()

    @staticmethod
    def _choose(code: str, partitions: int | None, cluster: Cluster, shape: tuple[int, int]) -> Code:
        """The code asked for; for ``"auto"`` what a plan for products of some columns would choose."""
        length, workers = min(shape), cluster.size
        delays = cluster.delays if code == "auto" and partitions is None else None
        # what times schemes is loaded where one is to be chosen
        from coded_als.als.choice import choose
        from coded_als.als.schemes import Size

        size = Size(*shape, min(TYPICAL_COLUMNS, length))
        best = choose(size, workers, "lobpcg", delays, cluster.machine)
        return choose_code(code, partitions, workers, length) if best is None else best.chosen(size)

    def _matmat(self, X: Any) -> Any:
        right = np.asarray(X)
        if right.dtype.kind == "c":  # in one round: A real, so the parts do not mix
            columns = right.shape[1]
            both = self._product(np.hstack([right.real, right.imag]))
            return both[:, :columns] + 1j * both[:, columns:]
        if right.dtype.kind not in REAL:
            raise UsageError(f"what is multiplied must be numbers; got {right.dtype}. Correct it.")
        return self._product(right)

    def _matvec(self, x: Any) -> Any:
        return self._matmat(np.asarray(x).reshape(-1, 1))[:, 0]

    def _adjoint(self) -> LinearOperator:
        if not self._symmetric:
            raise NotImplementedError(
                "a coded operator must be symmetric to have an adjoint; store the transpose as another one."
            )
        return self


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


def _sparse_product(matrix: Any, log: RoundLog, code: Code, name: str, gram: bool) -> Callable[[Array], Array]:
    """X -> A X, or A^T (A X), with blocks of rows of A given to the workers."""
    rows = SparseRows.given_out(matrix, log, copies_of(code), name)
    if gram:
        return partial(rows.gram_product, label=f"{name}: A^T (A X)")
    return partial(rows.product, label=f"{name} @ X")
