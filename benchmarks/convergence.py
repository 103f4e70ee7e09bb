"""Convergence claims of `CodedALS` on random matrices, against the optimum by `numpy.linalg.svd`.

    python benchmarks/convergence.py --count 5000 --processes 2

A claim is false where the factors are more than ten tolerances above the optimum. float64 can decide a fit where the
rounding of D = R^T R alone moves the objective by less than the tolerance, and the paper's update can reach it where
its rate, (lambda_(d+1) / lambda_d)^2, gets there within the default iterations. Both are computed from the singular
values, not from what the fit says.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from coded_als import CodedALS, InlineCluster
from coded_als.errors import UsageError
from coded_als.worker.threads import ONE_BLAS_THREAD

Array = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
FALSE = 10.0  # tolerances above the optimum
ITERATIONS = CodedALS().iterations


@dataclass(frozen=True)
class Trial:
    """What one fit said, and what is true."""

    kind: str
    seed: int
    solver: str
    outcome: str
    excess: float
    tolerance: float
    decidable: bool
    reachable: bool
    rounds: int
    detail: str

    @property
    def false(self) -> bool:
        return self.outcome == "converged" and not self.excess <= FALSE * self.tolerance


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


def low_rank(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    true = max(1, min(min(shape), rank + int(rng.integers(-1, 2))))
    noise = 10.0 ** rng.uniform(-12, 0)
    return rng.standard_normal((shape[0], true)) @ rng.standard_normal((true, shape[1])) + noise * rng.standard_normal(
        shape
    )


def steps(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    values = 10.0 ** -np.floor(np.linspace(0, rng.uniform(1, 8), min(shape)))
    return with_spectrum(rng, shape, values)


def ratings(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    """Whole stars from 1 to 5, popular items rated more often."""
    popularity = np.arange(1.0, shape[1] + 1) ** -rng.uniform(0, 1)
    return np.where(rng.random(shape) < popularity * rng.uniform(0.2, 1), rng.integers(1, 6, shape), 0).astype(float)


def binary(rng: np.random.Generator, shape: tuple[int, int], rank: int) -> Array:
    return (rng.random(shape) < rng.uniform(0.02, 0.98)).astype(float)


KINDS: tuple[Callable[[np.random.Generator, tuple[int, int], int], Array], ...] = (
    offset, column_means, flat, gaussian, geometric, power_law, clustered, spiked, tied, low_rank, steps, ratings, binary,
)  # fmt: skip
WHOLE = (ratings, binary)


def given(rng: np.random.Generator, matrix: Array, whole: bool) -> tuple[Any, str]:
    """The matrix as it is handed over: a scale, a type and a form."""
    form = rng.choice(["float64", "scaled", "float32", "integer", "csr", "csc"], p=[0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    if form == "scaled":
        return matrix * 10.0 ** rng.uniform(-150, 150) / np.abs(matrix).max(), str(form)
    if form == "float32":
        return matrix.astype(np.float32), str(form)
    if form == "integer":
        return np.rint(matrix * (1 if whole else 1000)).astype(np.int64), str(form)
    return (matrix if form == "float64" else sparse.csr_array(matrix).asformat(form)), str(form)


def ridge(rng: np.random.Generator, sizes: Array, rank: int) -> float:
    """Half of the time 0; else from a millionth of sigma_1 to above it, also exactly one of the singular values."""
    choice = rng.integers(0, 10)
    if choice < 5:
        return 0.0
    if choice < 7:
        return float(sizes[0] * 10.0 ** rng.uniform(-6, 0))
    if choice < 9:
        return float(sizes[rng.integers(0, min(sizes.size, rank + 2))])
    return float(sizes[0] * rng.uniform(1.0, 3.0))


def optimum_of(sizes: Array, rank: int, lam: float) -> float:
    head = sizes[:rank]
    kept = np.where(head > lam, lam * (2 * head - lam), head**2)
    return float(np.sum(kept) + np.sum(sizes[rank:] ** 2))


def rounding_loss(sizes: Array, rank: int, lam: float) -> float:
    """What an error of some eps |R|^2 in D can cost."""
    error = 8 * EPS * float(np.sum(sizes**2))
    below = float(sizes[rank] ** 2) if rank < sizes.size else 0.0
    gaps = np.maximum(sizes[:rank] ** 2 - below, np.finfo(float).tiny)
    weights = np.maximum(1 - lam / np.maximum(sizes[:rank], np.finfo(float).tiny), 0.0)
    return float(np.sum(weights * np.minimum(error**2 / gaps, error)))


def power_loss(sizes: Array, rank: int, lam: float) -> float:
    """What the default number of power iterations leaves of a random start."""
    inside, outside = sizes[:rank] ** 2, sizes[rank:] ** 2
    if outside.size == 0:
        return 0.0
    with np.errstate(divide="ignore"):
        ratio = np.exp(2 * ITERATIONS * (np.log(outside[None, :]) - np.log(inside[:, None])))
    # the squared tangent of the angle that a random start has to a direction
    ratio *= sizes.size * rank
    weights = np.maximum(1 - lam / np.maximum(sizes[:rank], np.finfo(float).tiny), 0.0)
    return float(np.sum(weights[:, None] * (inside[:, None] - outside[None, :]) * np.minimum(ratio, 1.0)))


def excess_of(matrix: Array, other: Array, factor: Array, rank: int, lam: float) -> tuple[float, float]:
    """How far factors are above the optimum, relative to it, and how well that is known.

    Without regularisation from the angles between the subspaces, which loses no digits however small the optimum is:
    sum lambda_i |s_i|^2 - sum lambda_j |c_j|^2 plus what the factors differ from the projection.
    """
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(right.shape[0] - sizes.size)])
    best = optimum_of(sizes, rank, lam)
    extended = matrix.astype(np.longdouble)
    product = other.astype(np.longdouble) @ factor.astype(np.longdouble).T
    if lam == 0:
        basis = np.linalg.qr(factor, mode="complete")[0]
        inside, beyond = basis[:, :rank].astype(np.longdouble), basis[:, rank:]
        lost = float(np.sum(sizes[:rank] ** 2 * np.sum((right[:rank] @ beyond) ** 2, axis=1)))
        won = float(np.sum(sizes[rank:] ** 2 * np.sum((right[rank:] @ basis[:, :rank]) ** 2, axis=1)))
        moved = float(np.sum(((extended @ inside) @ inside.T - product) ** 2))
        return (lost - won + moved) / best, 0.0
    penalty = lam * (np.sum(other.astype(np.longdouble) ** 2) + np.sum(factor.astype(np.longdouble) ** 2))
    value = float(np.sum((extended - product) ** 2) + penalty - np.longdouble(best))
    known = 16 * EPS * sizes[0] * (2 * float(np.sum(sizes[rank:])) + 2 * lam * rank)
    return value / best, known / best


def run_trial(seed: int) -> Trial:
    """Draw a matrix, a form and parameters, fit, and measure."""
    rng = np.random.default_rng([2024, seed])
    kind = KINDS[seed % len(KINDS)]
    shape = (int(rng.integers(20, 300)), int(rng.integers(20, 300)))
    rank = int(rng.integers(1, 1 + min(20, min(shape) // 2)))
    handed, form = given(rng, kind(rng, shape, rank), kind in WHOLE)
    dense = np.asarray(handed.toarray() if sparse.issparse(handed) else handed, dtype=np.float64)
    # powers of two are exact, and keep the reference away from the ends of float64
    _, exponent = np.frexp(np.abs(dense).max())
    unit = 2.0 ** (int(exponent) & ~1)
    matrix = dense / unit
    sizes = np.linalg.svd(matrix, compute_uv=False)
    lam = ridge(rng, sizes, rank)
    solver = str(rng.choice(["lobpcg", "als"]))
    model = CodedALS(rank, regularization=lam * unit, solver=solver, partitions=int(rng.integers(1, 4)), seed=seed)  # type: ignore[arg-type]
    best = optimum_of(sizes, rank, lam)
    detail = f"{shape[0]}x{shape[1]} rank {rank} lam {lam / sizes[0]:.1e} {form}"
    decidable = rounding_loss(sizes, rank, lam) <= model.tolerance * best
    reachable = solver != "als" or power_loss(sizes, rank, lam) <= 0.1 * model.tolerance * best
    try:
        model.fit(handed, InlineCluster(14, "exp:mean=1ms", seed))
    except UsageError as refusal:
        if "rank must be" not in str(refusal):
            raise
        return Trial(kind.__name__, seed, solver, "refused", np.nan, model.tolerance, decidable, reachable, 0, detail)
    users, items = model.user_factors_ / np.sqrt(unit), model.item_factors_ / np.sqrt(unit)
    other, factor, turned = (users, items, matrix) if shape[0] >= shape[1] else (items, users, matrix.T)
    excess, known = excess_of(turned, other, factor, rank, lam)
    return Trial(
        kind.__name__, seed, solver, model.outcome_, max(excess - known, min(excess, 0.0)), model.tolerance,
        decidable, reachable, len(model.history_), detail,
    )  # fmt: skip


def report(trials: list[Trial]) -> bool:
    """Print what was found, the worst of each class first; True when every promise held."""
    by_kind: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        by_kind[trial.kind, trial.solver].append(trial)
    print(
        f"{'matrices':14}{'solver':8}{'fits':>6}{'converged':>11}{'undecided':>11}{'refused':>9}{'unfinished':>12}"
        f"{'decidable':>11}{'of them':>9}{'worst claimed excess':>22}"
    )
    for (kind, solver), group in sorted(by_kind.items()):
        counts = {
            name: sum(trial.outcome == name for trial in group)
            for name in ("converged", "undecided", "refused", "unfinished")
        }
        fair = [trial for trial in group if trial.decidable and trial.reachable]
        said = sum(trial.outcome == "converged" for trial in fair)
        worst = max((trial for trial in group if trial.outcome == "converged"), key=lambda t: t.excess, default=None)
        told = "-" if worst is None else f"{worst.excess:22.1e}  seed {worst.seed} ({worst.detail})"
        print(
            f"{kind:14}{solver:8}{len(group):6}{counts['converged']:11}{counts['undecided']:11}{counts['refused']:9}"
            f"{counts['unfinished']:12}{len(fair):11}{said:9}{told}"
        )
    false = [trial for trial in trials if trial.false]
    fair = [trial for trial in trials if trial.decidable and trial.reachable]
    silent = [trial for trial in fair if trial.outcome != "converged"]
    share = 1 - len(silent) / max(1, len(fair))
    for trial in false:
        print(f"FALSE: {trial.kind} {trial.solver} seed {trial.seed} ({trial.detail}): excess {trial.excess:.1e}")
    for trial in silent[:40]:
        print(
            f"silent: {trial.kind} {trial.solver} seed {trial.seed} ({trial.detail}): {trial.outcome} after "
            f"{trial.rounds}, excess {trial.excess:.1e}"
        )
    print(
        f"{len(trials)} fits, {len(false)} false claims; of {len(fair)} that float64 can decide and the solver can reach, "
        f"{share:.2%} say converged"
    )
    return not false and share >= 0.98


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=5000, help="matrices [5000]")
    parser.add_argument("--first", type=int, default=0, help="seed of the first [0]")
    parser.add_argument("--processes", type=int, default=2, help="[2]")
    options = parser.parse_args()
    started = time.perf_counter()
    seeds = range(options.first, options.first + options.count)
    # read when NumPy is imported, which a fresh process does
    os.environ.update(ONE_BLAS_THREAD)
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        trials = list(pool.map(run_trial, seeds, chunksize=16))
    held = report(trials)
    print(f"{time.perf_counter() - started:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
