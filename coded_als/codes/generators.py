"""Random rows for systematic codes, and the search for a good seed.

Gaussian rows decode from any survivors with probability one, and some seeds a hundred times better than others in the
worst case. The worst of all survivors is too dear to know beyond a dozen workers; the worst of a sample, which is the
same for all seeds, tells bad seeds from good ones.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array

# The rows g (spare, p) and h (spare, q) of the workers beyond the plain ones.
Generators = tuple[Array, Array]

SEEDS = 8
# All survivors are looked at up to so many; beyond, so many random ones.
SAMPLE = 2000
# Multiplications that the search may cost in all; fewer seeds are tried where one costs more.
SEARCH_OPERATIONS = 2e8


def product_rows(generators: Generators) -> Array:
    """Coefficients g_i h_k of each worker, (spare, p q): the row-wise Kronecker (Khatri-Rao) product."""
    left, right = generators
    rows = left[:, :, np.newaxis] * right[:, np.newaxis, :]
    return np.asarray(rows).reshape(len(left), left.shape[1] * right.shape[1])


def gaussian_generators(spare: int, p: int, q: int, seed: int) -> Generators:
    """Rows of unit length on average; those of h are ones where q = 1, as B is then sent as it is.

    Parameters
    ----------
    spare
        Workers beyond those with plain blocks.
    p
        Parts of the rows of A.
    q
        Parts of the columns of B.
    seed
        Of the random numbers.
    """
    rng = np.random.default_rng([seed, spare, p, q])
    left = rng.standard_normal((spare, p)) / np.sqrt(p)
    return left, np.ones((spare, 1)) if q == 1 else rng.standard_normal((spare, q)) / np.sqrt(q)


@lru_cache(maxsize=64)
def good_generators(spare: int, p: int, q: int) -> Generators:
    """The best of a few seeds: the one whose worst decoding over a sample of survivors amplifies errors least.

    Parameters
    ----------
    spare
        Workers beyond the p q plain ones.
    p, q
        Parts of both factors.

    Returns
    -------
    g (spare, p) and h (spare, q).
    """
    blocks = p * q
    if spare == 0:
        return gaussian_generators(0, p, q, 0)
    losses = _losses(spare, blocks)
    cost = sum(len(helpers) * helpers.shape[1] ** 3 for helpers, _ in losses)
    seeds = max(1, min(SEEDS, int(SEARCH_OPERATIONS / max(1, cost))))
    candidates = [gaussian_generators(spare, p, q, seed) for seed in range(seeds)]
    return min(candidates, key=lambda generators: _worst(product_rows(generators), losses))


def _losses(spare: int, blocks: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Ways to lose ``spare`` of all workers, by e = 1, 2, ...: helpers left (n, e) and blocks missing (n, e)."""
    workers = spare + blocks
    if comb(workers, spare) <= SAMPLE:
        lost = np.array(list(combinations(range(workers), spare)), dtype=np.int64)
    else:
        rng = np.random.default_rng(0)
        count = max(50, min(SAMPLE, int(SEARCH_OPERATIONS / spare**3)))
        lost = np.sort(rng.permuted(np.tile(np.arange(workers), (count, 1)), axis=1)[:, :spare], axis=1)
    plain = (lost < blocks).sum(axis=1)
    found = []
    for e in range(1, min(spare, blocks) + 1):
        here = lost[plain == e]
        if len(here):
            gone = np.zeros((len(here), workers), dtype=bool)
            np.put_along_axis(gone, here, True, axis=1)
            helpers = np.nonzero(~gone[:, blocks:])[1].reshape(len(here), e)
            found.append((helpers, here[:, :e]))
    return found


def _worst(parities: Array, losses: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> float:
    """The largest norm of an inverse that solves for the missing blocks."""
    worst = 0.0
    for helpers, missing in losses:
        systems = parities[helpers[:, :, np.newaxis], missing[:, np.newaxis, :]]
        try:
            worst = max(worst, float(np.linalg.norm(np.linalg.inv(systems), axis=(1, 2)).max()))
        except np.linalg.LinAlgError:
            return np.inf
    return worst
