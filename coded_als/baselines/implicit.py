"""Implicit ALS: interactions, not ratings."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats
from coded_als.baselines.alternating import AlternatingModel
from coded_als.baselines.half_step import Rows
from coded_als.baselines.reading import Reading
from coded_als.checks import require_number
from coded_als.errors import UsageError


class ImplicitALS(AlternatingModel):
    """Weighted matrix factorisation: observed pairs should score 1, all others 0, the latter with less weight.

    Two parametrisations. By default that of Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on
    item recommendation benchmarks" (2022); the stored values do not matter, only where they are:

        sum_observed (1 - u.v)^2 + w sum_all (u.v)^2 + sum_u lambda (count_u + w n)^nu |u|^2 + the same over items

    With ``alpha``, that of Hu, Koren, Volinsky (2008), with confidence ``c = 1 + alpha r``:

        sum_observed c (1 - u.v)^2 + sum_unobserved (u.v)^2 + lambda (sum |u|^2 + sum |v|^2)

    Parameters
    ----------
    rank
        Number of factors d.
    regularization
        lambda, greater than 0.
    iterations
        Each is one half-step per side.
    unobserved_weight
        w, greater than 0 (0.1 by default).
    frequency_exponent
        nu (1 by default).
    alpha
        Greater than 0, as every stored value must be then; excludes the two before it.
    solver, cg_steps
        ``cholesky``, or ``cg``: that many warm-started conjugate-gradient steps per row and half-step.
    init_scale
        Length of a random starting row (the standard deviation of an entry is this over sqrt(d)).
    seed, threads, dtype
        As in `RidgeALS`.
    """

    kind: ClassVar[str] = "implicit"
    _homogeneous: ClassVar[bool] = False

    def __init__(
        self,
        rank: int = 64,
        regularization: float | None = None,
        iterations: int = 12,
        *,
        unobserved_weight: float | None = None,
        frequency_exponent: float | None = None,
        alpha: float | None = None,
        solver: str = "cholesky",
        cg_steps: int = 3,
        init_scale: float = 0.1,
        seed: int = 0,
        threads: int | None = None,
        dtype: str = "float32",
    ) -> None:
        if regularization is None:
            # Rendle's lambda is multiplied by counts, Hu's is not
            regularization = 0.005 if alpha is None else 1.0
        super().__init__(rank, regularization, iterations, solver, cg_steps, seed, threads, dtype)
        require_number("init_scale", init_scale, positive=True)
        if alpha is not None:
            require_number("alpha", alpha, positive=True)
            if unobserved_weight is not None or frequency_exponent is not None:
                raise UsageError(
                    "alpha must be given without unobserved_weight and frequency_exponent; got both. Leave one out."
                )
        elif unobserved_weight is not None:
            require_number("unobserved_weight", unobserved_weight, positive=True)
        if frequency_exponent is not None:
            require_number("frequency_exponent", frequency_exponent)
        self.alpha, self.init_scale = alpha, init_scale
        self.unobserved_weight, self.frequency_exponent = unobserved_weight, frequency_exponent

    def _starting_scale(self) -> float:
        return float(self.init_scale / np.sqrt(self.rank))

    def _weight(self) -> float:
        """The weight of the sum over all pairs."""
        if self.alpha is not None:
            return 1.0
        return 0.1 if self.unobserved_weight is None else self.unobserved_weight

    def _gram(self, fixed: Floats) -> Floats | None:
        return np.asarray(self._weight() * (fixed.T @ fixed), dtype=fixed.dtype)

    def _row_weights(self, lengths: NDArray[Any], others: int) -> Floats:
        if self.alpha is not None:
            return np.ones(len(lengths))
        exponent = 1.0 if self.frequency_exponent is None else self.frequency_exponent
        return np.asarray((lengths + self._weight() * others) ** exponent)

    def _require_least(self, least: float) -> None:
        if self.alpha is not None and least <= 0:
            raise UsageError(f"interactions must be greater than 0 with alpha; got {least}. Drop such entries.")

    def _reading(self, mean: float, scale: float) -> Reading:
        bits = 8 * np.dtype(self.dtype).itemsize
        if self.alpha is None:
            return Reading(t0=1.0, t1=0.0, power=1, bits=bits)
        return Reading(c0=0.0, c1=self.alpha, t0=1.0, t1=self.alpha, power=1, bits=bits)

    def _constant(self, rows: Rows) -> float:
        return float(rows.target.sum(dtype=np.float64))
