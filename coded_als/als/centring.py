"""Centring: a matrix less the means of its columns, of its rows or of both, without filling a sparse one in.

A dense matrix is centred before anything is computed from it: a correction of a finished A^T A loses the square of the
offset. A sparse A stays as it is. Its means are further columns of it, [A P], and A X - P Q^T X is the product of these
with [X; -Q^T X]: the means are subtracted between A and A^T, and the workers multiply as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.als.problem import Problem
from coded_als.als.sparse_rows import SparseRows
from coded_als.arrays import EPS, Array
from coded_als.errors import UsageError

Center = Literal["columns", "rows", "both"]
# A matrix that is this part of itself once it is centred is nothing but rounding.
NOTHING_LEFT = 4 * EPS


@dataclass(frozen=True)
class Means:
    """The means that were subtracted: those of the rows, (m,), and those of the columns of the rest, (n,)."""

    rows: Array | None = None
    columns: Array | None = None


@dataclass(frozen=True)
class CentredProblem(Problem):
    """A - P Q^T of a sparse A; its ``matrix`` is [A P], (rows, l + k)."""

    directions: Array  # Q, (l, k)

    @property
    def length(self) -> int:
        return len(self.directions)

    @property
    def rounding(self) -> float:
        """The offset is there in every product, and so is its rounding."""
        return EPS * max(1.0, float(np.linalg.norm(self.matrix.data) / np.sqrt(self.squared_norm)))

    @cached_property
    def squared_norm(self) -> float:
        matrix, length = self.matrix, self.length
        rows, stored = len(self.matrix.indptr) - 1, int(np.sum(matrix.indices < length))
        if 2 * stored >= rows * length:
            return float(sum(np.vdot(block, block) for _, block in self.panels()))
        own, means = matrix[:, :length], matrix[:, length:].toarray()
        values = own.data - _offsets(own, means, self.directions)
        empty = self._of_empty_places(own, means)
        return float(np.vdot(values, values)) + empty

    def _of_empty_places(self, own: Any, means: Array) -> float:
        """The sum of the squares of P Q^T where A, (rows, l), stores nothing; ``means``: P, (rows, k)."""
        everywhere = float(np.sum((means.T @ means) * (self.directions.T @ self.directions)))
        offsets = _offsets(own, means, self.directions)
        return everywhere - float(np.vdot(offsets, offsets))

    def panels(self) -> Iterator[tuple[slice, Any]]:
        for rows, block in super().panels():
            yield rows, block[:, : self.length].toarray() - block[:, self.length :].toarray() @ self.directions.T

    def image(self, vectors: Array) -> Array:
        """A X of (l, k), (rows, k), at the master."""
        return super().image(extended(vectors, self.directions))

    def adjoint(self, vectors: Array) -> Array:
        """A^T Y of (rows, k), (l, k), at the master."""
        return reduced(super().adjoint(vectors), self.directions)


@dataclass(frozen=True)
class CentredRows:
    """Rows of [A P] on the workers, and the products of A - P Q^T with them."""

    rows: SparseRows
    directions: Array  # Q, (l, k)

    def gram_product(self, right: Array, label: str = "E = A^T (A X)") -> Array:
        """(A - P Q^T)^T (A - P Q^T) X in one round, (l, b)."""
        return reduced(self.rows.gram_product(extended(right, self.directions), label), self.directions)

    def product(self, right: Array, label: str = "U = A H") -> Array:
        """(A - P Q^T) H in one round, (rows, d)."""
        return self.rows.product(extended(right, self.directions), label)

    def transposed_product(self, left: Array) -> Array:
        """(A - P Q^T)^T Y in one round, (l, b)."""
        return reduced(self.rows.transposed_product(left), self.directions)


def extended(vectors: Array, directions: Array) -> Array:
    """[X; -Q^T X], (l + k, b), of X, (l, b), and Q, (l, k)."""
    return np.vstack([vectors, -(directions.T @ vectors)])


def reduced(images: Array, directions: Array) -> Array:
    """Y - Q Z, (l, b), of [Y; Z], (l + k, b), and Q, (l, k)."""
    length = len(directions)
    return np.asarray(images[:length] - directions @ images[length:])


def centred_problem(ratings: Any, center: Center | None) -> tuple[Problem, Means]:
    """The problem of R, (m, n), less its means; a dense R is copied, a sparse one is not filled in."""
    if center is None:
        return Problem.of(ratings), Means()
    before = Problem.of(ratings).squared_norm
    if sparse.issparse(ratings):
        problem: Problem
        problem, means = _sparse(ratings, center)
    else:
        matrix, means = _dense(ratings, center)
        problem = Problem.of(matrix)
    if not problem.squared_norm > NOTHING_LEFT**2 * before:
        raise UsageError(
            f"ratings must differ from their means; center={center!r} leaves nothing of them. Use another center or none."
        )
    return problem, means


def _dense(ratings: Array, center: Center) -> tuple[Array, Means]:
    matrix = np.array(ratings, dtype=np.float64)
    rows = take_means(matrix, 1) if center != "columns" else None
    columns = take_means(matrix, 0) if center != "rows" else None
    return matrix, Means(rows, columns)


def take_means(matrix: Array, axis: int) -> Array:
    """Take the means along an axis out of a matrix, in place; nothing is left of equal numbers.

    Returns the means, (columns,) for axis 0 and (rows,) for axis 1.
    """
    means: Array = np.zeros(matrix.shape[1 - axis])
    for _ in range(2):  # the second time for the part that rounding has left of a large mean
        step = np.clip(matrix.mean(axis=axis), matrix.min(axis=axis), matrix.max(axis=axis))
        matrix -= step if axis == 0 else step[:, np.newaxis]
        means += step
    return means


def sparse_means(matrix: Any, axis: int) -> Array:
    """The means of a sparse matrix along an axis, (rows,) or (columns,); of equal numbers exactly that number."""
    ends = (getattr(matrix, end)(axis=axis).toarray().ravel() for end in ("min", "max"))
    means = np.clip(matrix.mean(axis=axis), *ends)
    # once more for the part that rounding has left of a large mean
    places, count = (matrix.indices if axis == 0 else _rows_of(matrix)), means.size
    empty = matrix.shape[axis] - np.bincount(places, minlength=count)
    rest = np.bincount(places, matrix.data - means[places], count) - empty * means
    return np.asarray(means + rest / matrix.shape[axis])


def row_means(matrix: Any) -> Array:
    """The means of the rows of a matrix, dense or sparse, as a centred fit takes them, (rows,)."""
    return sparse_means(matrix, 1) if sparse.issparse(matrix) else take_means(np.array(matrix), 1)


def _sparse(ratings: Any, center: Center) -> tuple[CentredProblem, Means]:
    means, plain = _means_of(ratings, center), Problem.of(ratings)
    turned = Means(means.columns, means.rows) if plain.transposed else means
    matrix, directions = with_means(plain.matrix, turned)
    return CentredProblem(matrix, plain.transposed, directions), means


def _means_of(matrix: Any, center: Center) -> Means:
    rows = sparse_means(matrix, 1) if center != "columns" else None
    columns = sparse_means(matrix, 0) if center != "rows" else None
    if rows is not None and columns is not None:
        columns = columns - np.clip(rows.mean(), rows.min(), rows.max())
    return Means(rows, columns)


def with_means(matrix: Any, means: Means) -> tuple[Any, Array]:
    """[A P], (rows, l + k), and Q, (l, k), of a sparse A, (rows, l), and its means."""
    (height, length), parts = matrix.shape, []
    if means.columns is not None:
        parts.append((np.ones(height), means.columns))
    if means.rows is not None:
        parts.append((means.rows, np.ones(length)))
    offsets, directions = (np.column_stack(side) for side in zip(*parts, strict=True))
    return sparse.csr_array(sparse.hstack([matrix, sparse.csr_array(offsets)], format="csr")), directions


def centred_matrix(matrix: Any, center: Center) -> tuple[Any, Array | None]:
    """A, (rows, l), less its means, dense, and None; or [A P] and Q of a sparse A, as `with_means` has them."""
    if sparse.issparse(matrix):
        return with_means(matrix, _means_of(matrix, center))
    return _dense(matrix, center)[0], None


def _offsets(own: Any, means: Array, directions: Array) -> NDArray[np.float64]:
    """P Q^T where a csr matrix has entries, (entries,)."""
    rows = _rows_of(own)
    return np.asarray(sum(means[rows, k] * directions[own.indices, k] for k in range(means.shape[1])))


def _rows_of(matrix: Any) -> NDArray[Any]:
    """The row of each entry of a csr matrix, (entries,)."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
