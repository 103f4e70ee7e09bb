"""The problem of a fit: R weighted and in its unit, and A, the side of it with fewer columns.

PureSVD is only as good as its reading of the ratings, so they may be weighted before they are factorized.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse

from coded_als.arrays import EPS, Array
from coded_als.kernels import cached_columns, gram_product, run_to_end
from coded_als.models.rating_matrix import power_of_four, require_factorable

# A difference of traces below this part of them is computed from the data instead.
CANCELLED = 1e-5

Weighting = Literal["none", "binary", "centred", "log"]


def weighted(ratings: Any, weighting: Weighting, mean: float | None = None) -> tuple[Any, float]:
    """The matrix to factorize, and the constant to add to its predictions.

    ``ratings``: R, (m, n), dense or scipy sparse; zeros of a dense R are missing, as are entries that a sparse one
    lacks; ``weighting``: ``"none"``: the ratings; ``"binary"``: 1 for each; ``"centred"``: less their mean, so that
    a missing rating counts as the mean; ``"log"``: sign(r) log(1 + |r|).
    """
    if weighting == "none":
        return ratings, 0.0
    if sparse.issparse(ratings):
        matrix = ratings.tocsr().astype(np.float64)
        values, mean = reweighted(matrix.data, weighting, mean)
        return sparse.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape), mean
    matrix = np.array(ratings, dtype=np.float64)
    present = matrix != 0
    matrix[present], mean = reweighted(matrix[present], weighting, mean)
    return matrix, mean


def reweighted(values: Any, weighting: Weighting, mean: float | None) -> tuple[Any, float]:
    """The entries to factorize, (entries,), and the constant to add to predictions."""
    if weighting == "none":
        return values, 0.0
    if weighting == "binary":
        return np.ones_like(values), 0.0
    if weighting == "log":
        return np.sign(values) * np.log1p(np.abs(values)), 0.0
    if mean is None:
        mean = float(values.mean()) if values.size else 0.0
    return values - mean, mean


def unit_of(largest: float) -> float:
    """The power of 4 that brings an entry of this size into [1/4, 1), as far as float64 has it."""
    return min(4.0 * power_of_four(largest), 2.0**1022)


def in_unit(matrix: Any) -> tuple[Any, float]:
    """R in a unit in which nothing that is computed from it can leave float64, and that unit.

    It is the power of 4 that brings the largest entry into [1/4, 1): dividing by it is exact, and so is multiplying by
    its root.

    Raises UsageError if R is zero, or its squared norm is no float64.
    """
    values = matrix.data if sparse.issparse(matrix) else matrix
    largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    unit = unit_of(largest)
    if matrix.dtype == np.float32 and abs(np.log2(unit)) > 100:  # the unit, or what it divides, may be no float32
        matrix = matrix.astype(np.float64)
    if unit != 1.0 and sparse.issparse(matrix):
        # SciPy's own product with a number copies the places too
        matrix = type(matrix)((matrix.data * (1.0 / unit), matrix.indices, matrix.indptr), shape=matrix.shape)
    elif unit != 1.0:
        matrix = matrix * (1.0 / unit)
    values = matrix.data if sparse.issparse(matrix) else matrix
    require_factorable(largest, squared_sum(values) * unit * unit)
    return matrix, unit


@dataclass(frozen=True)
class Problem:
    """A matrix turned so that its Gram matrix is the smaller one: A = R for m >= n, A = R^T for m < n."""

    matrix: Any  # A, (rows, l) with rows >= l; dense float64 or scipy sparse
    transposed: bool  # whether A is R^T

    @classmethod
    def of(cls, ratings: Any) -> Problem:
        """Turn R, an (m, n) float64 array or scipy sparse matrix."""
        transposed = ratings.shape[0] < ratings.shape[1]
        return cls(ratings.T if transposed else ratings, transposed)

    @property
    def length(self) -> int:
        """l = min(m, n)."""
        return int(self.matrix.shape[1])

    @property
    def is_sparse(self) -> bool:
        """Whether R came as a sparse matrix."""
        return bool(sparse.issparse(self.matrix))

    @property
    def rounding(self) -> float:
        """The relative rounding of products with A."""
        return EPS

    @cached_property
    def squared_norm(self) -> float:
        """||R||^2 = tr D."""
        values = self.matrix.data if self.is_sparse else self.matrix
        with np.errstate(over="ignore"):
            return squared_sum(values)

    @cached_property
    def _ratings(self) -> Any:
        """R, (m, n), as it is stored: a sparse one by rows."""
        return self.matrix.T if self.transposed else self.matrix

    def image(self, vectors: Array) -> Array:
        """A X of (l, k), (rows, k), at the master."""
        return (transposed_product_of if self.transposed else product_of)(self._ratings, vectors)

    def adjoint(self, vectors: Array) -> Array:
        """A^T Y of (rows, k), (l, k), at the master."""
        return (product_of if self.transposed else transposed_product_of)(self._ratings, vectors)

    def gram_product(self, vectors: Array) -> Array:
        """A^T (A X) of (l, k), (l, k), at the master: a dense A is read once for both products."""
        if self.is_sparse:
            return self.adjoint(self.image(vectors))
        return run_to_end(gram_product(self.matrix, vectors))[0]

    def cancels(self, explained: float) -> bool:
        """Whether tr D less its ``explained`` part has lost the digits that matter."""
        return self.squared_norm - explained < CANCELLED * self.squared_norm

    def left_out(self, vectors: Array, explained: float) -> float:
        """|A - A X X^T|^2 of orthonormal X, (l, k), that explain so much of tr D; from the data where that cancels."""
        if not self.cancels(explained):
            return self.squared_norm - explained
        return self.squared_error(self.image(vectors), vectors)

    def squared_error(self, other: Array, factor: Array) -> float:
        """||A - other factor^T||^2 for (rows, d) and (l, d), as accurate as A itself."""
        # by blocks of rows: a difference of large traces would lose the digits that matter
        residuals = (np.asarray(block - other[rows] @ factor.T) for rows, block in self.panels())
        return float(sum(np.vdot(residual, residual) for residual in residuals))

    def panels(self) -> Iterator[tuple[slice, Any]]:
        """Blocks of some rows of A, dense or sparse as it is, and the places of these rows."""
        step = max(1, 2**21 // self.length)
        matrix = self.matrix.tocsr() if self.is_sparse else self.matrix
        for start in range(0, matrix.shape[0], step):
            rows = slice(start, start + step)
            yield rows, matrix[rows].astype(np.float64, copy=False)

    def dense(self) -> Array:
        """A, (rows, l), filled in where it is sparse."""
        if not self.is_sparse:
            return np.asarray(self.matrix, np.float64)
        blocks = (block.toarray() if sparse.issparse(block) else block for _, block in self.panels())
        return np.vstack(list(blocks))


@dataclass(frozen=True)
class DistributedProblem(Problem):
    """A problem with the `SparseRows` of A as its ``matrix``; every product with it is a round."""

    unit: float = 1.0  # divisor of the entries, a power of two: the factors are divided instead, which is exact too
    squares: float = 0.0  # sum of the squares of the entries as they are stored

    @property
    def is_sparse(self) -> bool:
        return True

    @property
    def squared_norm(self) -> float:
        return self.squares / self.unit / self.unit

    def image(self, vectors: Array) -> Array:
        """A X of (l, k), (rows, k), in one round."""
        return self.product(vectors)

    def adjoint(self, vectors: Array) -> Array:
        """A^T Y of (rows, k), (l, k), in one round."""
        found: Array = self.matrix.transposed_product(vectors, self.unit)
        return found

    def product(self, right: Array) -> Array:
        """A H of (l, d), (rows, d), in one round."""
        found: Array = self.matrix.product(right / self.unit)
        return found

    def gram_product(self, right: Array) -> Array:
        """A^T (A X) of (l, b), (l, b), in one round."""
        found: Array = self.matrix.gram_product(right / self.unit)
        return found / self.unit

    def squared_error(self, other: Array, factor: Array) -> float:
        """||A - other factor^T||^2 for (rows, d) and (l, d), as accurate as A itself."""
        found: float = self.matrix.squared_error(other * self.unit, factor)
        return found / self.unit / self.unit


# Numbers of a float32 matrix that are widened at a time.
WIDENED = 2**21


def _widened(matrix: Any) -> Iterator[tuple[slice, Any]]:
    """A matrix in float64, all at once where it is so, else some rows at a time; and the places of the rows."""
    height = matrix.shape[0]
    numbers = matrix.nnz if sparse.issparse(matrix) else matrix.size
    step = height if matrix.dtype == np.float64 else max(1, height * WIDENED // max(1, numbers))
    for start in range(0, height, step):
        rows = slice(start, start + step)
        yield rows, matrix if step >= height and matrix.dtype == np.float64 else matrix[rows].astype(np.float64)


def product_of(matrix: Any, right: Array) -> Array:
    """M X of a dense or sparse M of any type, (rows, l), and (l, k): in float64."""
    parts = [_times(panel, right, matrix.shape[1]) for _, panel in _widened(matrix)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def transposed_product_of(matrix: Any, left: Array) -> Array:
    """M^T Y of a dense or sparse M of any type, (rows, l), and (rows, k): in float64."""
    total: Array = np.zeros((matrix.shape[1], left.shape[1]))
    for rows, panel in _widened(matrix):
        part = _times(panel.T, left[rows], matrix.shape[1])
        total = part if panel.shape == matrix.shape else total + part
    return total


def _times(left: Any, right: Array, length: int) -> Array:
    """The product of a matrix and a block; of a sparse matrix with l columns or rows, by columns that stay in the cache."""
    groups = list(cached_columns(length, right.shape[1])) if sparse.issparse(left) else []
    if len(groups) < 2:
        return np.asarray(left @ right)
    found = np.empty((left.shape[0], right.shape[1]))
    for columns in groups:
        found[:, columns] = left @ np.ascontiguousarray(right[:, columns])
    return found


def squared_sum(values: Any) -> float:
    """The sum of the squares of an array, in float64, without a copy of it as a whole."""
    flat = values.reshape(-1) if values.flags.c_contiguous else values.T.reshape(-1)
    if flat.dtype == np.float64:
        return float(np.vdot(flat, flat))
    parts = (flat[start : start + WIDENED].astype(np.float64) for start in range(0, flat.size, WIDENED))
    return float(sum(np.vdot(part, part) for part in parts))
