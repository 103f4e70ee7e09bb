"""The seam between the codes and the algorithm: ways to spread a product over workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from coded_als.arrays import FLOAT64, Array
from coded_als.codes.partition import block_size
from coded_als.errors import UsageError

MatrixShape = tuple[int, int]
PlaneShape = tuple[int, int, int]

# 1 GB of them; a decoder of so many unknowns already takes minutes.
MOST_COEFFICIENTS = 2**27


class ProductCode(Protocol):
    """A way to spread C = A B over W workers, for A (N, M) and B (M, Q).

    A is stored once, one share on each worker; B is sent every time, and a worker responds with the product of its two
    shares. Shares and responses are stacks of real planes, as `coded_als.kernels` has them.
    """

    @property
    def workers(self) -> int:
        """Number of workers W."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers of shares and responses."""
        ...

    @property
    def recovery_threshold(self) -> int:
        """Responses without which no set of workers suffices."""
        ...

    @property
    def encoded_planes(self) -> tuple[int, int]:
        """Planes of all the workers' shares of A, and of B, that are computed and not copied: what encoding costs."""
        ...

    @property
    def decoded_planes(self) -> int:
        """Multiplications of decoding, for each entry of C, when as many as the threshold have responded."""
        ...

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Estimated error of C decoded from these workers, infinite where they do not suffice.

        It is relative to |A| |B| (Frobenius), and not to |C|, which may be smaller.
        """
        ...

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Each worker's share of A, (planes, rows, columns), one after the other."""
        ...

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Each worker's share of B, (planes, rows, columns); the same array again where all get the same."""
        ...

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """C of the given shape (N, Q) from every response given; refused above the tolerance.

        Parameters
        ----------
        responses
            By worker, (planes, rows, columns) each.
        shape
            (N, Q); by default with the padding of the last blocks.
        tolerance
            Relative error that it may have; by default any.

        Returns
        -------
        C, (N, Q).
        """
        ...

    def left_shape(self, shape: MatrixShape) -> PlaneShape:
        """Shape of one share of an A of the given shape."""
        ...

    def right_shape(self, shape: MatrixShape) -> PlaneShape:
        """Shape of one share of a B of the given shape."""
        ...

    def response_shape(self, shape: MatrixShape) -> PlaneShape:
        """Shape of one response when C has the given shape."""
        ...


class BlockCut:
    """The shapes of shares and responses where A is cut p x r and B r x q; the base of every product code here.

    Parameters
    ----------
    p, r, q
        Parts of the rows of A, of the columns of A and rows of B, of the columns of B.
    """

    dtype = FLOAT64

    def __init__(self, p: int, r: int, q: int) -> None:
        if min(p, r, q) < 1:
            raise UsageError(f"p, r and q must be at least 1; got p={p}, r={r}, q={q}. Raise them.")
        self.p, self.r, self.q = p, r, q

    @property
    def planes(self) -> int:
        """Real planes of a share of A and of a response."""
        return 1

    @property
    def right_planes(self) -> int:
        """Real planes of a share of B."""
        return self.planes

    @property
    def encoded_planes(self) -> tuple[int, int]:
        """Planes of all the workers' shares of A, and of B, that are computed: none where blocks are sent as they are."""
        return 0, 0

    @property
    def decoded_planes(self) -> int:
        """Multiplications of decoding, for each entry of C: one stands for a copy."""
        return 1

    def left_shape(self, shape: MatrixShape) -> PlaneShape:
        """Shape of one share of an A of the given shape."""
        return self.planes, block_size(shape[0], self.p), block_size(shape[1], self.r)

    def right_shape(self, shape: MatrixShape) -> PlaneShape:
        """Shape of one share of a B of the given shape."""
        return self.right_planes, block_size(shape[0], self.r), block_size(shape[1], self.q)

    def response_shape(self, shape: MatrixShape) -> PlaneShape:
        """Shape of one response when C has the given shape."""
        return self.planes, block_size(shape[0], self.p), block_size(shape[1], self.q)


def require_few_coefficients(rows: int, blocks: int) -> None:
    """Refuse a code that combines so many blocks in so many rows that it could not be written down.

    Parameters
    ----------
    rows
        Rows of the generator.
    blocks
        Its columns.

    Raises
    ------
    UsageError
    """
    if rows * blocks > MOST_COEFFICIENTS:
        raise UsageError(
            f"a code must have at most {MOST_COEFFICIENTS:.0e} coefficients; got {rows} rows of {blocks}. Lower the parts "
            "or the workers."
        )


def multiplications(code: ProductCode, left: MatrixShape, columns: int) -> float:
    """Real multiplications of one worker for A of shape ``left`` and B with so many columns.

    Parameters
    ----------
    code
        How the product is spread.
    left
        Shape of A.
    columns
        Columns of B.
    """
    planes, rows, inner = code.left_shape(left)
    right_planes, _, width = code.right_shape((left[1], columns))
    return float(planes * right_planes * rows * inner * width)


def share_of_left(code: ProductCode, shape: MatrixShape) -> float:
    """What one worker stores of A, as a fraction of A; padding counts.

    Parameters
    ----------
    code
        How the product is spread.
    shape
        Of A.
    """
    return float(np.prod(code.left_shape(shape)) / np.prod(shape))
