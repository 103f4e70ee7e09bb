"""The constants of plans: what the master's algebra costs in an iteration, and how many iterations each solver needs.

The algebra is what an iteration in this process takes beyond its product, in multiplications at the speed of a matrix
product of the same width, measured in turns: ``l (a c^2) + b c^3 + e`` for a block of c columns. Beside each measurement
stands what `coded_als.planner.schemes` counts. The iterations are those to the default tolerance on MovieLens 100K (rank 20)
and Jester (rank 10), where the data are at hand, and on a matrix with singular values k^-0.6.

    python benchmarks/plan_constants.py [--data FOLDER]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als import CodedALS, InlineCluster
from coded_als.data import load_ratings
from coded_als.planner.schemes import Size
from coded_als.planner.solvers import SOLVERS

SIZES = (Size(600, 400, 10), Size(600, 400, 50), Size(1500, 1000, 20), Size(3000, 2000, 50), Size(4000, 4000, 20))
ITERATIONS = 12


def decaying(size: Size) -> np.ndarray:
    """A matrix with singular values k^-0.6, (rows, columns)."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((max(size.rows, size.columns), size.length)))[0]
    right = np.linalg.qr(rng.standard_normal((size.length, size.length)))[0]
    return (left * np.arange(1.0, size.length + 1) ** -0.6) @ right.T


def multiplications_per_second(columns: int) -> float:
    """Of the product of a large matrix with so many columns."""
    left, right = np.ones((1500, 1500)), np.ones((1500, columns))
    started = time.perf_counter()
    for _ in range(5):
        left @ right
    return 5 * left.size * columns / (time.perf_counter() - started)


def measured_operations(matrix: np.ndarray, size: Size, solver: str, columns: int) -> float:
    """Multiplications that the time of an iteration beyond its product is worth: the least time, at the best speed."""
    found, speeds = [], []
    for _ in range(3):
        speeds.append(multiplications_per_second(columns))
        model = CodedALS(
            size.rank, code="uncoded", solver=solver, iterations=ITERATIONS, tolerance=0.0, precomputation="local"
        )
        model.fit(matrix, InlineCluster(1))
        rounds = [record.elapsed_s for record in model.rounds_ if record.label.startswith("E = D")]
        spent = [entry.seconds - waited for entry, waited in zip(model.history_, rounds, strict=False)]
        found.append(median(spent[2:]))
    return min(found) * max(speeds)


def algebra() -> None:
    print(f"{'l':>6}{'d':>5}  solver {'10^6 measured':>14}{'10^6 counted':>14}  ratio")
    for size in SIZES:
        matrix = decaying(size)
        for solver, row in SOLVERS.items():
            columns = row.columns(size.rank, size.length)
            measured = measured_operations(matrix, size, solver, columns)
            counted = row.algebra_operations(size.length, columns)
            print(
                f"{size.length:6}{size.rank:5}  {solver:6} {measured / 1e6:14.1f}{counted / 1e6:14.1f}  {measured / counted:.2f}",
                flush=True,
            )


def iterations(data: Path) -> None:
    problems = {
        "MovieLens 100K, rank 20": (data / "ml-100k/u.data", False, 20),
        "Jester, rank 10": (data / "jester/jester-dataset-v1-dense-first-1000.csv", True, 10),
    }
    matrices = {
        name: (load_ratings(str(path), dense=dense, header=dense or None).matrix, rank)
        for name, (path, dense, rank) in problems.items()
        if path.exists()
    }
    matrices["singular values k^-0.6, 600 x 400, rank 10"] = (decaying(SIZES[0]), 10)
    for name, (matrix, rank) in matrices.items():
        counts = {
            solver: len(CodedALS(rank, code="uncoded", solver=solver, iterations=2000).fit(matrix).history_)
            for solver in SOLVERS
        }
        told = ", ".join(f"{count} ({solver})" for solver, count in counts.items())
        print(f"{name}: iterations {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with ml-100k and jester")
    data = parser.parse_args().data
    with threadpool_limits(1):
        algebra()
        iterations(data)


if __name__ == "__main__":
    main()
