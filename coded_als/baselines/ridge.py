"""Ridge ALS on explicit ratings."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als.arrays import Floats
from coded_als.baselines.alternating import AlternatingModel
from coded_als.checks import require_number, require_one_of


class RidgeALS(AlternatingModel):
    """Explicit ratings by ``mean + user bias + item bias + u . v``, squared loss on the observed entries only.

    Minimises ``sum_observed (r - prediction)^2 + sum_u lambda_u (|u|^2 + rho b_u^2) + the same over items`` with
    ``lambda_u = regularization`` times the number of ratings of u where ``regularization_scaling="count"`` (Zhou et al. 2008),
    and ``rho = bias_regularization / regularization``.

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        Greater than 0.
    iterations
        Each is one exact half-step per side.
    biases
        Whether to centre the ratings and learn a bias per user and item.
    bias_regularization
        Regularisation of the biases; None for that of the factors.
    regularization_scaling
        ``none``: every row has the same regularisation; ``count``: times its number of ratings.
    solver, cg_steps
        ``cholesky``, or ``cg``: that many warm-started conjugate-gradient steps per row and half-step.
    seed
        Of the random start.
    threads
        None for one per core.
    dtype
        ``float32`` or ``float64``, of all arithmetic.
    """

    kind: ClassVar[str] = "ridge"

    def __init__(
        self,
        rank: int = 50,
        regularization: float = 10.0,
        iterations: int = 10,
        *,
        biases: bool = True,
        bias_regularization: float | None = None,
        regularization_scaling: str = "none",
        solver: str = "cholesky",
        cg_steps: int = 3,
        seed: int = 0,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(rank, regularization, iterations, solver, cg_steps, seed, threads, dtype)
        require_one_of("regularization_scaling", regularization_scaling, ("none", "count"))
        if bias_regularization is not None:
            require_number("bias_regularization", bias_regularization, positive=True)
        self.biases, self.bias_regularization, self.regularization_scaling = (
            biases,
            bias_regularization,
            regularization_scaling,
        )

    def _mean(self, matrix: sparse.csr_array) -> float:
        return float(matrix.data.mean(dtype=np.float64)) if self.biases else 0.0

    def _bias_regularization(self) -> float:
        return self.regularization if self.bias_regularization is None else self.bias_regularization

    def _row_weights(self, lengths: NDArray[Any], others: int) -> Floats:
        # a row without ratings has nothing to regularise, and any positive number keeps its matrix invertible
        return np.maximum(lengths, 1.0) if self.regularization_scaling == "count" else np.ones(len(lengths))
