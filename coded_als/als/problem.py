"""The problem of a fit: A, the side of R with fewer columns, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from coded_als.arrays import Array

# A difference of traces below this part of them is computed from the data instead.
CANCELLED = 1e-5


@dataclass(frozen=True)
class Problem:
    """A matrix turned so that its Gram matrix is the smaller one: A = R for m >= n, A = R^T for m < n.

    Parameters
    ----------
    matrix
        A, (rows, l) with rows >= l; dense float64 or scipy sparse.
    transposed
        Whether A is R^T.
    """

    matrix: Any
    transposed: bool

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

    @cached_property
    def squared_norm(self) -> float:
        """||R||^2 = tr D."""
        values = self.matrix.data if self.is_sparse else self.matrix
        with np.errstate(over="ignore"):
            return float(np.vdot(values, values))

    def image(self, vectors: Array) -> Array:
        """A X of (l, k), (rows, k), at the master."""
        return np.asarray(self.matrix @ vectors)

    def adjoint(self, vectors: Array) -> Array:
        """A^T Y of (rows, k), (l, k), at the master."""
        return np.asarray(self.matrix.T @ vectors)

    def cancels(self, explained: float) -> bool:
        """Whether tr D less what is explained has lost the digits that matter."""
        return self.squared_norm - explained < CANCELLED * self.squared_norm

    def left_out(self, vectors: Array, explained: float) -> float:
        """|A - A X X^T|^2 of orthonormal X, (l, k), that explain so much of tr D; from the data where that cancels."""
        if not self.cancels(explained):
            return self.squared_norm - explained
        return self.squared_error(self.image(vectors), vectors)

    def squared_error(self, other: Array, factor: Array) -> float:
        """||A - other factor^T||^2 for (rows, d) and (l, d), as accurate as A itself."""
        # by blocks of rows: a difference of large traces would lose the digits that matter
        step = max(1, 2**22 // self.length)
        blocks = (slice(start, start + step) for start in range(0, self.matrix.shape[0], step))
        matrix = self.matrix.tocsr() if self.is_sparse else self.matrix
        residuals = (np.asarray(matrix[rows] - other[rows] @ factor.T) for rows in blocks)
        return float(sum(np.vdot(residual, residual) for residual in residuals))


@dataclass(frozen=True)
class HeldProblem(Problem):
    """A problem whose ``matrix`` is the `SparseRows` of A; every product with it is a round.

    Parameters
    ----------
    unit
        What the entries are to be divided by, a power of two: what is multiplied is divided, which is exact too.
    squares
        Sum of the squares of the entries as they are stored.
    """

    unit: float = 1.0
    squares: float = 0.0

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
