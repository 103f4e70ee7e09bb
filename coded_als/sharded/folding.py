"""New users against fixed items, on the host: few rows, whose sizes no program was compiled for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Floats
from coded_als.sharded.objectives import Objective


def fold_rows(
    matrix: sparse.csr_array, items: Floats, item_biases: Floats | None, objective: Objective
) -> NDArray[np.float32]:
    """Solve each new row exactly, in float64.

    Parameters
    ----------
    matrix
        (k, n) the new users' entries, the mean taken off.
    items, item_biases
        (n, d), and (n,) or None.
    objective
        What is minimised.

    Returns
    -------
    (k, d), or (k, d + 1) with the biases last
    """
    fixed = np.asarray(items, dtype=np.float64)
    penalty = np.ones(fixed.shape[1])
    if item_biases is not None:
        fixed = np.column_stack((fixed, np.ones(len(fixed))))
        penalty = np.append(penalty, objective.bias_penalty)
    common = objective.weight * (fixed.T @ fixed)
    ridge = objective.ridge(np.diff(matrix.indptr), len(fixed))
    targets = objective.targets(matrix.data)
    solved = np.zeros((matrix.shape[0], len(penalty)), np.float32)
    for row in np.flatnonzero(np.diff(matrix.indptr)):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        columns = matrix.indices[entries]
        wanted = np.ones(columns.size) if targets is None else targets[entries].astype(np.float64)
        if item_biases is not None:
            wanted = wanted - item_biases[columns]
        factors = fixed[columns]
        matrix_of_row = common + factors.T @ factors + ridge[row] * np.diag(penalty)
        solved[row] = np.linalg.solve(matrix_of_row, factors.T @ wanted)
    return solved
