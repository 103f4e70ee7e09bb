"""Problems of known rank: R = U V^T + noise, with standard normal U, V and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Integers
from coded_als.data.ratings import RatingData, csr_from_sorted, from_matrix
from coded_als.errors import UsageError
from coded_als.specs import read_fields

PREFIX = "synthetic:"
# Beyond it the popular places are taken, and drawing at random hardly finds others.
DENSEST_SKEWED = 0.25


@dataclass(frozen=True)
class SyntheticSpec:
    """A matrix to draw."""

    # rows and columns
    m: int
    n: int
    d: int  # rank without noise, at most min(m, n)
    noise: float = 0.0  # standard deviation of the noise on every entry
    seed: int = 0  # equal seeds give equal matrices
    density: float = 1.0  # share of entries that are known; below 1 the matrix is sparse
    # popularity of a sparse matrix's rows and columns: the i-th is drawn with a probability that falls as i^-skew, as
    # long as it has entries left. 0 draws all alike; needs a density of at most 0.25.
    skew: float = 0.0


def parse_synthetic(spec: str) -> SyntheticSpec:
    """Read ``synthetic:m=2400,n=1500,d=200,noise=0.1[,seed=0][,density=0.05][,skew=0.6]``.

    Raises UsageError for an unknown, repeated, missing or impossible value.
    """
    values = read_fields("matrix", spec, SyntheticSpec, lambda key, text: _value(key, text, spec))
    if values["d"] > min(values["m"], values["n"]):
        raise UsageError(f"d must be at most min(m, n) = {min(values['m'], values['n'])}; got {values['d']}. Lower d.")
    if values.get("skew") and values.get("density", 1.0) > DENSEST_SKEWED:
        raise UsageError(
            f"density must be at most {DENSEST_SKEWED} where skew is not 0; got {spec!r}. Lower density or leave out skew."
        )
    return SyntheticSpec(**values)


def synthetic_ratings(spec: SyntheticSpec) -> RatingData:
    """Draw the matrix: dense at density 1, sparse below, with round(density m n) entries, at least one.

    Raises UsageError when it does not fit into memory.
    """
    source = PREFIX + ",".join(f"{name}={getattr(spec, name)}" for name in SyntheticSpec.__dataclass_fields__)
    try:
        return _draw_dense(spec, source) if spec.density == 1 else _draw_sparse(spec, source)
    except (MemoryError, ValueError, OverflowError):  # NumPy says ValueError above its largest array
        raise UsageError(
            f"a synthetic matrix must fit into memory; got {spec.m} x {spec.n}. Lower m, n or density."
        ) from None


def _draw_dense(spec: SyntheticSpec, source: str) -> RatingData:
    # all memory is reserved before any number is drawn: a problem that does not fit is refused at once
    matrix, left, right = np.empty((spec.m, spec.n)), np.empty((spec.m, spec.d)), np.empty((spec.n, spec.d))
    rng = np.random.default_rng(spec.seed)
    np.matmul(rng.standard_normal(out=left), rng.standard_normal(out=right).T, out=matrix)
    if spec.noise:
        matrix += spec.noise * rng.standard_normal(matrix.shape)
    return from_matrix(matrix, source)


def _draw_sparse(spec: SyntheticSpec, source: str) -> RatingData:
    count = max(1, round(spec.density * spec.m * spec.n))
    values, left, right = np.empty(count), np.empty((spec.m, spec.d)), np.empty((spec.n, spec.d))
    rng = np.random.default_rng(spec.seed)
    rng.standard_normal(out=left)
    rng.standard_normal(out=right)
    rows, columns = np.divmod(np.sort(_places(spec, count, rng)), spec.n)
    step = max(1, 2**22 // spec.d)
    for start in range(0, count, step):
        part = slice(start, start + step)
        values[part] = np.einsum("ed,ed->e", left[rows[part]], right[columns[part]])
    values += spec.noise * rng.standard_normal(count)
    return from_matrix(csr_from_sorted(rows, columns, values, (spec.m, spec.n)), source)


def _places(spec: SyntheticSpec, count: int, rng: np.random.Generator) -> Integers:
    """So many different places of the matrix, numbered row by row."""
    if spec.skew == 0:
        return rng.choice(spec.m * spec.n, count, replace=False, shuffle=False)
    places = np.empty(0, dtype=np.int64)
    while places.size < count:
        more = 1000 + 5 * (count - places.size) // 4
        drawn = _popular(spec.m, spec.skew, more, rng) * spec.n + _popular(spec.n, spec.skew, more, rng)
        places = np.union1d(places, drawn)
    return rng.choice(places, count, replace=False, shuffle=False)


def _popular(number: int, skew: float, count: int, rng: np.random.Generator) -> Integers:
    """``count`` draws of 0 ... number - 1, the i-th with a probability that falls as (i + 1)^-skew."""
    reached = np.cumsum(np.arange(1, number + 1) ** -skew)
    draws: Integers = np.searchsorted(reached[:-1], reached[-1] * rng.random(count), side="right")
    return draws


def _value(key: str, text: str, spec: str) -> float:
    whole = key in ("m", "n", "d", "seed")
    rules = {
        "noise": "a number, at least 0",
        "density": "a number above 0 and at most 1",
        "skew": "a number from 0 to 1",
        "seed": "a whole number, at least 0",
    }
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not _allowed(key, value):
        rule = rules.get(key, "a whole number, at least 1")
        raise UsageError(f"{key} must be {rule}; got {text!r} in {spec!r}. Correct the specification.")
    return value


def _allowed(key: str, value: float) -> bool:
    if not math.isfinite(value):
        return False
    if key == "density":
        return 0 < value <= 1
    if key == "skew":
        return 0 <= value <= 1
    return value >= (0 if key in ("noise", "seed") else 1)
