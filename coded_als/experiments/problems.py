"""The synthetic problem of the experiments."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from coded_als.arrays import Array
from coded_als.planner.schemes import Size


@lru_cache(maxsize=2)
def paper_ratings(size: Size, seed: int, noise: float = 0.1) -> Array:
    """A product of random factors and noise of this deviation, as in section V of the paper: (m, n)."""
    rng = np.random.default_rng(seed)
    users, items = rng.standard_normal((size.rows, size.rank)), rng.standard_normal((size.columns, size.rank))
    ratings: Array = users @ items.T + noise * rng.standard_normal((size.rows, size.columns))
    return ratings
