"""Objectives of ALS on a sharded table, for implicit feedback and for explicit ratings, and the descent they promise.

They solve for new users on the host: few rows, of sizes that no program was compiled for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Floats, Integers
from coded_als.errors import UsageError
from coded_als.models.rating_matrix import power_of_four
from coded_als.models.recommending import influences

# Greatest apparent rise of an objective in an epoch: a part of itself, and a hundredth of that part of the squares it
# is a difference of.
_ROUNDING = {"float32": 1e-3, "bfloat16": 1e-2}


@dataclass(frozen=True)
class Implicit:
    """Every stored entry should score 1 and every pair 0, the latter with weight ``weight``.

    Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on item recommendation benchmarks" (2022);
    the same as `coded_als.ImplicitALS` without ``alpha``.
    """

    regularization: float  # lambda
    weight: float  # of the sum over all pairs
    exponent: float  # nu: a row's ridge is ``lambda (entries + weight * others)^nu``
    biases: bool = False
    bias_penalty: float = 1.0

    def ridge(self, lengths: NDArray[Any], others: int) -> Floats:
        """(rows,) ridge of rows with so many entries, of so many rows on the other side."""
        return np.asarray(self.regularization * (lengths + self.weight * others) ** self.exponent)

    def units(self, values: Floats) -> tuple[float, float]:
        """The constant that is subtracted from every entry, and the divisor of the rest."""
        return 0.0, 1.0

    def in_units(self, scale: float) -> Implicit:
        """The same objective for divided entries."""
        return self

    def targets(self, values: Floats) -> Floats | None:
        """Wanted scores of entries, (entries,); None if all are 1."""
        return None


@dataclass(frozen=True)
class Explicit:
    """Squared loss on the observed ratings only; the same as `coded_als.RidgeALS`."""

    regularization: float  # of every row, or with ``by_count`` (Zhou et al. 2008) of every rating of a row.
    by_count: bool  # which of the two
    biases: bool  # whether ratings are centred and rows have biases
    bias_regularization: float  # of the biases
    weight: float = 0.0

    @property
    def bias_penalty(self) -> float:
        """Weight of a squared bias beside a squared factor."""
        return self.bias_regularization / self.regularization

    def ridge(self, lengths: NDArray[Any], others: int) -> Floats:
        """(rows,) ridge of rows with so many entries, of so many rows on the other side."""
        return self.regularization * (np.maximum(lengths, 1.0) if self.by_count else np.ones(len(lengths)))

    def units(self, values: Floats) -> tuple[float, float]:
        """The constant that is subtracted from every entry, and the divisor of the rest, a power of four."""
        with np.errstate(over="ignore"):
            mean = float(values.mean()) if self.biases else 0.0
            size = float(np.abs(values - mean).max())
        if not np.isfinite(size * size * values.size):
            raise UsageError(
                f"ratings must be so small that their squares are finite; got {size:.0e}. Scale them down."
            )
        return mean, power_of_four(size)

    def in_units(self, scale: float) -> Explicit:
        """The same objective for divided entries: factors are in units of the root of the scale, biases of the scale."""
        least = float(np.finfo(np.float32).eps)
        return replace(
            self,
            regularization=max(self.regularization / scale, least),
            bias_regularization=max(self.bias_regularization, least),
        )

    def targets(self, values: Floats) -> Floats | None:
        """Wanted scores of entries, (entries,)."""
        return values


Objective = Implicit | Explicit


def descended(objective: float, earlier: float, squares: float, table_dtype: str) -> float:
    """An objective, which but for rounding no epoch makes larger."""
    if not np.isfinite(objective):
        raise UsageError(
            "ratings and regularization must be of a size that float32 can square; got a fit that overflows. Scale them."
        )
    if objective > earlier + _ROUNDING[table_dtype] * (earlier + squares / 100):
        raise UsageError(
            "regularization must be so large that float32 can solve for the rows; "
            f"got an objective that rose by {objective / earlier - 1:.1%} in an epoch. "
            "Raise it, or use RidgeALS or ImplicitALS with dtype='float64'."
        )
    return objective


@dataclass(frozen=True, eq=False)
class HostItems:
    """The items as the equations of new users need them, all in float64."""

    items: Floats  # (n, d)
    item_biases: Floats | None  # (n,) or None
    objective: Objective  # the function that training minimises
    _fixed: NDArray[np.float64] = field(init=False, repr=False)
    _penalty: NDArray[np.float64] = field(init=False, repr=False)
    _common: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fixed = np.asarray(self.items, dtype=np.float64)
        penalty = np.ones(fixed.shape[1])
        if self.item_biases is not None:
            fixed = np.column_stack((fixed, np.ones(len(fixed))))
            penalty = np.append(penalty, self.objective.bias_penalty)
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_penalty", penalty)
        object.__setattr__(self, "_common", self.objective.weight * (fixed.T @ fixed))

    def fold_in(self, matrix: sparse.csr_array) -> NDArray[np.float32]:
        """Rows (k, d), or (k, d + 1) with the biases last, that solve exactly for the new users' entries (k, n), less their mean."""
        solved = np.zeros((matrix.shape[0], self._penalty.size), np.float32)
        for row in np.flatnonzero(np.diff(matrix.indptr)):
            entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
            columns = matrix.indices[entries]
            wanted = self._wanted(columns, matrix.data[entries])
            solved[row] = np.linalg.solve(self._equations(columns), self._fixed[columns].T @ wanted)
        return solved

    def contributions(self, columns: Integers, values: NDArray[np.float64], asked: int) -> NDArray[np.float64]:
        """(k,): the part of the score of item ``asked`` that comes from each entry of a new user, less the mean."""
        rated, wanted = self._fixed[columns], self._fixed[asked]
        influence = influences(rated, np.ones(len(rated)), self._ridge(columns), self._common, wanted)
        return np.asarray(self._wanted(columns, values) * influence)

    def _equations(self, columns: Integers) -> NDArray[np.float64]:
        """(d, d) the normal equations of a row with entries in these columns."""
        factors = self._fixed[columns]
        return np.asarray(self._common + factors.T @ factors + np.diag(self._ridge(columns)))

    def _ridge(self, columns: Integers) -> NDArray[np.float64]:
        """(d,) the ridge weights of such a row."""
        ridge = self.objective.ridge(np.array([columns.size]), len(self._fixed))[0]
        return np.asarray(ridge * self._penalty)

    def _wanted(self, columns: Integers, values: Floats) -> NDArray[np.float64]:
        """(k,) wanted scores of entries, less the items' biases."""
        targets = self.objective.targets(values)
        wanted = np.ones(columns.size) if targets is None else targets.astype(np.float64)
        return wanted if self.item_biases is None else wanted - self.item_biases[columns]
