"""A product that is computed by a code: how its operands are cut, encoded and decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import FLOAT64, Array
from coded_als.errors import UsageError

MatrixShape = tuple[int, int]
PlaneShape = tuple[int, int, int]

# 1 GB of them; a decoder of so many unknowns already takes minutes.
MOST_COEFFICIENTS = 2**27


class MatrixCode(Protocol):
    """A way to spread C = A B over W workers, for A (N, M) and B (M, Q).

    A is stored once, one share on each worker; B is sent every time, and a worker responds with the product of its two
    shares. Shares and responses are stacks of real planes, as `coded_als.kernels` has them.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als.codes import SystematicCode
    >>> code = SystematicCode(4, 1, 6)
    >>> code.recovery_threshold, code.workers
    (4, 6)
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
        """Planes of all the workers' shares of A, and of B, that are computed and not copied: the cost of encoding."""
        ...

    @property
    def decoded_planes(self) -> int:
        """Multiplications of decoding, for each entry of C, when as many as the threshold have responded."""
        ...

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Return the estimated error of C decoded from these workers, infinite where they do not suffice.

        It is relative to |A| |B| (Frobenius), and not to |C|, which may be smaller.
        """
        ...

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Return each worker's share of A, (planes, rows, columns), one after the other."""
        ...

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Return each worker's share of B, (planes, rows, columns); the same array again where all get the same."""
        ...

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """Return C of the given shape (N, Q) from every response given; refused above the tolerance.

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
        """Return the shape of one share of an A of the given shape."""
        ...

    def right_shape(self, shape: MatrixShape) -> PlaneShape:
        """Return the shape of one share of a B of the given shape."""
        ...

    def response_shape(self, shape: MatrixShape) -> PlaneShape:
        """Return the shape of one response when C has the given shape."""
        ...


class BlockCut:
    """The shapes of shares and responses where A is cut p x r and B r x q; the base of every product code here.

    Parameters
    ----------
    p
        Number of parts of the rows of A.
    r
        Number of parts of the columns of A and of the rows of B.
    q
        Number of parts of the columns of B.
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
    """Refuse a code that combines so many blocks in so many rows that it could not be written down."""
    if rows * blocks > MOST_COEFFICIENTS:
        raise UsageError(
            f"a code must have at most {MOST_COEFFICIENTS:.0e} coefficients; got {rows} rows of {blocks}. Lower the parts "
            "or the workers."
        )


def multiplications(code: MatrixCode, left: MatrixShape, columns: int) -> float:
    """Real multiplications of one worker for A of shape ``left`` and B with so many columns."""
    planes, rows, inner = code.left_shape(left)
    right_planes, _, width = code.right_shape((left[1], columns))
    return float(planes * right_planes * rows * inner * width)


def share_of_left(code: MatrixCode, shape: MatrixShape) -> float:
    """The part of A that one worker stores, as a fraction of A; padding counts."""
    return float(np.prod(code.left_shape(shape)) / np.prod(shape))


def block_size(length: int, parts: int) -> int:
    """Length of one of ``parts`` equal blocks, the last one padded with zeros."""
    return -(-length // parts)


def cut(matrix: Array, row_parts: int, column_parts: int) -> Array:
    """Blocks of a matrix, (M, N) into (row_parts, column_parts, M / row_parts, N / column_parts).

    Returns A view, where nothing is padded and rows alone are cut.
    """
    rows, columns = block_size(matrix.shape[0], row_parts), block_size(matrix.shape[1], column_parts)
    padding = (rows * row_parts - matrix.shape[0], columns * column_parts - matrix.shape[1])
    if any(padding):
        matrix = np.pad(matrix, ((0, padding[0]), (0, padding[1])))
    return matrix.reshape(row_parts, rows, column_parts, columns).transpose(0, 2, 1, 3)


def row_blocks(matrix: Array, parts: int) -> Iterator[Array]:
    """Parts of the rows, (M / parts, N) each: views, but for those that are cut short and padded with zeros.

    ``matrix``: (rows, columns).
    """
    rows = block_size(matrix.shape[0], parts)
    for start in range(0, rows * parts, rows):
        block = matrix[start : start + rows]
        yield block if len(block) == rows else np.pad(block, ((0, rows - len(block)), (0, 0)))


def join(blocks: Array, shape: tuple[int, int]) -> Array:
    """Matrix of blocks (row_parts, column_parts, rows, columns) without its padding, of the given shape.

    Parameters
    ----------
    blocks
        (row_parts, column_parts, rows, columns).
    shape
        Rows and columns of the matrix.

    Returns
    -------
    The matrix, of ``shape``.
    """
    row_parts, column_parts, rows, columns = blocks.shape
    matrix = blocks.transpose(0, 2, 1, 3).reshape(row_parts * rows, column_parts * columns)
    return np.ascontiguousarray(matrix[: shape[0], : shape[1]])


def deal(lengths: NDArray[Any], shards: int) -> list[NDArray[np.int64]]:
    """Row numbers of each shard of a sparse matrix: equally many in each, and about equally many entries.

    The rows, longest first, are dealt like cards, forth and back.

    ``lengths``: (rows,) entries of each row. Returns one array for each shard, of one length; -1 in its last place
    where the rows do not go up.
    """
    height = block_size(len(lengths), shards)
    order = np.full(height * shards, -1, dtype=np.int64)
    order[: len(lengths)] = np.argsort(-lengths, kind="stable")
    table = order.reshape(height, shards)
    table[1::2] = table[1::2, ::-1].copy()
    return [np.ascontiguousarray(table[:, shard]) for shard in range(shards)]


# Bytes of shares encoded at once: they bound the master's memory beside the matrix, ...
STREAM_BYTES = 64 * 2**20
# ... and may be this part of it, as the whole matrix is read once for each batch.
STREAM_PART = 0.5
# Entries of all blocks brought together at a time: they fit a core's cache, so that the blocks are read but once.
PANEL_ENTRIES = 2**17


def encoded(generator: Array, matrix: Array, row_parts: int, column_parts: int) -> Iterator[Array]:
    """Linear combinations of the blocks of a matrix, one worker's planes after the other.

    Parameters
    ----------
    generator
        (W, planes, row_parts * column_parts), blocks in the order of `coded_als.codes.product.cut`.
    matrix
        (M, N), as if padded with zeros where the parts do not divide it.
    row_parts
        Number of parts of the rows.
    column_parts
        Number of parts of the columns.

    Returns
    -------
    W arrays (planes, M / row_parts, N / column_parts), encoded some 64 MB, or half the size of the matrix, at a time.
    """
    planes = generator.shape[1]
    shape = block_size(matrix.shape[0], row_parts), block_size(matrix.shape[1], column_parts)
    bytes_at_once = max(STREAM_BYTES, STREAM_PART * matrix.nbytes)
    batch = max(1, int(bytes_at_once / max(1, planes * math.prod(shape) * matrix.itemsize)))
    combine = _by_rows(matrix, row_parts) if column_parts == 1 else _by_blocks(cut(matrix, row_parts, column_parts))
    for start in range(0, len(generator), batch):
        shares = combine(generator[start : start + batch].reshape(-1, row_parts * column_parts))
        yield from shares.reshape(-1, planes, *shape)


def _by_rows(matrix: Array, parts: int) -> Callable[[Array], Array]:
    """Combinations of parts of the rows, which are taken where they lie; the last may be cut short."""
    height = block_size(matrix.shape[0], parts)
    last = matrix.shape[0] // height * height
    whole, rest = matrix[:last].reshape(last // height, -1), matrix[last:].reshape(-1)

    def combine(coefficients: Array) -> Array:
        shares: Array = coefficients[:, : len(whole)] @ whole
        if rest.size:
            # SciPy takes a tenth of a second to load, and a master needs none before it encodes
            from scipy.linalg.blas import daxpy

            for share, coefficient in zip(shares, coefficients[:, len(whole)], strict=True):
                daxpy(rest, share, a=coefficient)  # in place, without a product of the size of the shares
        return shares

    return combine


def _by_blocks(blocks: Array) -> Callable[[Array], Array]:
    """Combinations of blocks (row_parts, column_parts, rows, columns), brought together a few rows of each at a time."""
    rows, columns = blocks.shape[2:]
    count = blocks.shape[0] * blocks.shape[1]
    step = max(1, PANEL_ENTRIES // (count * columns))

    def combine(coefficients: Array) -> Array:
        shares = np.empty((len(coefficients), rows * columns))
        for start in range(0, rows, step):
            panel = blocks[:, :, start : start + step].reshape(count, -1)
            np.matmul(coefficients, panel, out=shares[:, start * columns : start * columns + panel.shape[1]])
        return shares

    return combine
