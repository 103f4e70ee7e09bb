"""Problems and fits that the checks on virtual devices share."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import sparse

from coded_als.sharded import ShardedALS

COUNTS = (1, 2, 8)


@cache
def ratings() -> sparse.csr_array:
    """A skewed matrix of ratings from 1 to 5 with empty rows and columns."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, 91)
    matrix = rng.random((150, 90)) < np.minimum(4 * popularity, 0.7)
    matrix[3, :80] = True
    matrix[7], matrix[:, 11] = False, False
    return sparse.csr_array(np.where(matrix, rng.integers(1, 6, matrix.shape), 0).astype(np.float64))


# small batches, so that rows and batches cut each other
SETTINGS = {"rank": 6, "iterations": 4, "batch_pieces": 24, "piece_length": 4, "seed": 3}
# a program of one group and one length of pieces, still with padding, compiles twice as fast
ODD = {"piece_length": 3}


@cache
def fitted(devices: int, **parameters) -> ShardedALS:
    """A fit of `ratings`, compiled once for all checks; ``told`` is what its callback heard."""
    told = []
    model = ShardedALS(devices=devices, **{**SETTINGS, **parameters}).fit(ratings(), callback=told.append)
    model.told = told
    return model


@pytest.fixture(autouse=True, scope="session")
def eight_devices() -> None:
    import jax

    assert len(jax.devices()) == max(COUNTS)
