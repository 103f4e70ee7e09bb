"""Compiling all loops beforehand, so that no first fit and no first new user waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from scipy import sparse

from coded_als.baselines.alternating import ImplicitALS, RidgeALS
from coded_als.baselines.compiled import loops
from coded_als.baselines.model import SparseModel
from coded_als.baselines.ranking import BPR, WARP
from coded_als.baselines.stochastic import SGD


def warm_up(tell: Callable[[str], object]) -> str | None:
    """Use every loop once for each type of numbers, which compiles it where that has not been done.

    Returns the folder that keeps the machine code for later processes, or None where there is none.
    """
    rng = np.random.default_rng(0)
    ratings = sparse.csr_array(np.where(rng.random((8, 6)) < 0.5, rng.integers(1, 6, (8, 6)), 0).astype(float))
    for model in _models():
        tell(type(model).__name__)
        model.fit(ratings)
        for method in model._fold_methods:
            model.fold_in(ratings, method=method)
    folders = {dispatcher.stats.cache_path for dispatcher in loops.values()}
    return min((folder for folder in folders if folder), default=None)


def _models() -> Iterator[SparseModel]:
    """A model of each way to compute, for both types of numbers."""
    for kind, dtype in product((RidgeALS, ImplicitALS, SGD, BPR, WARP), ("float32", "float64")):
        yield kind(rank=2, iterations=1, dtype=dtype)
        if kind in (RidgeALS, ImplicitALS):
            yield kind(rank=2, iterations=1, dtype=dtype, solver="cg")
