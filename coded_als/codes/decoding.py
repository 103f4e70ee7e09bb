"""Decoding from any sufficient set of workers, and knowing the error beforehand.

A response of worker w is a known linear combination of unknown blocks, one real row per plane. Decoding solves the
least-squares problem of *every* response given and keeps only the rows of the wanted blocks, so it costs one small
matrix product, and a surplus of responses can only improve it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import EPS, Array
from coded_als.errors import DecodingError, NotEnoughWorkers, UsageError

# Rounding errors of encoding, multiplying and decoding together, in units of eps times the amplification of the
# decoder: 1 to 4 measured over h = 1..8 and all point families; doubled, because an estimate must not flatter.
ROUNDING_UNITS = 8.0
CACHED_DECODERS = 256


def solve_triangular(triangle: Array, right: Array, *, transposed: bool = False, lower: bool = False) -> Array:
    """The solution of a triangular system, (n, k), by LAPACK alone: the checks of SciPy's function take longer than small systems.

    SciPy is loaded for the first, since it takes a tenth of a second.
    """
    from scipy.linalg.lapack import dtrtrs

    if not right.size:
        return np.zeros(right.shape)
    # LAPACK has columns where NumPy has rows: the transposed triangle is one that it need not copy
    found, wrong = dtrtrs(triangle.T, right, lower=not lower, trans=not transposed)
    if wrong:
        raise np.linalg.LinAlgError(f"the triangle must be regular; its diagonal has a zero in row {wrong - 1}.")
    return np.asarray(found)


@dataclass(frozen=True, eq=False)
class Decoder:
    """The decoding of the responses of one set of workers: prepared once, applied often.

    Parameters
    ----------
    workers
        Worker ids in the order of the rows of ``coefficients``, ascending.
    error_estimate
        Estimated error of the decoded product, relative to |A| |B| (Frobenius).
    coefficients
        (len(workers) * planes, unknowns).
    wanted
        Indices of the unknown blocks to decode.
    orthogonal, triangle
        Their QR factors.
    """

    workers: tuple[int, ...]
    error_estimate: float
    coefficients: Array
    wanted: NDArray[np.int64]
    orthogonal: Array
    triangle: Array

    @cached_property
    def matrix(self) -> Array:
        """The wanted rows of the pseudo-inverse, (wanted, len(workers) * planes).

        One step of iterative refinement with an extended residual (J. Wilkinson, Rounding Errors in Algebraic Processes, 1963)
        takes the rounding of the factorization out of them, which halves the error of everything decoded.
        """
        selected = np.zeros((self.wanted.size, self.coefficients.shape[1]))
        selected[np.arange(self.wanted.size), self.wanted] = 1.0
        matrix = self._solved(selected)
        extended = matrix.astype(np.longdouble) @ self.coefficients.astype(np.longdouble)
        return matrix + self._solved((selected - extended).astype(np.float64))

    def apply(self, responses: Mapping[int, Array]) -> Array:
        """Decode responses of shape (planes, rows, columns) into (wanted, rows, columns)."""
        block = responses[self.workers[0]].shape[1:]
        stacked = np.concatenate([responses[worker].reshape(-1, block[0] * block[1]) for worker in self.workers])
        return np.asarray(self.matrix @ stacked).reshape(-1, *block)

    def _solved(self, rows: Array) -> Array:
        return solve_triangular(self.triangle, rows.T, transposed=True).T @ self.orthogonal.T


class LinearCode:
    """Unknown blocks seen through known coefficients: the common part of every code here.

    Parameters
    ----------
    coefficients
        (W, planes, unknowns): row [w, s] gives plane s of worker w's response from the unknown blocks.
    wanted
        Indices of the unknown blocks to decode.
    """

    def __init__(self, coefficients: Array, wanted: NDArray[np.int64]) -> None:
        self.coefficients, self.wanted = coefficients, wanted
        # a method's cache would keep every code alive; this one goes with its code
        self._prepare = lru_cache(maxsize=CACHED_DECODERS)(self._factorize)

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in ("coefficients", "wanted")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        LinearCode.__init__(self, **state)

    @property
    def workers(self) -> int:
        """Number of workers W."""
        return int(self.coefficients.shape[0])

    @property
    def planes(self) -> int:
        """Real rows that one response is worth."""
        return int(self.coefficients.shape[1])

    @property
    def unknowns(self) -> int:
        """Blocks that the responses mix: the number of evaluations that decode."""
        return int(self.coefficients.shape[2])

    @property
    def recovery_threshold(self) -> int:
        """Responses without which no set of workers suffices: with generic coefficients any so many decode."""
        return -(-self.unknowns // self.planes)

    @property
    def decoded_planes(self) -> int:
        """Multiplications of decoding, for each decoded entry, from as many responses as the threshold."""
        return self.recovery_threshold * self.planes

    def error_estimate(self, workers: Iterable[int]) -> float:
        """Estimated error of decoding from these workers; infinite below the threshold.

        It is relative to the norms of the factors multiplied, |A| |B| (Frobenius), and not to the product's own.
        """
        chosen = tuple(sorted(set(workers)))
        return self._prepare(chosen).error_estimate if len(chosen) >= self.recovery_threshold else np.inf

    def decoder(self, workers: Iterable[int]) -> Decoder:
        """The decoder of a set of workers.

        Raises
        ------
        UsageError
            For a worker id out of range.
        NotEnoughWorkers
            For fewer workers than the recovery threshold.
        """
        chosen = tuple(sorted(set(workers)))
        if chosen and not (chosen[0] >= 0 and chosen[-1] < self.workers):
            raise UsageError(f"worker ids must lie in 0..{self.workers - 1}; got {chosen}. Check the responses.")
        if len(chosen) < self.recovery_threshold:
            raise NotEnoughWorkers(len(chosen), self.recovery_threshold)
        return self._prepare(chosen)

    def decode_blocks(self, responses: Mapping[int, Array], tolerance: float | None = None) -> Array:
        """Decode the wanted blocks from all the responses given.

        Parameters
        ----------
        responses
            (planes, rows, columns) by worker id.
        tolerance
            The estimated relative error that is still acceptable; None accepts any.

        Returns
        -------
        (wanted, rows, columns)

        Raises
        ------
        NotEnoughWorkers
            When fewer workers respond than the code needs.
        DecodingError
            When the estimated error of all responses is above the tolerance.
        """
        decoder = self.decoder(responses)
        if tolerance is not None and not decoder.error_estimate <= tolerance:
            raise DecodingError(decoder.error_estimate, tolerance)
        return decoder.apply(responses)

    def _factorize(self, workers: tuple[int, ...]) -> Decoder:
        rows = self.coefficients[list(workers)].reshape(-1, self.unknowns)
        orthogonal, triangle = np.linalg.qr(rows)
        return Decoder(workers, self._estimate(triangle), rows, self.wanted, orthogonal, triangle)

    def _estimate(self, triangle: Array) -> float:
        """From the triangular factor alone: its inverse has rows as long as those of the pseudo-inverse."""
        if np.abs(np.diagonal(triangle)).min() == 0.0:
            return np.inf
        selected = np.zeros((self.unknowns, self.wanted.size))
        selected[self.wanted, np.arange(self.wanted.size)] = 1.0
        rows = solve_triangular(triangle, selected, transposed=True)
        amplification = float(np.linalg.norm(rows)) * np.sqrt(self.unknowns / self.wanted.size)
        return float(ROUNDING_UNITS * EPS * amplification)
