"""The ratings that the workers hold, as the master knows them and as a model reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array


@dataclass(frozen=True)
class RatingFacts:
    """What the master knows of the ratings as a whole.

    Parameters
    ----------
    entries
        How many.
    mean
        Of all.
    least, largest
        Of all.
    squares
        Sum of their squares.
    """

    entries: int
    mean: float
    least: float
    largest: float
    squares: float


@dataclass(frozen=True)
class Reading:
    """What a model reads in a stored rating r: weight ``a = c0 + c1 (r - mean)``, target ``b = t0 + t1 (r - mean)``.

    Parameters
    ----------
    mean, c0, c1, t0, t1
        As above.
    power
        The model's constant is the sum of this power of the targets, 1 or 2.
    bits
        Of the arithmetic, 32 or 64.
    """

    mean: float = 0.0
    c0: float = 1.0
    c1: float = 0.0
    t0: float = 0.0
    t1: float = 1.0
    power: int = 2
    bits: int = 64

    def as_array(self) -> Array:
        """The numbers in their order, (7,), as they travel."""
        return np.array([self.mean, self.c0, self.c1, self.t0, self.t1, self.power, self.bits], dtype=np.float64)
