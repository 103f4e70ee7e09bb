"""Kernels: the computations that a master may ask of a worker, as pure functions of real arrays.

A kernel is a generator: it yields between panels of some ten milliseconds, so that its caller
can look at an inbox and drop the rest, and it returns the tuple of result arrays. Shares are stacks of
planes (`coded_als.cluster`): ``(1, rows, columns)`` at a real point, ``(2, rows, columns)`` with the real
and the imaginary part at a point of the unit circle. Sparse rows are the three arrays of a csr matrix, the places as
int32.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import FLOAT_BYTES, Array, Places
from coded_als.lazy import offered

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Stored = Array | Places
Result = tuple[Array, ...]
Kernel = Callable[..., Generator[None, None, Result]]

# Multiplications in one panel: about 10 ms on one core at 10 to 20 GFLOP/s.
PANEL_OPERATIONS = 1.0e8
# Sparse rows pick rows of a block in any order: in groups of columns that fit into the second cache, 25 columns of 50,000 rows
# take 0.6 of the time that they take at once. No group is narrower than a line of the cache.
CACHE_BYTES, CACHE_LINE = 2**21, 64
# A multiplication of a sparse product takes about as long as this many of a dense one.
SPARSE_SLOWDOWN = 6


def as_stored(array: NDArray[Any]) -> Stored:
    """The array as workers keep it and as it travels: int32 and float32 as they are, everything else as float64."""
    return array if array.dtype in (np.int32, np.float32) else np.asarray(array, dtype=np.float64)


def product(left: Array, right: Array) -> Generator[None, None, Result]:
    """``left @ right`` of two shares: ``(s, a, b)`` and ``(s, b, c)`` or a real ``(1, b, c)`` give ``(s, a, c)``.

    ``left``: (s, a, b); ``right``: (s, b, c), or real (1, b, c).
    """
    return ((yield from _panels(left, right, transpose=False)),)


def transposed_product(left: Array, right: Array) -> Generator[None, None, Result]:
    """``left^T right`` (transpose, not conjugate) of two shares: `product` for a ``left`` that is held transposed.

    ``left``: (s, b, a); ``right``: (s, b, c), or real (1, b, c).
    """
    return ((yield from _panels(left, right, transpose=True)),)


def inner_product(left: Array, right: Array | None = None) -> Generator[None, None, Result]:
    """Real inner product over rows and planes: ``(s, a, b)`` and ``(s, a, c)`` give ``(1, b, c)``.

    Without ``right`` it is the Gram matrix of ``left``, a symmetric rank-k update.

    On the circle this is the real part of ``left^H right``, which is all that the decoding of
    ``B^T C`` needs: half the multiplications of the complex product, and a threshold of h.
    """
    yield
    return ((_flat(left).T @ _flat(left if right is None else right))[np.newaxis],)


def product_and_gram(stored: Array, right: Array, left: Array | None = None) -> Generator[None, None, Result]:
    """Round (a) of the paper: ``stored @ right`` and the inner product of ``left`` and ``right``.

    At real points ``left`` is a share of its own. On the circle it is left out: the share conjugate to
    ``right`` serves (the identity of f_L and f_R), and the product is a symmetric rank-k update.

    ``stored``: (s, a, b); ``right``: (s, b, c); ``left``: (s, b, c), or None for ``right``.
    """
    result = yield from _panels(stored, right, transpose=False)
    (gram,) = yield from inner_product(right) if left is None else inner_product(left, right)
    return result, gram


def gram_product(rows: Array, right: Array) -> Generator[None, None, Result]:
    """``A^T (A right)`` of dense rows A: (rows, l) and (l, b) give (l, b), and A^T A is not formed.

    ``rows``: A, of any type, of which some rows at a time are widened.
    """
    product = np.zeros(right.shape, right.dtype)
    length, columns = right.shape
    # a panel is multiplied twice while the cache holds it, and is much higher than the block that is added up is wide
    cached = max(2 * CACHE_BYTES // (FLOAT_BYTES * max(1, length)), 8 * columns)
    step = max(1, min(cached, int(PANEL_OPERATIONS / max(1, right.size))))
    for start in range(0, len(rows), step):
        yield
        panel = rows[start : start + step].astype(right.dtype, copy=False)
        product += panel.T @ (panel @ right)
    return (product,)


def scaled(share: Array, matrix: Array) -> Generator[None, None, Result]:
    """``share @ matrix`` with one real matrix for all planes: ``(s, a, b)`` and ``(b, c)`` give ``(s, a, c)``."""
    yield
    planes, rows, columns = share.shape
    return ((share.reshape(planes * rows, columns) @ matrix).reshape(planes, rows, matrix.shape[1]),)


def row_product(data: Array, indices: Places, indptr: Places, right: Array) -> Generator[None, None, Result]:
    """``A_k right`` of a block A_k of sparse rows: csr (rows, l) and (l, b) give (rows, b).

    ``data``: values of the block, (entries,); ``indices``: their columns, (entries,); ``indptr``: where rows begin,
    (rows + 1,).
    """
    require_rows(data, indices, indptr, len(right))
    return ((yield from _in_groups(right, len(right), partial(_image, data, indices, indptr))),)


def _image(data: Array, indices: Places, indptr: Places, right: Array) -> Generator[None, None, Array]:
    """``A_k right`` of columns that the cache holds, (rows, b)."""
    parts: list[Array] = []
    for _, ends in row_panels(indptr, right.shape[1]):
        yield
        parts.append(rows_between(data, indices, ends, len(right)) @ right)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty((0, right.shape[1]), np.result_type(data, right)), *parts])


def row_gram_product(data: Array, indices: Places, indptr: Places, right: Array) -> Generator[None, None, Result]:
    """``A_k^T (A_k right)`` of a block A_k of sparse rows: csr (rows, l) and (l, b) give (l, b).

    Nothing of size l^2 exists: two sparse products, one after the other.

    ``data``: values of the block, (entries,); ``indices``: their columns, (entries,); ``indptr``: where rows begin,
    (rows + 1,).
    """
    require_rows(data, indices, indptr, len(right))
    return ((yield from _in_groups(right, len(right), partial(_there_and_back, data, indices, indptr))),)


def _there_and_back(data: Array, indices: Places, indptr: Places, right: Array) -> Generator[None, None, Array]:
    """``A_k^T (A_k right)`` of columns that the cache holds, (l, b)."""
    total: Array | None = None
    for _, ends in row_panels(indptr, 2 * right.shape[1]):
        yield
        panel = rows_between(data, indices, ends, len(right))
        part = panel.T @ (panel @ right)
        total = part if total is None else np.add(total, part, out=total)
    return np.zeros(right.shape, np.result_type(data, right)) if total is None else total


def _back(length: int, data: Array, indices: Places, indptr: Places, left: Array) -> Generator[None, None, Array]:
    """``A_k^T left`` of columns that the cache holds, (l, b)."""
    total: Array | None = None
    for rows, ends in row_panels(indptr, left.shape[1]):
        yield
        part = rows_between(data, indices, ends, length).T @ left[rows]
        total = part if total is None else np.add(total, part, out=total)
    return np.zeros((length, left.shape[1]), np.result_type(data, left)) if total is None else total


def _in_groups(
    block: Array, length: int, product: Callable[[Array], Generator[None, None, Array]]
) -> Generator[None, None, Array]:
    """The product of all columns of a block, by groups that the cache holds."""
    parts = []
    for columns in cached_columns(length, block.shape[1]):
        parts.append((yield from product(np.ascontiguousarray(block[:, columns]))))
    return parts[0] if len(parts) == 1 else np.hstack(parts)


def cached_columns(length: int, width: int) -> Iterator[slice]:
    """Columns of a block, (l, b), in even groups that stay in the cache while sparse rows pick from them."""
    held = max(CACHE_LINE // FLOAT_BYTES, CACHE_BYTES // (FLOAT_BYTES * max(1, length)))
    # each group reads all entries: a few columns too many take less time than a group of their own
    groups = max(1, round(width / held))
    yield from (slice(width * group // groups, width * (group + 1) // groups) for group in range(groups))


def read_entries(
    data: Array, places: Places, offset: Array, reading: Array, dtype: Any = np.float64
) -> tuple[Array, Array]:
    """Weights and targets, (entries,) each, that stored ratings are in a half-step of sparse ALS.

    ``data, places``: (entries,) ratings and their columns; ``offset``: (n,) taken off the targets, or (0,) for nothing;
    ``reading``: `coded_als.baselines.half_step.Reading`, (8,); ``dtype``: of the result, in which the offset is taken off.
    """
    mean, c0, c1, t0, t1 = reading[:5].tolist()
    ratings = data.astype(np.float64) - mean
    target = (t0 + t1 * ratings).astype(dtype)
    if offset.size:
        target -= offset.astype(dtype)[places]
    return (c0 + c1 * ratings).astype(dtype), target


# Kernels with a row of the response, or rows of planes, for each row of the first operand: it comes in pieces.
PIECEWISE = ("product", "scaled")


# Kernels of sparse rows of which the responses to all pieces add up: each piece is a response of its own.
SUMMED = ("row_gram_product", "solve_pieces")


def piece_operands(kernel: str, operands: Sequence[Any], piece: int, pieces: int) -> tuple[Any, ...]:
    """The operands of a kernel with only the rows of one of so many pieces of the first; those of sparse rows by entries."""
    if kernel == "solve_pieces":
        return *operands, piece, pieces
    if kernel not in SUMMED:
        return operands[0][:, piece_rows(operands[0].shape[1], piece, pieces)], *operands[1:]
    data, indices, indptr, *others = operands
    first, last = piece_by_entries(indptr, piece, pieces)
    part = slice(int(indptr[first]), int(indptr[last]))
    return data[part], indices[part], indptr[first : last + 1] - indptr[first], *others


def piece_by_entries(indptr: Places, piece: int, pieces: int) -> tuple[int, int]:
    """The rows from and to of one of so many pieces of sparse rows, with about as many entries each."""
    ends = np.searchsorted(indptr, [indptr[-1] * number // pieces for number in (piece, piece + 1)])
    return 0 if piece == 0 else int(ends[0]), indptr.size - 1 if piece == pieces - 1 else int(ends[1])


def piece_rows(height: int, piece: int, pieces: int) -> slice:
    """The rows of one of so many pieces of a share; the master and its workers must cut alike."""
    return slice(piece * height // pieces, (piece + 1) * height // pieces)


def run_to_end(steps: Generator[None, None, Result]) -> Result:
    """Drive a kernel without looking up between its panels."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: Result = stop.value
            return result


def require_rows(data: Array, indices: Places, indptr: Places, columns: int) -> None:
    """`ValueError` unless these are a csr matrix with that many columns: compiled loops follow places unseen."""
    if not all(array.ndim == 1 for array in (data, indices, indptr)):
        raise ValueError("sparse rows must be three arrays with one axis each.")
    if not indices.dtype == indptr.dtype == np.int32:
        raise ValueError(f"places of sparse entries must be int32; got {indices.dtype} and {indptr.dtype}.")
    if not (
        indptr.size and indptr[0] == 0 and indptr[-1] == indices.size == data.size and (np.diff(indptr) >= 0).all()
    ):
        raise ValueError("the ends of sparse rows must ascend from 0 to the number of entries.")
    # as an unsigned number a negative place is larger than any other: one pass finds both
    if indices.size and indices.view(np.uint32).max() >= columns:
        raise ValueError(f"places of sparse entries must be from 0 to {columns - 1}.")


def row_panels(indptr: Places, width: int) -> Iterator[tuple[slice, Places]]:
    """The rows and their ends in panels of some ten milliseconds of work."""
    entries = int(PANEL_OPERATIONS / (SPARSE_SLOWDOWN * max(1, width)))
    start, rows = 0, indptr.size - 1
    while start < rows:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + entries, side="right")) - 1)
        yield slice(start, stop), indptr[start : stop + 1]
        start = stop


def _flat(share: Array) -> Array:
    """Planes and rows in one axis."""
    return share.reshape(-1, share.shape[-1])


def _panels(left: Array, right: Array, *, transpose: bool) -> Generator[None, None, Array]:
    """One, two or four real products, in panels of rows of the result."""
    if transpose:
        left = left.transpose(0, 2, 1)
    planes, rows, contraction = left.shape
    columns = right.shape[2]
    result = np.empty((planes, rows, columns), np.result_type(left, right))
    step = max(1, int(PANEL_OPERATIONS / (planes * len(right) * contraction * columns)))
    for start in range(0, rows, step):
        yield
        panel = slice(start, start + step)
        if len(right) == 1:
            for plane in range(planes):
                np.matmul(left[plane, panel], right[0], out=result[plane, panel])
        else:
            _complex_product(left[:, panel], right, result[:, panel])
    return result


def _complex_product(left: Array, right: Array, out: Array) -> None:
    """Complex product of planes by four real ones."""
    np.matmul(left[0], right[0], out=out[0])
    out[0] -= left[1] @ right[1]
    np.matmul(left[0], right[1], out=out[1])
    out[1] += left[1] @ right[0]


def load() -> None:
    """Import the libraries that the products need.

    It takes a tenth of a second and 12 MB, so the process that forks workers does it once for all of them (measured: 20
    workers on 2 cores spend 0.5 s of CPU until their first sparse product is there, and 3.3 s where each imports it
    itself); a process that never multiplies sparse rows is spared it.
    """
    import scipy.sparse  # noqa: F401


def rows_between(data: Array, indices: Places, ends: Places, columns: int) -> csr_array[Any]:
    """Some rows as a csr matrix of their own, (rows, columns), without a copy of their entries.

    ``data, indices``: values and columns of all rows, (entries,); ``ends``: where these rows begin and the last one
    ends, (rows + 1,).
    """
    from scipy.sparse import csr_array

    part = slice(ends[0], ends[-1])
    return csr_array((data[part], indices[part], ends - ends[0]), shape=(len(ends) - 1, columns))


# Entries of a block of rows that are written out at once.
WRITTEN_OUT = 2**21


def row_transposed_product(
    data: Array, indices: Places, indptr: Places, left: Array, extent: Array
) -> Generator[None, None, Result]:
    """``A_k^T left`` of a block A_k of sparse rows: csr (rows, l) and (rows, b) give (l, b).

    ``extent``: (l, 0), an empty array with as many rows as the sparse matrix has columns.
    """
    require_rows(data, indices, indptr, len(extent))
    back = partial(_back, len(extent), data, indices, indptr)
    return ((yield from _in_groups(left, len(extent), back)),)


def row_squared_error(
    data: Array, indices: Places, indptr: Places, left: Array, right: Array
) -> Generator[None, None, Result]:
    """``||A_k - left right^T||^2`` of a block A_k of sparse rows, (1, 1): entry by entry, so that nothing cancels.

    ``data, indices, indptr``: the block, csr (rows, l); ``left, right``: (rows, b) and (l, b).
    """
    require_rows(data, indices, indptr, len(right))
    total = 0.0
    step = max(1, WRITTEN_OUT // len(right))
    for start in range(0, indptr.size - 1, step):
        yield
        ends = indptr[start : start + step + 1]
        residual = left[start : start + step] @ right.T
        part = slice(int(ends[0]), int(ends[-1]))
        rows = np.repeat(np.arange(len(residual)), np.diff(ends))
        residual[rows, indices[part]] -= data[part]
        total += float(np.vdot(residual, residual))
    return (np.array([[total]]),)


KERNELS: dict[str, Kernel] = {
    kernel.__name__: kernel
    for kernel in (
        product,
        transposed_product,
        inner_product,
        product_and_gram,
        gram_product,
        scaled,
        row_product,
        row_gram_product,
        row_transposed_product,
        row_squared_error,
    )
}


def is_kernel(name: str) -> bool:
    """Whether this module, or a room above, has a kernel of this name."""
    return name in KERNELS or name in offered("kernels")


def find_kernel(name: str) -> Kernel:
    """The kernel of this name, imported now where a room above has it; `KeyError` for one that is not known."""
    if name in KERNELS:
        return KERNELS[name]
    kernel: Kernel = getattr(import_module(offered("kernels")[name]), name)
    return kernel
