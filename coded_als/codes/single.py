"""Any code with shares, payloads and responses in float32: half the bytes, and about twice the products a second.

Encoding and decoding stay in float64; only the operands of a worker and its response are rounded. The decoder amplifies
their rounding as it does that of float64, so the estimate of the error grows by the ratio of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from coded_als.arrays import EPS, FLOAT64, SINGLE, Array, eps_of
from coded_als.codes.product import MatrixCode, MatrixShape
from coded_als.errors import DecodingError

ShareType = Literal["float64", "float32"]
# The largest relative error that a product of float32 shares may have by default: its square is far below any tolerance.
COARSEST = 1e-3


class SinglePrecision:
    """A code with shares and responses in float32; everything else is that of the code. ``plain``: the code."""

    dtype = SINGLE

    def __init__(self, plain: MatrixCode) -> None:
        self.plain = plain

    def __getattr__(self, name: str) -> Any:
        if name == "plain":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.plain, name)

    def error_estimate(self, workers: Sequence[int]) -> float:
        """Estimated error of C decoded from these workers, relative to |A| |B| (Frobenius)."""
        return self.plain.error_estimate(workers) * growth_of(SINGLE)

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Each worker's share of A, (planes, rows, columns), rounded once."""
        return _rounded(self.plain.encode_left(matrix))

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Each worker's share of B, (planes, rows, columns), rounded once; the same array again where all get the same."""
        return _rounded(self.plain.encode_right(matrix))

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """C, (N, Q), in float64 from every response given; refused above the tolerance."""
        estimate = self.error_estimate(tuple(responses))
        if tolerance is not None and tolerance < estimate < np.inf:
            raise DecodingError(estimate, tolerance)
        return self.plain.decode({worker: np.asarray(one, FLOAT64) for worker, one in responses.items()}, shape)


def _rounded(shares: Iterator[Array]) -> Iterator[Array]:
    """The shares in float32; equal objects stay one object."""
    before: Array | None = None
    for share in shares:
        if share is not before:
            before, rounded = share, np.asarray(share, SINGLE)
        yield cast(Array, rounded)


def in_type(code: MatrixCode, dtype: np.dtype[Any]) -> MatrixCode:
    """A code with shares of a type."""
    return code if dtype == FLOAT64 else cast(MatrixCode, SinglePrecision(code))


def without_type(code: MatrixCode) -> MatrixCode:
    """The code itself."""
    return code.plain if isinstance(code, SinglePrecision) else code


def growth_of(dtype: np.dtype[Any]) -> float:
    """Ratio of the rounding of a type to that of float64."""
    return eps_of(dtype) / EPS


def tolerance_in(tolerance: float, dtype: np.dtype[Any]) -> float:
    """The relative error that a decoded product may have by default, of shares of a type; ``tolerance``: in float64."""
    return tolerance if dtype == FLOAT64 else min(COARSEST, tolerance * growth_of(dtype))
