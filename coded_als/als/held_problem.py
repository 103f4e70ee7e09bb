"""The problem of a fit whose data the workers hold and the master has never seen."""

from __future__ import annotations

from dataclasses import dataclass

from coded_als.als.problem import Problem
from coded_als.arrays import Array


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
        """||A - other factor^T||^2 for (rows, d) and (l, d), as accurate as A itself.

        Parameters
        ----------
        other
            (rows, d).
        factor
            (l, d).
        """
        found: float = self.matrix.squared_error(other * self.unit, factor)
        return found / self.unit / self.unit
