"""The entangled polynomial code (Yu, Maddah-Ali, Avestimehr; paper section III-A)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.codes.decoding import LinearCode
from coded_als.codes.encoding import encoded
from coded_als.codes.partition import join
from coded_als.codes.points import EvaluationPoints, PointFamily
from coded_als.codes.product import BlockCut, MatrixShape, require_few_coefficients
from coded_als.codes.thresholds import product_evaluations
from coded_als.errors import UsageError


class EntangledPolynomialCode(LinearCode, BlockCut):
    """Codes C = A B with A cut p x r and B cut r x q: (4) and (5), for the transpose of the paper's A.

    ``A~(x) = sum_ij A[i,j] x^(j + i r)`` and ``B~(x) = sum_jk B[j,k] x^(r-1-j + k r p)``, so that C[i,k] is the
    coefficient of ``x^(r-1 + i r + k r p)`` in ``A~(x) B~(x)``, which pqr + r - 1 evaluations determine (7). With
    r = q = 1 B~ is B itself, real at every point: everybody is sent the same, and one plane of it.

    Parameters
    ----------
    p, r, q
        Parts of the rows of A, of the columns of A and rows of B, of the columns of B.
    workers
        Number of workers W, at least the recovery threshold.
    points
        ``"circle"`` (two evaluations per worker, every threshold halved), ``"real"`` (Chebyshev nodes) or
        ``"equispaced"``.

    Raises
    ------
    UsageError
        For parts below 1, unknown points, fewer workers than the recovery threshold, or a code beyond all use.

    Examples
    --------
    >>> import numpy as np
    >>> code = EntangledPolynomialCode(p=2, r=2, q=1, workers=5)
    >>> code.recovery_threshold
    3
    >>> a, b = np.arange(12.0).reshape(3, 4), np.ones((4, 2))
    >>> left, right = next(zip(code.encode_left(a), code.encode_right(b)))
    >>> left.shape, right.shape
    ((2, 2, 2), (2, 2, 2))
    """

    def __init__(self, p: int, r: int, q: int, workers: int, points: PointFamily = "circle") -> None:
        BlockCut.__init__(self, p, r, q)
        self.points = EvaluationPoints(points, workers)
        evaluations = product_evaluations(p, r, q)
        # before anything is computed: a mistyped number would ask for terabytes first
        needed = -(-evaluations // self.points.planes)
        if workers < needed:
            raise UsageError(
                f"workers must be at least {needed}, the recovery threshold at p={p}, r={r}, q={q} "
                f"with {points} points; got {workers}. Add workers or lower the parts."
            )
        require_few_coefficients(workers * self.points.planes, evaluations)
        i, k = np.arange(p)[:, np.newaxis], np.arange(q)[np.newaxis, :]
        wanted = (r - 1 + i * r + k * r * p).ravel()
        LinearCode.__init__(self, self._powers(np.arange(evaluations)), wanted)
        # in the order in which `cut` hands out blocks: row part first, then column part
        j = np.arange(r)
        self._left = self._powers((j[np.newaxis, :] + np.arange(p)[:, np.newaxis] * r).ravel())
        self._right = self._powers((r - 1 - j[:, np.newaxis] + np.arange(q)[np.newaxis, :] * r * p).ravel())

    def _powers(self, exponents: NDArray[np.int64]) -> Array:
        """Of every worker's point, (W, planes, exponents); a code of one block needs no more than the real plane."""
        powers = self.points.powers(exponents)
        return powers[:, :1] if self.p == self.r == self.q == 1 else powers

    def __reduce__(self) -> tuple[type[EntangledPolynomialCode], tuple[int, int, int, int, str]]:
        return type(self), (self.p, self.r, self.q, self.workers, self.points.family)

    @property
    def right_planes(self) -> int:
        """One where B~ is B itself."""
        return 1 if self.r == self.q == 1 else self.planes

    @property
    def encoded_planes(self) -> tuple[int, int]:
        """All of them, but none of a factor that is sent as it is, in one block."""
        planes = self.workers * self.planes
        return (0 if self.p == self.r == 1 else planes), (0 if self.r == self.q == 1 else planes)

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Each worker's share of A, (N, M) giving (planes, N / p, M / r), encoded as they are asked for."""
        return encoded(self._left, matrix, self.p, self.r)

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Each worker's share of B, (M, Q) giving (planes, M / r, Q / q), encoded as they are asked for."""
        if self.r == self.q == 1:
            return repeat(matrix[np.newaxis], self.workers)
        return encoded(self._right, matrix, self.r, self.q)

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """C = A B from every response given, by least squares.

        Parameters
        ----------
        responses
            ``A~ B~`` by worker id, each (planes, N / p, Q / q).
        shape
            (N, Q) of C; without it C comes back with the padding that p and q caused, if any.
        tolerance
            The estimated relative error that is still acceptable; None accepts any.

        Raises
        ------
        NotEnoughWorkers, DecodingError
        """
        blocks = self.decode_blocks(responses, tolerance)
        rows, columns = blocks.shape[1:]
        shape = shape or (self.p * rows, self.q * columns)
        return join(blocks.reshape(self.p, self.q, rows, columns), shape)
