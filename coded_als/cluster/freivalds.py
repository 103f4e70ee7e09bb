"""Freivalds' check: whether a response is the product that it should be, from random combinations of its rows.

V (S X) = (V S) X for any V. With V random and secret, and V S made while the share S was at hand, the master
compares V Y of a response Y with (V S) X at the price of a few rows instead of all (Freivalds, Probabilistic machines
can use less running time, 1977). A sketch commutes with the kernels, so the kernel itself, run on a sketch, gives the
expected value.
Exact half-steps of sparse rows are checked by their residuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from coded_als.arrays import EPS, Array, Places
from coded_als.codes.pieces import PieceLayout
from coded_als.kernels import inner_product, product, read_entries, run_to_end, scaled, transposed_product

# Combinations of each response: with more of them fewer small errors hide (`benchmarks/liars.py`). A Gaussian combination
# of an error e is below t |e| with probability at most sqrt(2 / pi) t, and the k of them are independent.
COMBINATIONS = 4
# Rounding of an honest comparison, in units of eps |S| |x|. Errors of both signs grow with the root of the number of terms;
# where all terms are equal they have one sign, and grow linearly within the blocks in which BLAS sums (470 units seen).
FEWEST_UNITS, UNITS_PER_ROOT, UNITS_PER_TERM = 1024.0, 8.0, 1 / 16


class Secret:
    """The random combinations of one fit, which no worker may know.

    ``generator``: source of the combinations; by default the system's own entropy.
    """

    def __init__(self, generator: np.random.Generator | None = None) -> None:
        self._generator = generator or np.random.default_rng()
        self._known: dict[tuple[int, int], Array] = {}

    def combinations(self, worker: int, length: int) -> Array:
        """V of one worker, (k, length), Gaussian."""
        key = worker, length
        if key not in self._known:
            self._known[key] = self._generator.standard_normal((COMBINATIONS, length))
        return self._known[key]


@dataclass(frozen=True)
class Comparison:
    """The observed and the expected sketch of a response, and a bound on their difference by rounding."""

    observed: Array
    expected: Array
    bound: Any

    def agrees(self, growth: float = 1.0) -> bool:
        """Whether rounding explains the difference, of a type with so many times that of float64; never NaN or infinity."""
        with np.errstate(all="ignore"):
            bound = np.minimum(growth * self.bound, np.finfo(np.float64).max)
            return bool((np.abs(self.observed - self.expected) <= bound).all())


class Operand:
    """An operand of one worker, whole or reduced to its sketches.

    ``array``: the planes of a share (s, a, b), or a matrix; ``secret, worker``: the source of the random combinations,
    and the worker that they belong to.
    """

    def __init__(self, array: Array, secret: Secret, worker: int) -> None:
        self.array: Array | None = array
        self.rows, self.columns = array.shape[-2:]
        self.planes = array.shape[0] if array.ndim == 3 else 1
        self._secret, self._worker = secret, worker

    @cached_property
    def left(self) -> Array:
        """V S, (s, k, b)."""
        return np.asarray(self.row_combinations @ self._array)

    @cached_property
    def right(self) -> Array:
        """S V^T, (s, a, k)."""
        return np.asarray(self._array @ self.column_combinations.T)

    @cached_property
    def norm(self) -> float:
        """Frobenius norm."""
        return float(norms(self._array.reshape(-1, 1))[0])

    @cached_property
    def column_norms(self) -> Array:
        """Norms of the columns, over rows and planes, (b,)."""
        return norms(self._array.reshape(-1, self.columns))

    @property
    def row_combinations(self) -> Array:
        """V for the rows, (k, a)."""
        return self._secret.combinations(self._worker, self.rows)

    @property
    def column_combinations(self) -> Array:
        """V for the columns, (k, b)."""
        return self._secret.combinations(self._worker, self.columns)

    def reduced(self) -> Operand:
        """The same operand without its array: a check needs only the sketches and the norm."""
        _ = self.left, self.right, self.norm
        self.array = None
        return self

    @property
    def _array(self) -> Array:
        assert self.array is not None, "the array is gone"
        return self.array


# Combinations of the rows of each piece. A sketch of all pieces takes so many rows for each of them; a lie of relative 1e-9
# in one entry escapes one combination in some 4 % of all cases.
PIECE_COMBINATIONS = 2


@dataclass(frozen=True)
class PieceSketches:
    """Sketches of a worker's share, piece by piece, for the check of its answers."""

    combinations: Array  # V of all rows, (k, a)
    sketches: Array  # V_j S_j of each piece of rows, (c, s, k, b)
    sizes: Array  # Frobenius norm of each piece, (c,)

    @classmethod
    def of(cls, share: Any, secret: Secret, worker: int, layout: PieceLayout) -> PieceSketches:
        """The sketches of a share (s, a, b)."""
        height = share.shape[1]
        combinations = secret.combinations(worker, height)[:PIECE_COMBINATIONS]
        rows = [layout.rows(height, piece) for piece in range(layout.pieces)]
        sketches = np.array([combinations[:, part] @ share[:, part] for part in rows])
        return cls(combinations, sketches, np.array([np.linalg.norm(share[:, part]) for part in rows]))

    def times(self, right: Array, numbers: Sequence[int]) -> Array:
        """V_j S_j ``right`` of some pieces, one after the other, (s, k per piece, c)."""
        (found,) = run_to_end(product(np.concatenate(self.sketches[list(numbers)], axis=1), right))
        return np.asarray(found)

    def compare(
        self, numbers: Sequence[int], order: Sequence[slice], expected: Array, columns: Array, rows: Array
    ) -> Comparison:
        """The comparison of the rows of a product with S in some pieces, (s, rows, c), one piece after the other.

        ``numbers`` and ``order``: the pieces and their rows in the share; ``expected``: `times` of these pieces;
        ``columns``: norms of the other factor, (c,).
        """
        ends = np.cumsum([0, *(part.stop - part.start for part in order)])
        parts = [rows[:, first:last] for first, last in pairwise(ends.tolist())]
        observed = np.concatenate(
            [self.combinations[:, part] @ found for part, found in zip(order, parts, strict=True)], 1
        )
        sizes = np.repeat(self.sizes[list(numbers)], len(self.combinations))[:, np.newaxis] * columns
        lengths = self.sketches.shape[1] * self.sketches.shape[3], self.combinations.shape[1]
        return Comparison(observed, expected, bounded(sizes, *lengths))


def norms(columns: Array) -> Array:
    """Euclidean norms of columns, (n, c) giving (c,); squares neither overflow nor vanish."""
    largest = np.abs(columns).max(axis=0, initial=0.0)
    unit = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    divided = columns / unit
    return np.asarray(unit * np.sqrt(np.einsum("ij,ij->j", divided, divided)))


def rounding(*lengths: int) -> float:
    """The largest rounding error of an honest response, relative to the norms of the two operands."""
    terms = sum(lengths)
    return float(EPS * (FEWEST_UNITS + UNITS_PER_ROOT * np.sqrt(terms) + UNITS_PER_TERM * terms))


def bounded(sizes: Any, *lengths: int) -> Any:
    """A bound on rounding among normal numbers, plus the loss where products underflow."""
    with np.errstate(all="ignore"):
        return rounding(*lengths) * sizes + 8 * sum(lengths) * np.finfo(np.float64).tiny


def check_product(left: Operand, right: Operand, response: Array) -> Comparison:
    """The comparison of a response (s, a, c) to ``left @ right``, (s, a, b) and (s, b, c).

    Both operands may be known by their sketches alone.
    """
    observed = left.row_combinations @ response
    lengths = left.planes * left.columns, left.rows
    if right.array is not None:
        (expected,) = run_to_end(product(left.left, right.array))
        return Comparison(observed, expected, bounded(left.norm * right.column_norms, *lengths))
    (expected,) = run_to_end(product(left.left, right.right))
    return Comparison(
        observed @ right.column_combinations.T, expected, bounded(left.norm * right.norm, *lengths, right.columns)
    )


def check_transposed_product(left: Operand, right: Operand, response: Array) -> Comparison:
    """The comparison of a response (s, a, c) to ``left^T right``, (s, b, a) and (s, b, c), from the whole ``right``."""
    assert right.array is not None
    (expected,) = run_to_end(transposed_product(left.right, right.array))
    lengths = left.planes * left.rows, left.columns
    return Comparison(left.column_combinations @ response, expected, bounded(left.norm * right.column_norms, *lengths))


def check_inner_product(left: Operand, right: Operand, response: Array) -> Comparison:
    """The comparison of a real inner product (1, b, c) over rows and planes of (s, a, b) and (s, a, c).

    The whole of ``right`` must be at hand.
    """
    assert right.array is not None
    (expected,) = run_to_end(inner_product(left.right, right.array))
    lengths = left.planes * left.rows, left.columns
    return Comparison(left.column_combinations @ response, expected, bounded(left.norm * right.column_norms, *lengths))


def check_scaled(share: Operand, matrix: Operand, response: Array) -> Comparison:
    """The comparison of a response (s, a, c) to ``share @ matrix``, (s, a, b) and one real (b, c) for all planes."""
    assert matrix.array is not None
    (expected,) = run_to_end(scaled(share.left, matrix.array))
    return Comparison(
        share.row_combinations @ response,
        expected,
        bounded(share.norm * matrix.column_norms, share.columns, share.rows),
    )


def row_key(combinations: Array, data: Array, indices: Places, indptr: Places, columns: int) -> Array:
    """V A_k, (k, columns), for a csr block A_k and V (k, rows)."""
    return np.asarray((_csr(data, indices, indptr, columns).T @ combinations.T).T)


def row_gram_key(combinations: Array, data: Array, indices: Places, indptr: Places) -> Array:
    """V A_k^T A_k, (k, columns), for a csr block A_k and V (k, columns)."""
    block = _csr(data, indices, indptr, combinations.shape[1])
    return np.asarray((block.T @ (block @ combinations.T)).T)


def gram_key(combinations: Array, rows: Array) -> Array:
    """V A^T A, (k, columns), for dense rows A, (rows, columns), and V (k, columns)."""
    return np.asarray((combinations @ rows.T) @ rows)


def row_transposed_key(combinations: Array, data: Array, indices: Places, indptr: Places) -> Array:
    """V A_k^T for a csr block A_k and V (k, columns): (k, rows)."""
    return np.asarray((_csr(data, indices, indptr, combinations.shape[1]) @ combinations.T).T)


def check_rows(combinations: Array, key: Array, size: float, right: Array, response: Array, inner: int) -> Comparison:
    """The comparison of a product of sparse rows with ``right``, (l, b).

    ``key`` is V times these rows, ``size`` their Frobenius norm or a bound on it, and ``inner`` the most terms of a sum.
    """
    bound = bounded(size * norms(right), inner, len(response))
    return Comparison(combinations @ response, key @ right, bound)


def check_half_step(
    indptr: Places,
    indices: Places,
    data: Array,
    ridge: Array,
    fixed: Array,
    gram: Array,
    penalty: Array,
    offset: Array,
    reading: Array,
    solution: Array,
    sums: Array,
) -> Iterator[Comparison]:
    """The comparisons of `coded_als.baselines.block_kernel.solve_block`: every row must solve its normal equations.

    The sums must be those of the rows.

    Nothing is random here: a residual costs the rank-th part of forming the equations. Rows must have been solved in a
    backward stable way (`Reading.stable`): compiled loops leave larger residuals in ill-conditioned short rows.
    """
    curvature, target = read_entries(data, indices, offset, reading)
    owners = np.repeat(np.arange(ridge.size), np.diff(indptr))
    shape = ridge.size, len(fixed)
    with np.errstate(all="ignore"):
        weights = ridge[:, np.newaxis] * penalty
        scores = np.einsum("ed,ed->e", solution[owners], fixed[indices])
        observed = weights * solution + (solution @ gram if gram.size else 0.0)
        observed += _csr(curvature * scores, indices, indptr, shape[1]) @ fixed
        expected = _csr(target, indices, indptr, shape[1]) @ fixed
        lengths = np.sqrt(np.einsum("ed,ed->e", fixed, fixed))[indices]
        forms = np.linalg.norm(gram) + weights.max(axis=1) + _sums(owners, np.abs(curvature) * lengths**2, ridge.size)
        lengths_of_rows = np.sqrt(np.einsum("ed,ed->e", solution, solution))
        sizes = forms * lengths_of_rows + _sums(owners, np.abs(target) * lengths, ridge.size)
        longest = int(np.diff(indptr).max(initial=0)) + penalty.size**2
        yield Comparison(observed, expected, bounded(sizes, longest)[:, np.newaxis])
        constants = target if reading[5] == 1 else np.square(target)
        wanted = np.array([np.vdot(solution, 2 * expected - observed), constants.sum()])
        sizes = np.array([sizes @ lengths_of_rows, np.abs(constants).sum()])
        yield Comparison(sums, wanted, bounded(sizes, longest, data.size))


def _sums(owners: Any, numbers: Array, rows: int) -> Array:
    """The sums of the numbers of each row, (rows,)."""
    return np.bincount(owners, numbers, rows).astype(np.float64)


def _csr(data: Array, indices: Places, indptr: Places, columns: int) -> Any:
    # SciPy loads slowly, and only verification needs it here
    from scipy.sparse import csr_array

    return csr_array((data, indices, indptr), shape=(indptr.size - 1, columns))
