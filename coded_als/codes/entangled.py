"""The entangled polynomial code (Yu, Maddah-Ali, Avestimehr; paper section III-A)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.checks import require_one_of, require_whole
from coded_als.codes.decoding import LinearCode
from coded_als.codes.family import STRAGGLER_RESERVE, CodeSpec, register_code
from coded_als.codes.product import (
    BlockCut,
    MatrixShape,
    encoded,
    join,
    require_few_coefficients,
)
from coded_als.errors import UsageError

PointFamily = Literal["circle", "real", "equispaced"]


@dataclass(frozen=True)
class EvaluationPoints:
    """One evaluation point per worker.

    Parameters
    ----------
    family
        ``"circle"``, ``"real"`` (Chebyshev nodes) or ``"equispaced"``.
    workers
        Number of workers W, at least 1.
    """

    family: PointFamily
    workers: int

    def __post_init__(self) -> None:
        if self.family not in get_args(PointFamily):
            raise UsageError(
                f"points must be one of {', '.join(get_args(PointFamily))}; got {self.family!r}. Use 'circle'."
            )
        if self.workers < 1:
            raise UsageError(f"workers must be at least 1; got {self.workers}.")

    @property
    def planes(self) -> int:
        """Real planes of one share: 2 on the circle (real and imaginary part), else 1."""
        return 2 if self.family == "circle" else 1

    def turns(self, exponents: NDArray[np.int64]) -> Array:
        """Angles of ``z_w ** e`` in [-pi, pi), (W, K), with z_w at pi (2j + 1) / (2W); neighbouring ids are far apart.

        Whole turns are taken off in whole numbers: ``e * angle`` in floating point would lose log2(e) bits.
        """
        half_steps = (2 * spread_order(self.workers)[:, np.newaxis] + 1) * exponents
        whole = 4 * self.workers
        return np.pi * ((half_steps + whole // 2) % whole - whole // 2) / (2 * self.workers)

    def powers(self, exponents: NDArray[np.int64]) -> Array:
        """Real and imaginary parts of ``x_w ** e``.

        Parameters
        ----------
        exponents
            Whole numbers, (K,).

        Returns
        -------
        (W, planes, K)
        """
        if self.family == "circle":
            turns = self.turns(exponents)
            return np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return np.asarray(self.real_nodes[:, np.newaxis] ** exponents)[:, np.newaxis, :]

    @property
    def real_nodes(self) -> Array:
        """The points of the real families, in [-1, 1], by worker id, (W,)."""
        if self.family == "real":
            return np.cos(self.turns(np.array([1]))[:, 0])
        return (2 * spread_order(self.workers) + 1 - self.workers) / self.workers


def spread_order(size: int) -> NDArray[np.int64]:
    """Positions 0 .. size-1 in bit-reversed (van der Corput) order.

    Workers that fail together have neighbouring ids (a rack, a host). A contiguous gap in the angles is the worst
    loss there is, so neighbours are given angles far apart.
    """
    bits = max(1, int(size - 1).bit_length())
    reversed_ids = [int(f"{worker:0{bits}b}"[::-1], 2) for worker in range(2**bits)]
    return np.array([position for position in reversed_ids if position < size], dtype=np.int64)


def product_evaluations(p: int, r: int, q: int) -> int:
    """Evaluations that decode A B, cut p x r and r x q: pqr + r - 1 (7)."""
    return p * q * r + r - 1


def product_threshold(p: int, r: int, q: int, points: PointFamily = "circle") -> int:
    """Workers that decode A B: the evaluations, halved and rounded up on the circle."""
    evaluations = product_evaluations(p, r, q)
    return -(-evaluations // 2) if points == "circle" else evaluations


def iteration_threshold(partitions: int, points: PointFamily = "circle") -> int:
    """Workers that an iteration waits for: h^2 + h - 1 (27), halved and rounded up on the circle.

    Parameters
    ----------
    partitions
        h: D is cut h x h.
    points
        Where the code is evaluated.
    """
    if partitions < 1:
        raise UsageError(f"partitions must be at least 1; got {partitions}. Use 1 or more.")
    return product_threshold(partitions, partitions, 1, points)


def largest_partitions(workers: int, points: PointFamily = "circle") -> int:
    """The largest h with a recovery threshold of at most ``workers`` live workers; 0 for no workers.

    At real points this is Remark 3 of the paper, corrected: floor(sqrt(W - s + 5/4) - 1/2).

    Parameters
    ----------
    workers
        Live workers.
    points
        Where the code is evaluated.
    """
    evaluations = 2 * workers if points == "circle" else workers
    # whole numbers throughout: sqrt(e + 5/4) - 1/2 = (sqrt(4 e + 5) - 1) / 2
    return max(0, (math.isqrt(4 * evaluations + 5) - 1) // 2)


class EntangledPolynomialCode(LinearCode, BlockCut):
    """Codes C = A B with A cut p x r and B cut r x q: (4) and (5), for the transpose of the paper's A.

    ``A~(x) = sum_ij A[i,j] x^(j + i r)`` and ``B~(x) = sum_jk B[j,k] x^(r-1-j + k r p)``, so that C[i,k] is the
    coefficient of ``x^(r-1 + i r + k r p)`` in ``A~(x) B~(x)``, which pqr + r - 1 evaluations determine (7). With
    r = q = 1 B~ is B itself, real at every point: every worker is sent the same, and one plane of it.

    Parameters
    ----------
    p
        Number of parts of the rows of A.
    r
        Number of parts of the columns of A and of the rows of B.
    q
        Number of parts of the columns of B.
    workers
        Number of workers W, at least the recovery threshold.
    points
        ``"circle"`` (two evaluations per worker, every threshold halved), ``"real"`` (Chebyshev nodes) or
        ``"equispaced"``.

    Raises
    ------
    UsageError
        For parts below 1, unknown points, fewer workers than the recovery threshold, or a code beyond all use.

    Examples
    --------
    >>> import numpy as np
    >>> code = EntangledPolynomialCode(p=2, r=2, q=1, workers=5)
    >>> code.recovery_threshold
    3
    >>> a, b = np.arange(12.0).reshape(3, 4), np.ones((4, 2))
    >>> left, right = next(zip(code.encode_left(a), code.encode_right(b)))
    >>> left.shape, right.shape
    ((2, 2, 2), (2, 2, 2))
    """

    def __init__(self, p: int, r: int, q: int, workers: int, points: PointFamily = "circle") -> None:
        BlockCut.__init__(self, p, r, q)
        self.points = EvaluationPoints(points, workers)
        evaluations = product_evaluations(p, r, q)
        # before anything is computed: a mistyped number would ask for terabytes first
        needed = -(-evaluations // self.points.planes)
        if workers < needed:
            raise UsageError(
                f"workers must be at least {needed}, the recovery threshold at p={p}, r={r}, q={q} "
                f"with {points} points; got {workers}. Add workers or lower the parts."
            )
        require_few_coefficients(workers * self.points.planes, evaluations)
        i, k = np.arange(p)[:, np.newaxis], np.arange(q)[np.newaxis, :]
        wanted = (r - 1 + i * r + k * r * p).ravel()
        LinearCode.__init__(self, self._powers(np.arange(evaluations)), wanted)
        # in the order in which `cut` hands out blocks: row part first, then column part
        j = np.arange(r)
        self._left = self._powers((j[np.newaxis, :] + np.arange(p)[:, np.newaxis] * r).ravel())
        self._right = self._powers((r - 1 - j[:, np.newaxis] + np.arange(q)[np.newaxis, :] * r * p).ravel())

    def _powers(self, exponents: NDArray[np.int64]) -> Array:
        """Powers of every worker's point, (W, planes, exponents); a code of one block needs only the real plane."""
        powers = self.points.powers(exponents)
        return powers[:, :1] if self.p == self.r == self.q == 1 else powers

    def __reduce__(self) -> tuple[type[EntangledPolynomialCode], tuple[int, int, int, int, str]]:
        return type(self), (self.p, self.r, self.q, self.workers, self.points.family)

    @property
    def right_planes(self) -> int:
        """One where B~ is B itself."""
        return 1 if self.r == self.q == 1 else self.planes

    @property
    def encoded_planes(self) -> tuple[int, int]:
        """All of them, but none of a factor that is sent as it is, in one block."""
        planes = self.workers * self.planes
        return (0 if self.p == self.r == 1 else planes), (0 if self.r == self.q == 1 else planes)

    def encode_left(self, matrix: Array) -> Iterator[Array]:
        """Return each worker's share of A, (N, M) giving (planes, N / p, M / r), encoded on demand."""
        return encoded(self._left, matrix, self.p, self.r)

    def encode_right(self, matrix: Array) -> Iterator[Array]:
        """Return each worker's share of B, (M, Q) giving (planes, M / r, Q / q), encoded on demand."""
        if self.r == self.q == 1:
            return repeat(matrix[np.newaxis], self.workers)
        return encoded(self._right, matrix, self.r, self.q)

    def decode(
        self, responses: Mapping[int, Array], shape: MatrixShape | None = None, tolerance: float | None = None
    ) -> Array:
        """Return C = A B from every response given, by least squares.

        Parameters
        ----------
        responses
            ``A~ B~`` by worker id, each (planes, N / p, Q / q).
        shape
            (N, Q) of C; without it C comes back with the padding that p and q caused, if any.
        tolerance
            The estimated relative error that is still acceptable; None accepts any.

        Raises
        ------
        NotEnoughWorkers
            When fewer workers respond than the code needs.
        DecodingError
            When the estimated error of all responses is above the tolerance.
        """
        blocks = self.decode_blocks(responses, tolerance)
        rows, columns = blocks.shape[1:]
        shape = shape or (self.p * rows, self.q * columns)
        return join(blocks.reshape(self.p, self.q, rows, columns), shape)


class InnerProductCode(LinearCode):
    """B^T C from the shares f_L(B) and f_R(C) of two matrices cut into h parts of rows (MatDot).

    At real points the responses f_L(B)^T f_R(C) are a polynomial with 2h - 1 coefficients, the wanted one in the
    middle. On the circle f_L is the conjugate of f_R up to a phase, and the real part of f_R(B)^H f_R(C) is

        B^T C + sum_{0<t<h} (terms of lag t and -t) cos(t theta):

    h unknowns and real responses, so half the multiplications of the complex product and a threshold of h.
    """

    def __init__(self, parts: int, workers: int, points: PointFamily = "circle") -> None:
        evaluation = EvaluationPoints(points, workers)
        if points == "circle":
            super().__init__(evaluation.powers(np.arange(parts))[:, :1], np.array([0]))
        else:
            super().__init__(evaluation.powers(np.arange(2 * parts - 1)), np.array([parts - 1]))

    def decode(self, responses: Mapping[int, Array], tolerance: float | None = None) -> Array:
        """B^T C from every response given: (1, b, c) each gives (b, c).

        Parameters
        ----------
        responses
            By worker, (1, b, c) each.
        tolerance
            Relative error that it may have; by default any.

        Returns
        -------
        (b, c).
        """
        return np.asarray(self.decode_blocks(responses, tolerance)[0])


class FactorCode(LinearCode):
    """A matrix from its own shares f_R (17, corrected) or f_L (16): plain interpolation of degree h - 1."""

    def __init__(self, parts: int, workers: int, points: PointFamily = "circle", *, side: str = "right") -> None:
        exponents = np.arange(parts) if side == "left" else np.arange(parts)[::-1]
        powers = EvaluationPoints(points, workers).powers(exponents)
        # a single part is real at every point, and sent as one plane
        super().__init__(powers[:, :1] if parts == 1 else powers, np.arange(parts))

    def decode(self, responses: Mapping[int, Array], shape: tuple[int, int], tolerance: float | None = None) -> Array:
        """The matrix of the given shape from every response given, each (planes, rows / h, columns).

        Parameters
        ----------
        responses
            By worker, (planes, rows / h, columns) each.
        shape
            Of the matrix.
        tolerance
            Relative error that it may have; by default any.

        Returns
        -------
        The matrix, of ``shape``.
        """
        return join(self.decode_blocks(responses, tolerance)[:, np.newaxis], shape)


# A plan tries no h above these: the entangled code's own algebra costs more than the workers save, or real points have
# lost their digits.
LARGEST_PARTITIONS: dict[PointFamily, int] = {"circle": 20, "real": 8, "equispaced": 8}

# Above it a cut into rows alone is too badly conditioned on the circle for every set of responses.
MOST_ROW_PARTS = 120


@register_code("entangled")
@dataclass(frozen=True)
class Entangled(CodeSpec):
    """The paper's code: D cut h x h, or p x r, and both factors evaluated as polynomials at a point of each worker.

    Parameters
    ----------
    h
        Parts of rows and of columns; by default as many as leave a quarter of the workers as stragglers.
    p
        Number of parts of the rows, in place of h.
    r
        Number of parts of the columns, in place of h. With r = 1 the payload is real and the same for all
        workers.
    points
        ``"circle"`` (each worker worth two evaluations), ``"real"`` or ``"equispaced"``.
    """

    h: int | None = None
    p: int | None = None
    r: int | None = None
    points: PointFamily = "circle"

    def __post_init__(self) -> None:
        require_one_of("points", self.points, get_args(PointFamily))
        for key in ("h", "p", "r"):
            if getattr(self, key) is not None:
                require_whole(key, getattr(self, key), 1)
        if (self.h is not None and (self.p, self.r) != (None, None)) or (self.r is not None and self.p is None):
            raise UsageError(f"an entangled code is cut either h x h or p x r; got {self.spec}. Give h, or p and r.")

    @property
    def tolerance(self) -> float:
        """1e-12 on the circle, 1e-8 at real points, which cannot keep to less beyond h = 2.

        1e-12 costs a response more than the threshold in one round of four at h = 6 and W = 30, and leaves the
        iterates of ALS, which magnify it by some hundreds, below 1e-8.
        """
        return 1e-12 if self.points == "circle" else 1e-8

    @property
    def fixed(self) -> bool:
        """Whether the cut is given and not left open."""
        return self.h is not None or self.p is not None

    @property
    def square(self) -> bool:
        """Whether the cut is h x h, for a given or an open h."""
        return not self.fixed or self.cut[0] == self.cut[1]

    @property
    def cut(self) -> tuple[int, int]:
        """Parts of the rows and of the columns of D."""
        assert self.fixed, "bind the code to workers first: CodeSpec.bind"
        return (self.h, self.h) if self.h else (self.p or 1, self.r or 1)

    @property
    def fewest_workers(self) -> int:
        return product_threshold(*self.cut, 1, self.points) if self.fixed else 1

    def bind(self, workers: int, length: int) -> Entangled:
        found = self if self.fixed else replace(self, h=default_partitions(workers, length, self.points))
        if max(found.cut) > length:
            raise UsageError(
                f"parts must be between 1 and min(rows, columns) = {length}; got {found.spec}. Lower partitions."
            )
        return super(Entangled, found).bind(workers, length)

    def partitioned(self, partitions: int) -> CodeSpec:
        return super().partitioned(partitions) if self.fixed else replace(self, h=partitions)

    def threshold(self, workers: int) -> int:
        return self.fewest_workers

    def share(self, workers: int) -> float:
        planes = 2 if self.points == "circle" and self.cut != (1, 1) else 1
        return planes / math.prod(self.cut)

    def for_product(self, workers: int) -> EntangledPolynomialCode:
        return EntangledPolynomialCode(*self.cut, 1, workers, self.points)

    def for_gram(self, workers: int) -> EntangledPolynomialCode:
        side = self._gram_parts
        return EntangledPolynomialCode(side, 1, side, workers, self.points)

    def for_other_factor(self, workers: int) -> EntangledPolynomialCode:
        return EntangledPolynomialCode(1, self._gram_parts, 1, workers, self.points)

    @property
    def _gram_parts(self) -> int:
        """g with g^2 <= p r, so that responses enough for a product also decode the Gram matrix; h for h x h."""
        return math.isqrt(math.prod(self.cut))

    @classmethod
    def candidates(cls, workers: int) -> Iterator[Self]:
        for points in ("circle", "real"):
            most = min(largest_partitions(workers, points), LARGEST_PARTITIONS[points])
            yield from (cls(h, points=points) for h in range(2, most + 1))
        # rows alone, on the circle: of the two p that wait for as many the larger, which cuts finer
        yield from (cls(p=p, r=1) for p in range(4, min(2 * workers, MOST_ROW_PARTS) + 1, 2))
        for r in range(2, 2 * workers):
            for p in range(1, min(2 * workers // r + 1, LARGEST_PARTITIONS["circle"] ** 2 // r + 1)):
                if p != r and product_threshold(p, r, 1, "circle") <= workers:
                    yield cls(p=p, r=r)


def default_partitions(workers: int, length: int, points: PointFamily = "circle") -> int:
    """The largest h that leaves a quarter of the workers as stragglers; at most ``length``, at least 1."""
    h = 1
    while h < length and iteration_threshold(h + 1, points) <= (1 - STRAGGLER_RESERVE) * workers:
        h += 1
    return h


def square(code: CodeSpec) -> Entangled:
    """The code itself, once it is known to be the entangled one, cut h x h, which the paper's protocol requires."""
    if not isinstance(code, Entangled) or not code.square:
        raise UsageError(
            f"protocol 'paper' is defined for an entangled code cut h x h; got code {code.spec}. Use protocol='fused'."
        )
    return code
