"""A SciPy linear operator whose products survive stragglers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from coded_als.als.placement import Placement, default_partitions, default_tolerance
from coded_als.als.rounds import RoundLog, RoundRecord, StoredProduct
from coded_als.checks import require_whole
from coded_als.cluster import Cluster
from coded_als.codes import EntangledPolynomialCode, PointFamily
from coded_als.errors import UsageError
from coded_als.kernels import Array


class CodedOperator(LinearOperator):  # type: ignore[misc]
    """X -> A X on a cluster, one coded round for each product: any SciPy block method becomes straggler-tolerant.

    A block of vectors costs one round, so prefer methods that use `matmat` (`scipy.sparse.linalg.lobpcg`) over those
    that ask for one vector after the other.

    Parameters
    ----------
    matrix
        A, (M, N), dense. Its shares are stored on the workers at once.
    cluster
        Any `coded_als.cluster.Cluster`.
    partitions
        Parts h of rows and columns; by default as many as leave a quarter of the workers as stragglers.
    points
        ``"circle"``, ``"real"`` or ``"equispaced"``.
    decoding_tolerance
        Relative error that a product may have (default 1e-12 on the circle, 1e-8 at real points): a round goes on until
        its responses decode to it.
    name
        Name under which the workers hold the shares; two operators on one cluster need two names.

    Attributes
    ----------
    rounds
        A `RoundRecord` of every product so far.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import InlineCluster
    >>> a = np.diag([3.0, 2.0, 1.0])
    >>> operator = CodedOperator(a, InlineCluster(workers=5), partitions=2)
    >>> np.allclose(operator @ np.ones(3), [3.0, 2.0, 1.0])
    True
    """

    def __init__(
        self,
        matrix: Array,
        cluster: Cluster,
        *,
        partitions: int | None = None,
        points: PointFamily = "circle",
        decoding_tolerance: float | None = None,
        name: str = "operator",
    ) -> None:
        matrix = np.array(matrix, dtype=np.float64, order="C")  # a copy: shares may be views of it
        if matrix.ndim != 2 or not np.isfinite(matrix).all():
            raise UsageError(
                f"a coded operator must be a finite 2-d array; got shape {matrix.shape} or NaN. Correct the matrix."
            )
        super().__init__(np.dtype(np.float64), matrix.shape)
        self._symmetric = matrix.shape[0] == matrix.shape[1] and bool(np.array_equal(matrix, matrix.T))
        if partitions is not None:
            require_whole("partitions", partitions, 1)
        h = default_partitions(cluster.size, min(matrix.shape), points) if partitions is None else partitions
        code = Placement("coded", cluster.size, h, points).product_code()
        assert isinstance(code, EntangledPolynomialCode)
        log = RoundLog(cluster)
        cluster.store(name, code.encode_left(matrix))
        self.rounds: list[RoundRecord] = log.records
        tolerance = default_tolerance(points) if decoding_tolerance is None else decoding_tolerance
        self._product = StoredProduct(log, code, name, matrix.shape, tolerance, label=f"{name} @ X")

    def _matmat(self, X: Any) -> Array:
        return self._product(np.asarray(X))

    def _matvec(self, x: Any) -> Array:
        return self._product(np.asarray(x).reshape(-1, 1))[:, 0]

    def _adjoint(self) -> LinearOperator:
        if not self._symmetric:
            raise NotImplementedError(
                "a coded operator must be symmetric to have an adjoint; store the transpose as another one."
            )
        return self
