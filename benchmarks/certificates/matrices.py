"""Random matrices on which a factorization is easily wrong, and the parameters they are factorized with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]
Kind = Callable[[np.random.Generator, tuple[int, int], int], Array]

WORKERS = 14
# A code for each fit; the last decodes too coarsely to decide much, and must not claim what it cannot know.
CODES = ("auto", "entangled:h=2", "entangled:h=3", "replicated:copies=2", "uncoded", "entangled:h=3,points=real")
COARSE = CODES[-1]


@dataclass(frozen=True)
class Draw:
    """One fit to try.

    Parameters
    ----------
    kind
        Name of the class of matrices.
    seed
        Gives everything else.
    handed
        R as it is handed over: dense or sparse, of some type and scale.
    matrix
        The same as a dense float64 array over ``unit``.
    unit
        A power of two.
    sizes
        Its singular values, descending.
    rank, lam
        Factors d, and the ridge weight over ``unit``.
    options
        Solver, protocol, code and where D is formed.
    detail
        All that in words.
    """

    kind: str
    seed: int
    handed: Any
    matrix: Array
    unit: float
    sizes: Array
    rank: int
    lam: float
    options: dict[str, Any]
    detail: str


def with_spectrum(rng: np.random.Generator, shape: tuple[int, int], values: Array) -> Array:
    """A matrix with these singular values and random vectors."""
    rows, columns = shape
    left = np.linalg.qr(rng.standard_normal((rows, values.size)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, values.size)))[0]
    return np.asarray((left * values) @ right.T)


def offset(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return rng.standard_normal(shape) + 10.0 ** rng.uniform(0, 6)


def column_means(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return rng.standard_normal(shape) + 10.0 ** rng.uniform(0, 3) * rng.standard_normal(shape[1])


def flat(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    values = 1.0 - 10.0 ** rng.uniform(-8, -0.5) * np.sort(rng.random(min(shape)))
    return with_spectrum(rng, shape, values)


def gaussian(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return rng.standard_normal(shape)


def geometric(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return with_spectrum(rng, shape, np.geomspace(1.0, 10.0 ** rng.uniform(-10, -0.1), min(shape)))


def power_law(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return with_spectrum(rng, shape, np.arange(1.0, min(shape) + 1) ** -rng.uniform(0.05, 3))


def clustered(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    levels = np.sort(10.0 ** rng.uniform(-3, 0, rng.integers(2, 6)))[::-1]
    values = np.repeat(levels, -(-min(shape) // levels.size))[: min(shape)]
    return with_spectrum(rng, shape, values * (1 + 10.0 ** rng.uniform(-15, -3) * rng.standard_normal(values.size)))


def spiked(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    values = np.linspace(1.0, rng.uniform(0, 1), min(shape))
    values[: rng.integers(1, rank + 8)] *= 10.0 ** rng.uniform(1, 4)
    return with_spectrum(rng, shape, values)


def tied(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """A tie at the cut, up to thirty-fold, that differs by 1e-2 to 1e-9, over a tail that decays fast or slowly."""
    length = min(shape)
    values = rng.uniform(0.05, 0.95) * np.geomspace(1.0, 10.0 ** rng.uniform(-3, 0), length)
    top = min(length, rank + int(rng.integers(1, 31)))
    values[:top] = 1.0
    values[rank:top] -= 10.0 ** rng.uniform(-9, -2)
    values[: rng.integers(0, rank + 1)] *= 10.0 ** rng.uniform(0, 2)
    return with_spectrum(rng, shape, np.sort(values)[::-1])


def hidden(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """One direction at the cut that is the largest of the small ones, below leading values far above it."""
    values = np.full(min(shape), 1.0)
    values[: max(1, rank - 1)] = 10.0 ** np.sort(rng.uniform(1, 4, max(1, rank - 1)))[::-1]
    values[rank - 1] = 1.0 + 10.0 ** rng.uniform(-6, 0.5) if rank > 1 else values[0]
    values[rank:] *= 1 - 10.0 ** rng.uniform(-8, -0.3) * rng.random(values.size - rank)
    return with_spectrum(rng, shape, values)


def low_rank(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    true = max(1, min(min(shape), rank + int(rng.integers(-1, 2))))
    noise = 10.0 ** rng.uniform(-12, 0)
    return rng.standard_normal((shape[0], true)) @ rng.standard_normal((true, shape[1])) + noise * rng.standard_normal(
        shape
    )


def steps(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    values = 10.0 ** -np.floor(np.linspace(0, rng.uniform(1, 8), min(shape)))
    return with_spectrum(rng, shape, values)


def sunken(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """A narrow cluster with a few values far below it, so that guards of a random start hold those."""
    values = 1.0 + 10.0 ** rng.uniform(-10, -2) * rng.random(min(shape))
    values[: rng.integers(1, 9)] *= rng.uniform(0, 0.9)
    return with_spectrum(rng, shape, np.sort(values)[::-1])


def levels(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """Up to four clusters of any sizes and widths: guards settle in a lower one before they have left a higher one."""
    length = min(shape)
    cuts = np.sort(rng.choice(np.arange(1, length), size=int(rng.integers(0, 4)), replace=False))
    sizes = np.diff(np.r_[0, cuts, length])
    heights = np.sort(10.0 ** rng.uniform(-2.5, 0, sizes.size))[::-1]
    widths = 10.0 ** rng.uniform(-10, -1, sizes.size)
    parts = [h * (1 + w * rng.random(n)) for h, w, n in zip(heights, widths, sizes, strict=True)]
    return with_spectrum(rng, shape, np.sort(np.concatenate(parts))[::-1])


def ratings(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """Whole stars from 1 to 5, popular items rated more often."""
    popularity = np.arange(1.0, shape[1] + 1) ** -rng.uniform(0, 1)
    return np.where(rng.random(shape) < popularity * rng.uniform(0.2, 1), rng.integers(1, 6, shape), 0).astype(float)


def binary(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return (rng.random(shape) < rng.uniform(0.02, 0.98)).astype(float)


def equal_values(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """Values of multiplicity 2 to 60 at the top, at the cut or everywhere, with a gap of 30 % to none below each."""
    length, where = min(shape), int(rng.integers(0, 3))
    values = np.geomspace(1.0, 10.0 ** rng.uniform(-3, -0.05), length)
    step = 1 - 0.3 * 10.0 ** rng.uniform(-8, 0)
    first = (0, int(rng.integers(max(0, rank - 40), rank)), 0)[where]
    while first < length:
        last = min(length, first + int(rng.integers(2, 61)))
        values[first:last] = values[first]
        if last < length:
            values[last:] *= step * values[first] / values[last]
        first = last if where == 2 else length
    return with_spectrum(rng, shape, values)


def trap(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """A d-fold leading value, values that fall slowly below it, and a bulk not far down."""
    length = min(shape)
    values = np.full(length, rng.uniform(0.5, 0.9))
    top = min(length, int(rng.integers(max(2, rank - 3), rank + 4)))
    values[:top] = 1.0
    slow = min(length, top + int(rng.integers(1, 30)))
    values[top:slow] = np.linspace(1.0 - 10.0 ** rng.uniform(-4, -1), values[-1], slow - top + 1)[:-1]
    return with_spectrum(rng, shape, np.sort(values)[::-1])


def components(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """Equal components of a graph: the same block again and again, users and items shuffled."""
    count = int(rng.integers(2, 13))
    rows, columns = max(2, shape[0] // count), max(2, shape[1] // count)
    block = (rng.random((rows, columns)) < rng.uniform(0.1, 0.9)).astype(float)
    return rng.permutation(rng.permutation(np.kron(np.eye(count), block)), axis=1)


def indicators(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """One indicator in each row, as of a category of each user: integer eigenvalues, many of them equal."""
    matrix = np.zeros(shape)
    size = int(rng.integers(1, 5))
    matrix[np.arange(shape[0]), (np.arange(shape[0]) // size) % shape[1]] = 1.0
    return rng.permutation(matrix)


def identity_plus(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """An identity plus a matrix of low rank, above or below it."""
    extra = rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1]))
    return np.eye(*shape) + 10.0 ** rng.uniform(-6, 1) * extra / np.linalg.norm(extra)


REPEATED: tuple[Kind, ...] = (equal_values, trap, components, equal_values, indicators, identity_plus)
KINDS: tuple[Kind, ...] = (
    offset, column_means, flat, gaussian, geometric, power_law, clustered, spiked, tied, hidden, low_rank, steps, ratings,
    binary, sunken, levels,
)  # fmt: skip
WHOLE = (ratings, binary)


def drawn(seed: int, kinds: Sequence[Kind] = KINDS, solver: str | None = None) -> Draw:
    """The matrix, the form and the parameters of a seed; by any solver, or by one, the blocks of any width."""
    rng = np.random.default_rng([2025, seed])
    kind = kinds[seed % len(kinds)]
    shape = (int(rng.integers(20, 300)), int(rng.integers(20, 300)))
    highest = 60 if kinds is REPEATED and rng.random() < 0.3 else 20
    rank = int(rng.integers(1, 1 + min(highest, min(shape) // 2)))
    handed, form = _given(rng, kind(rng, shape, rank), kind in WHOLE)
    dense = np.asarray(handed.toarray() if sparse.issparse(handed) else handed, dtype=np.float64)
    # powers of two are exact, and keep the reference away from the ends of float64
    _, exponent = np.frexp(np.abs(dense).max())
    unit = 2.0 ** (int(exponent) & ~1)
    matrix = dense / unit
    sizes = np.linalg.svd(matrix, compute_uv=False)
    lam = _ridge(rng, sizes, rank)
    options = _options(rng, sparse.issparse(handed), solver)
    if solver == "krylov":
        options["block"] = int(rng.integers(2, 2 * (rank + 5) + 1))
    words = " ".join(map(str, options.values()))
    detail = f"{shape[0]}x{shape[1]} rank {rank} lam {lam / sizes[0]:.1e} {form} {words}"
    return Draw(kind.__name__, seed, handed, matrix, unit, sizes, rank, lam, options, detail)


def _given(rng: np.random.Generator, matrix: Array, whole: bool) -> tuple[Any, str]:
    """The matrix as it is handed over: a type, a form, and for a half of those of float64 a scale."""
    form = str(rng.choice(["float64", "float32", "integer", "csr", "csc"], p=[0.5, 0.1, 0.1, 0.2, 0.1]))
    if form == "float32":
        return matrix.astype(np.float32), form
    if form == "integer":
        largest = float(np.abs(matrix).max())
        return np.rint(matrix * (1 if whole else 1000 if largest > 1e-3 else 1000 / largest)).astype(np.int64), form
    if rng.random() < 0.5:
        matrix, form = matrix * 10.0 ** rng.uniform(-150, 150) / np.abs(matrix).max(), f"{form} scaled"
    return (sparse.csr_array(matrix).asformat(form[:3]) if form.startswith("cs") else matrix), form


def _ridge(rng: np.random.Generator, sizes: Array, rank: int) -> float:
    """Half of the time 0; else from a millionth of sigma_1 to above it, also exactly one of the singular values."""
    choice = rng.integers(0, 10)
    if choice < 5:
        return 0.0
    if choice < 7:
        return float(sizes[0] * 10.0 ** rng.uniform(-6, 0))
    if choice < 9:
        return float(sizes[rng.integers(0, min(sizes.size, rank + 2))])
    return float(sizes[0] * rng.uniform(1.0, 3.0))


def _options(rng: np.random.Generator, is_sparse: bool, solver: str | None) -> dict[str, Any]:
    """One fit in two by each solver, one in eight by the paper's three rounds, half of the sparse ones without D."""
    solver = solver or str(rng.choice(["lobpcg", "als"]))
    if solver == "als" and rng.random() < 0.25:
        return {"solver": "als", "protocol": "paper", "code": str(rng.choice(CODES[1:3]))}
    if is_sparse and rng.random() < 0.5:
        return {"solver": solver, "precomputation": "none"}
    code = str(rng.choice(CODES, p=[0.4, 0.15, 0.15, 0.15, 0.1, 0.05]))
    return {"solver": solver, "code": code, "precomputation": str(rng.choice(["auto", "local", "coded"]))}
