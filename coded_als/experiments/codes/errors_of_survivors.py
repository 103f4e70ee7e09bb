"""Decoding errors of a code as they are measured: from random survivors, and after the loss of a whole rack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array
from coded_als.codes import ProductCode, ReplicatedProduct
from coded_als.kernels import product, run_to_end

# Rows and columns of the matrix that is multiplied, at least; a code of more parts gets a row for each.
LENGTH, COLUMNS = 64, 2
# Racks that are lost, at most: evenly spread where there are more.
MOST_RACKS = 100


@dataclass(frozen=True)
class DecodingErrors:
    """Relative errors (Frobenius) of a decoded product, from as many responses as the recovery threshold.

    Parameters
    ----------
    median, p99
        Over random survivors; infinite where so many did not decode.
    contiguous
        The worst after losing workers with consecutive ids.
    """

    median: float
    p99: float
    contiguous: float


def decoding_errors(code: ProductCode, sets: int, seed: int = 0) -> DecodingErrors:
    """Measure a code on a random problem.

    Parameters
    ----------
    code
        How the product is spread.
    sets
        Random sets of survivors.
    seed
        Seed of the problem and of the sets.
    """
    rng = np.random.default_rng(seed)
    length = max(LENGTH, code.workers * 2)
    left, right = rng.standard_normal((length, length)), rng.standard_normal((length, COLUMNS))
    shares = zip(code.encode_left(left), code.encode_right(right), strict=True)
    responses = {worker: run_to_end(product(*pair))[0] for worker, pair in enumerate(shares)}
    exact = left @ right

    def error(chosen: list[int]) -> float:
        if not np.isfinite(code.error_estimate(chosen)):
            return np.inf
        found: Array = code.decode({worker: responses[worker] for worker in chosen}, (length, COLUMNS))
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))

    random = [error(_survivors(code, rng)) for _ in range(sets)]
    median, p99 = np.quantile(random, (0.5, 0.99), method="higher")
    return DecodingErrors(float(median), float(p99), max(error(chosen) for chosen in _without_a_rack(code)))


def _survivors(code: ProductCode, rng: np.random.Generator) -> list[int]:
    """As many random workers as may suffice; of copies, one of each block."""
    if isinstance(code, ReplicatedProduct):
        return [int(rng.choice(sorted(group))) for group in code.groups]
    return [int(worker) for worker in rng.permutation(code.workers)[: code.recovery_threshold]]


def _without_a_rack(code: ProductCode) -> list[list[int]]:
    """All workers but as many neighbours as may be lost, around the end too."""
    workers = code.workers
    spare = min(map(len, code.groups)) - 1 if isinstance(code, ReplicatedProduct) else workers - code.recovery_threshold
    firsts = np.unique(np.linspace(0, workers - 1, MOST_RACKS).astype(int))
    return [[(first + spare + place) % workers for place in range(workers - spare)] for first in firsts.tolist()]
