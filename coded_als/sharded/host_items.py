"""New users against fixed items, on the host: few rows, of sizes that no program was compiled for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Floats, Integers
from coded_als.models.explanation import influences
from coded_als.sharded.objectives import Objective


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
