"""The entangled polynomial code for C = A^T B (Yu, Maddah-Ali, Avestimehr; paper section III-A)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from coded_als.codes.decoding import LinearCode
from coded_als.codes.partition import block_size, cut, join
from coded_als.codes.points import EvaluationPoints, PointFamily
from coded_als.errors import UsageError
from coded_als.kernels import Array

# Shares encoded by one matrix product while streaming: bounds what the master holds at once.
STREAM_BYTES = 64 * 2**20


class EntangledPolynomialCode(LinearCode):
    """Codes C = A^T B with A cut r x p and B cut r x q (4), (5).

    ``A~(x) = sum_ji A[j,i] x^(j + i r)`` and ``B~(x) = sum_jk B[j,k] x^(r-1-j + k r p)``, so that C[i,k] is the
    coefficient of ``x^(r-1 + i r + k r p)`` in ``A~(x)^T B~(x)``, which pqr + r - 1 evaluations determine (7).

    Parameters
    ----------
    p, r, q
        Parts of the columns of A, of the rows of A and B, of the columns of B.
    workers
        Number of workers W, at least the recovery threshold.
    points
        ``"circle"`` (two evaluations per worker, every threshold halved), ``"real"`` (Chebyshev nodes) or
        ``"equispaced"``.

    Raises
    ------
    UsageError
        For parts below 1, unknown points, or fewer workers than the recovery threshold.

    Examples
    --------
    >>> import numpy as np
    >>> code = EntangledPolynomialCode(p=2, r=2, q=1, workers=5)
    >>> code.recovery_threshold
    3
    >>> a, b = np.arange(12.0).reshape(4, 3), np.ones((4, 2))
    >>> shares = zip(code.encode_left(a), code.encode_right(b))
    >>> left, right = dict(enumerate(shares))[0]
    >>> left.shape, right.shape
    ((2, 2, 2), (2, 2, 2))
    """

    def __init__(self, p: int, r: int, q: int, workers: int, points: PointFamily = "circle") -> None:
        if min(p, r, q) < 1:
            raise UsageError(f"p, r and q must be at least 1; got p={p}, r={r}, q={q}. Raise them.")
        self.p, self.r, self.q = p, r, q
        self.points = EvaluationPoints(points, workers)
        i, k = np.arange(p)[:, np.newaxis], np.arange(q)[np.newaxis, :]
        wanted = (r - 1 + i * r + k * r * p).ravel()
        exponents = np.arange(p * q * r + r - 1)
        super().__init__(self.points.powers(exponents), wanted)
        if workers < self.recovery_threshold:
            raise UsageError(
                f"workers must be at least {self.recovery_threshold}, the recovery threshold at p={p}, r={r}, q={q} "
                f"with {points} points; got {workers}. Add workers or lower the parts."
            )
        # in the order in which `cut` hands out blocks: column part first, then row part
        self._left = self.points.powers((np.arange(r)[np.newaxis, :] + np.arange(p)[:, np.newaxis] * r).ravel())
        powers_right = r - 1 - np.arange(r)[np.newaxis, :] + np.arange(q)[:, np.newaxis] * r * p
        self._right = self.points.powers(powers_right.ravel())

    def __reduce__(self) -> tuple[type[EntangledPolynomialCode], tuple[int, int, int, int, str]]:
        return type(self), (self.p, self.r, self.q, self.workers, self.points.family)

    def encode_left(self, matrix: Array) -> Array:
        """Shares of A by one matrix product: (M, N) gives (W, planes, M / r, N / p)."""
        return _encode(self._left, cut(matrix, self.r, self.p))

    def encode_right(self, matrix: Array) -> Array:
        """Shares of B by one matrix product: (M, Q) gives (W, planes, M / r, Q / q)."""
        return _encode(self._right, cut(matrix, self.r, self.q))

    def stream_left(self, matrix: Array) -> Iterator[Array]:
        """The shares of `encode_left` one after the other, at most some 64 MB of them in memory."""
        return _stream(self._left, cut(matrix, self.r, self.p))

    def stream_right(self, matrix: Array) -> Iterator[Array]:
        """The shares of `encode_right` one after the other, at most some 64 MB of them in memory."""
        return _stream(self._right, cut(matrix, self.r, self.q))

    def decode(
        self, responses: Mapping[int, Array], shape: tuple[int, int] | None = None, tolerance: float | None = None
    ) -> Array:
        """C = A^T B from every response given, by least squares.

        Parameters
        ----------
        responses
            ``A~^T B~`` by worker id, each (planes, N / p, Q / q).
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

    def response_shape(self, shape: tuple[int, int]) -> tuple[int, int, int]:
        """Shape of one response when C has the given shape."""
        return self.points.planes, block_size(shape[0], self.p), block_size(shape[1], self.q)


def _encode(generator: Array, blocks: Array) -> Array:
    workers, planes, coefficients = generator.shape
    shares = generator.reshape(-1, coefficients) @ blocks.reshape(coefficients, -1)
    return shares.reshape(workers, planes, *blocks.shape[2:])


def _stream(generator: Array, blocks: Array) -> Iterator[Array]:
    blocks = np.ascontiguousarray(blocks)
    share_bytes = generator.shape[1] * blocks[0, 0].nbytes
    batch = max(1, STREAM_BYTES // max(1, share_bytes))
    for start in range(0, generator.shape[0], batch):
        yield from _encode(generator[start : start + batch], blocks)
