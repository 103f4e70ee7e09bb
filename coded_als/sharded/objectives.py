"""Objectives of ALS on a sharded table: that of implicit feedback and that of explicit ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Implicit:
    """Every stored entry should score 1 and every pair 0, the latter with weight ``weight``.

    Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on item recommendation benchmarks" (2022);
    the same as `coded_als.ImplicitALS` without ``alpha``.

    Parameters
    ----------
    regularization
        lambda.
    weight
        Of the sum over all pairs.
    exponent
        nu: a row's ridge is ``lambda (entries + weight * others)^nu``.
    """

    regularization: float
    weight: float
    exponent: float
    biases: bool = False
    bias_penalty: float = 1.0

    def ridge(self, lengths: NDArray[Any], others: int) -> Floats:
        """(rows,) ridge of rows with so many entries, of so many rows on the other side."""
        return np.asarray(self.regularization * (lengths + self.weight * others) ** self.exponent)

    def mean(self, values: Floats) -> float:
        """What is subtracted from every entry."""
        return 0.0

    def targets(self, values: Floats) -> Floats | None:
        """What entries should score, None where that is 1."""
        return None


@dataclass(frozen=True)
class Explicit:
    """Squared loss on the observed ratings only; the same as `coded_als.RidgeALS`.

    Parameters
    ----------
    regularization
        Of every row, or with ``by_count`` (Zhou et al. 2008) of every rating of a row.
    by_count
        Which of the two.
    biases
        Whether ratings are centred and rows have biases.
    bias_penalty
        Weight of a squared bias beside a squared factor.
    """

    regularization: float
    by_count: bool
    biases: bool
    bias_penalty: float
    weight: float = 0.0

    def ridge(self, lengths: NDArray[Any], others: int) -> Floats:
        """(rows,) ridge of rows with so many entries, of so many rows on the other side."""
        return self.regularization * (np.maximum(lengths, 1.0) if self.by_count else np.ones(len(lengths)))

    def mean(self, values: Floats) -> float:
        """What is subtracted from every entry."""
        return float(values.mean(dtype=np.float64)) if self.biases else 0.0

    def targets(self, values: Floats) -> Floats | None:
        """What entries should score."""
        return values


Objective = Implicit | Explicit
