"""Evaluation points: where each worker evaluates the code's polynomials.

``circle`` points lie on the upper half of the unit circle. The matrices are real, so a response at z also is
the response at conj(z), conjugated: every worker is worth two evaluations and monomials stay well conditioned.
``real`` points are Chebyshev nodes and ``equispaced`` ones the plainest reading of the paper; both are kept for
its reproduction, and both lose digits exponentially in the number of coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.errors import UsageError

PointFamily = Literal["circle", "real", "equispaced"]


@dataclass(frozen=True)
class EvaluationPoints:
    """One evaluation point per worker.

    Parameters
    ----------
    family
        ``"circle"``, ``"real"`` (Chebyshev nodes) or ``"equispaced"``.
    workers
        Number of workers W, at least 1.
    """

    family: PointFamily
    workers: int

    def __post_init__(self) -> None:
        if self.family not in get_args(PointFamily):
            raise UsageError(
                f"points must be one of {', '.join(get_args(PointFamily))}; got {self.family!r}. Use 'circle'."
            )
        if self.workers < 1:
            raise UsageError(f"workers must be at least 1; got {self.workers}. Add workers.")

    @property
    def planes(self) -> int:
        """Real planes of one share: 2 on the circle (real and imaginary part), else 1."""
        return 2 if self.family == "circle" else 1

    def turns(self, exponents: NDArray[np.int64]) -> Array:
        """Angles of ``z_w ** e`` in [-pi, pi), (W, K), with z_w at pi (2j + 1) / (2W); neighbouring ids are far apart.

        Whole turns are taken off in whole numbers: ``e * angle`` in floating point would lose log2(e) bits.
        """
        half_steps = (2 * spread_order(self.workers)[:, np.newaxis] + 1) * exponents
        whole = 4 * self.workers
        return np.pi * ((half_steps + whole // 2) % whole - whole // 2) / (2 * self.workers)

    def powers(self, exponents: NDArray[np.int64]) -> Array:
        """Real and imaginary parts of ``x_w ** e``.

        Parameters
        ----------
        exponents
            Whole numbers, (K,).

        Returns
        -------
        (W, planes, K)
        """
        if self.family == "circle":
            turns = self.turns(exponents)
            return np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return np.asarray(self.real_nodes[:, np.newaxis] ** exponents)[:, np.newaxis, :]

    @property
    def real_nodes(self) -> Array:
        """The points of the real families, in [-1, 1], by worker id, (W,)."""
        if self.family == "real":
            return np.cos(self.turns(np.array([1]))[:, 0])
        return (2 * spread_order(self.workers) + 1 - self.workers) / self.workers


def spread_order(size: int) -> NDArray[np.int64]:
    """Positions 0 .. size-1 in bit-reversed (van der Corput) order.

    Workers that fail together have neighbouring ids (a rack, a host). A contiguous gap in the angles is the worst
    loss there is, so neighbours are given angles far apart.
    """
    bits = max(1, int(size - 1).bit_length())
    reversed_ids = [int(f"{worker:0{bits}b}"[::-1], 2) for worker in range(2**bits)]
    return np.array([position for position in reversed_ids if position < size], dtype=np.int64)
