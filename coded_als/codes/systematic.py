"""The systematic random code: plain blocks on most workers, random combinations on the others.

B is thin in E = D B, so D alone is worth spreading: the first p workers hold one block of rows of D each, the other
W - p a Gaussian combination of all of them, and every worker is sent the same B. Any p responses decode, and those of
the first p workers are blocks of E as they stand, so decoding computes only the missing blocks. Prior art: MDS-coded
matrix-vector products (Lee et al. 2018); random Khatri-Rao codes (Subramaniam, Heidarzadeh, Narayanan 2019) where both
factors are cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations, repeat
from math import comb
from typing import Self

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import EPS, Array
from coded_als.checks import require_whole
from coded_als.codes.decoding import CACHED_DECODERS, ROUNDING_UNITS, solve_triangular
from coded_als.codes.family import STRAGGLER_RESERVE, CodeSpec, register_code
from coded_als.codes.pieces import require_pieces
from coded_als.codes.product import BlockCut, MatrixShape, cut, encoded, join, require_few_coefficients, row_blocks
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError

# The rows g (spare, p) and h (spare, q) of the workers beyond the plain ones.
Generators = tuple[Array, Array]

SEEDS = 8
# Up to so many sets of survivors all are examined; beyond, so many random ones.
SAMPLE = 2000
# Multiplications that the search may cost in all; fewer seeds are tried where one costs more.
SEARCH_OPERATIONS = 2e8


def product_rows(generators: Generators) -> Array:
    """Coefficients g_i h_k of each worker, (spare, p q): the row-wise Kronecker (Khatri-Rao) product."""
    left, right = generators
    rows = left[:, :, np.newaxis] * right[:, np.newaxis, :]
    return np.asarray(rows).reshape(len(left), left.shape[1] * right.shape[1])


def gaussian_generators(spare: int, p: int, q: int, seed: int) -> Generators:
    """Rows of unit length on average; those of h are ones where q = 1, as B is then sent as it is."""
    rng = np.random.default_rng([seed, spare, p, q])
    left = rng.standard_normal((spare, p)) / np.sqrt(p)
    return left, np.ones((spare, 1)) if q == 1 else rng.standard_normal((spare, q)) / np.sqrt(q)


@lru_cache(maxsize=64)
def good_generators(spare: int, p: int, q: int) -> Generators:
    """The best of a few seeds: in its worst decoding over a sample of survivors it amplifies errors least.

    Returns g (spare, p) and h (spare, q).
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


WorkerIds = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MissingBlocks:
    """The recovery of the blocks that no worker has sent plainly: prepared once, applied often."""

    # plain workers that have responded, and those that have not; e of the latter
    known: WorkerIds
    missing: WorkerIds
    helpers: WorkerIds  # the f >= e workers beyond the plain ones that have responded
    rows: Array  # coefficients of all blocks in the helpers' combinations, (f, blocks)
    norm: float  # Frobenius norm of the whole decoder, in units of one response's norm
    solution: Array  # the pseudo-inverse of ``rows[:, missing]``, (e, f)

    @classmethod
    def of(cls, parities: Array, workers: tuple[int, ...]) -> MissingBlocks:
        """Prepare for the responses of these workers; ``parities`` is (W - blocks, blocks)."""
        blocks = parities.shape[1]
        responded = np.array(workers, dtype=np.int64)
        known, helpers = responded[responded < blocks], responded[responded >= blocks]
        missing = np.delete(np.arange(blocks), known)
        rows = parities[helpers - blocks]
        # The equations of the missing blocks have rounding errors of two kinds: a helper's own, as long as its row, and
        # those of the known blocks that are taken off. In the metric of their covariance least squares is best, and
        # more never harms.
        own, taken_off = np.linalg.norm(rows, axis=1), rows[:, known]
        metric = np.linalg.cholesky(np.diag(own**2) + taken_off @ taken_off.T)
        orthogonal, triangle = np.linalg.qr(solve_triangular(metric, rows[:, missing], lower=True))
        if missing.size and not np.abs(np.diagonal(triangle)).min() > 0.0:
            return cls(known, missing, helpers, rows, np.inf, np.zeros((missing.size, helpers.size)))
        inverse = solve_triangular(triangle, np.eye(missing.size))
        solution = inverse @ solve_triangular(metric, orthogonal, transposed=True, lower=True).T
        norm = float(np.sqrt(known.size + np.linalg.norm(inverse) ** 2))
        return cls(known, missing, helpers, rows, norm, np.asarray(solution))

    def apply(self, responses: Mapping[int, Array]) -> Array:
        """Every block from responses of shape (1, rows, columns), (blocks, rows, columns): the missing ones solved for."""
        rows, columns = next(iter(responses.values())).shape[1:]
        blocks = np.zeros((self.rows.shape[1], rows, columns))
        for worker in self.known:
            blocks[worker] = responses[int(worker)][0]
        if self.missing.size:
            flat = blocks.reshape(len(blocks), -1)
            sums = np.concatenate([responses[int(worker)].reshape(1, -1) for worker in self.helpers])
            flat[self.missing] = self.solution @ (sums - self.rows @ flat)
        return blocks


class SystematicCode(BlockCut):
    """Codes C = A B with A cut into p parts of rows and B into q parts of columns; any pq responses decode.

    Worker ``i q + k`` computes the block A[i] B[k] for the first pq workers; each other one computes
    ``(sum_i g_i A[i]) (sum_k h_k B[k])`` with random g and h of its own, which is a combination of all blocks with
    coefficients g_i h_k. With q = 1 B is sent as it is.

    Parameters
    ----------
    p
        Number of parts of the rows of A.
    q
        Number of parts of the columns of B.
    workers
        Number of workers W, at least pq.
    generators
        The rows g (W - pq, p) and h (W - pq, q) of the workers beyond the first pq; by default Gaussian ones of which
        the worst decoding is good. With rows of your own, whether every pq workers decode is for you to see to.

    Raises
    ------
    UsageError
        For parts below 1, fewer workers than pq, or generators of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> code = SystematicCode(p=3, q=1, workers=5)
    >>> a, b = np.arange(12.0).reshape(6, 2), np.ones((2, 1))
    >>> shares = zip(code.encode_left(a), code.encode_right(b))
    >>> responses = {worker: left @ right for worker, (left, right) in enumerate(shares) if worker not in (0, 2)}
    >>> np.allclose(code.decode(responses), a @ b)
    True
    """

    def __init__(self, p: int, q: int, workers: int, generators: Generators | None = None) -> None:
        super().__init__(p, 1, q)
        self.workers = workers
        spare = workers - p * q
        if spare < 0:
            raise UsageError(
                f"workers must be at least {p * q}, the recovery threshold at p={p}, q={q}; got {workers}. "
                "Add workers or lower the parts."
            )
        require_few_coefficients(spare, p * q)
        self._given = generators
        if generators is not None and (shapes := tuple(map(np.shape, generators))) != ((spare, p), (spare, q)):
            raise UsageError(
                f"generators must have the shapes {(spare, p)} and {(spare, q)} at W={workers}, p={p}, q={q}; "
                f"got {shapes}. Give a row for each worker beyond the first {p * q}."
            )
        if generators is not None and not _usable(product_rows(generators)):
            raise UsageError("generators must be finite with no row of zeros; got such a row.")
        self._prepare = lru_cache(maxsize=CACHED_DECODERS)(lambda chosen: MissingBlocks.of(self.parities, chosen))

    @cached_property
    def _generators(self) -> Generators:
        """Looked for when they are first needed: shapes and costs are known without them."""
        return good_generators(self.workers - self.p * self.q, self.p, self.q) if self._given is None else self._given

    @cached_property
    def parities(self) -> Array:
        """Coefficients of all blocks on the workers beyond the first pq, (W - pq, pq)."""
        return product_rows(self._generators)

    def __reduce__(self) -> tuple[type[SystematicCode], tuple[int, int, int, Generators | None]]:
        return type(self), (self.p, self.q, self.workers, self._given)

    @property
    def recovery_threshold(self) -> int:
        """pq: any so many workers decode."""
        return self.p * self.q

    @property
    def encoded_planes(self) -> tuple[int, int]:
        """Planes of the workers beyond the first pq, and none of B if every worker is sent B itself."""
        spare = self.workers - self.p * self.q
        return spare, spare if self.q > 1 else 0

    @property
    def decoded_planes(self) -> int:
        """A copy, and one for each helper: as many of the first pq as of all workers are expected to be missing."""
        return 1 + -(-self.recovery_threshold * (self.workers - self.recovery_threshold) // self.workers)

    def error_estimate(self, workers: Iterable[int]) -> float:
        """Return the estimated error of decoding from these workers, relative to |A| |B|; infinite below the threshold."""
        chosen = tuple(sorted(set(workers)))
        if len(chosen) < self.recovery_threshold:
            return np.inf
        amplification = self._prepare(chosen).norm / np.sqrt(self.recovery_threshold)
        return float(ROUNDING_UNITS * EPS * amplification)

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Return each worker's share of A, (N, M) giving (1, N / p, M): plain blocks, not copied, then combinations."""
        for block in row_blocks(matrix, self.p):
            yield from repeat(block[np.newaxis], self.q)
        yield from encoded(self._generators[0][:, np.newaxis], matrix, self.p, 1)

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Return each worker's share of B, (M, Q) giving (1, M, Q / q); with q = 1 B itself, the same array for all."""
        if self.q == 1:
            yield from repeat(matrix[np.newaxis], self.workers)
            return
        blocks = cut(matrix, 1, self.q)[0]
        for block in np.tile(np.arange(self.q), self.p):
            yield blocks[block][np.newaxis]
        yield from encoded(self._generators[1][:, np.newaxis], matrix, 1, self.q)

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """Return C = A B from every response given; only blocks that no plain worker has sent are computed.

        Parameters
        ----------
        responses
            (1, N / p, Q / q) by worker id.
        shape
            (N, Q) of C; without it C comes back with the padding that p and q caused, if any.
        tolerance
            The estimated relative error that is still acceptable; None accepts any.

        Raises
        ------
        UsageError
            For arguments that do not fit.
        NotEnoughWorkers
            When fewer workers respond than the code needs.
        DecodingError
            When the estimated error of all responses is above the tolerance.
        """
        chosen = tuple(sorted(set(responses)))
        if chosen and not (chosen[0] >= 0 and chosen[-1] < self.workers):
            raise UsageError(f"worker ids must lie in 0..{self.workers - 1}; got {chosen}. Check the responses.")
        if len(chosen) < self.recovery_threshold:
            raise NotEnoughWorkers(len(chosen), self.recovery_threshold)
        estimate = self.error_estimate(chosen)
        if tolerance is not None and not estimate <= tolerance:
            raise DecodingError(estimate, tolerance)
        blocks = self._prepare(chosen).apply(responses)
        rows, columns = blocks.shape[1:]
        return join(blocks.reshape(self.p, self.q, rows, columns), shape or (self.p * rows, self.q * columns))


def _usable(parities: Array) -> bool:
    """Whether every worker combines something."""
    return bool(np.isfinite(parities).all() and parities.any(axis=1).all())


@register_code("systematic")
@dataclass(frozen=True)
class Systematic(CodeSpec):
    """D in p blocks of rows, one on each of p workers and random combinations on the others: any p responses decode.

    Parameters
    ----------
    p
        Blocks of rows, and responses to wait for; by default three quarters of the workers.
    pieces
        Pieces of each share; by default as many as workers, or one where rounds are short.
    """

    p: int | None = None
    pieces: int | None = None

    def __post_init__(self) -> None:
        require_pieces(self.pieces)
        if self.p is not None:
            require_whole("p", self.p, 1)

    @property
    def tolerance(self) -> float:
        """1e-11, which one to three random sets of p workers in a thousand miss: a round hardly ever waits for another."""
        return 1e-11

    @property
    def fewest_workers(self) -> int:
        return self.p or 1

    def bind(self, workers: int, length: int) -> Systematic:
        p = self.p or min(length, max(1, int((1 - STRAGGLER_RESERVE) * workers)))
        if p > length:
            raise UsageError(f"p must be between 1 and min(rows, columns) = {length}; got {p}. Lower p.")
        return super(Systematic, replace(self, p=p)).bind(workers, length)

    def threshold(self, workers: int) -> int:
        return self._parts

    def share(self, workers: int) -> float:
        return 1 / self._parts

    def for_product(self, workers: int) -> SystematicCode:
        return SystematicCode(self._parts, 1, workers)

    def for_gram(self, workers: int) -> SystematicCode:
        # cutting both factors alike stores and sends the least; a few parts fewer cost less than a narrow cut
        side = math.isqrt(self._parts)
        return SystematicCode(side, self._parts // side, workers)

    @property
    def _parts(self) -> int:
        assert self.p is not None, "bind the code to workers first: CodeSpec.bind"
        return self.p

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        yield from (cls(p) for p in range(1, workers + 1))
