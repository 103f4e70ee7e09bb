"""Speed of ImplicitALS beside the library ``implicit``, on the interactions of NCF ML-1M, both with two threads.

The two take turns, and what is compared is the ratio within a turn, so other load on the machine hits both alike.
``implicit`` needs BLAS held to one thread by the user; it is given that here.

    pip install implicit==0.7.3;  python benchmarks/baselines_speed.py [turns]

With 0 turns only the responses for one user are timed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ncf import load_ncf
from scipy import sparse
from threadpoolctl import threadpool_limits

from coded_als.baselines import ImplicitALS

RANKS = (64, 128, 256)
ITERATIONS = 3


def main(turns: int) -> None:
    folder = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not folder.is_dir():
        print("no real data: set CODED_ALS_DATA to their folder")
        return
    matrix = sparse.csr_matrix(load_ncf(folder / "ncf-ml-1m" / "ncf_ml1m.npz").train.matrix, dtype=np.float32)
    print(f"{matrix.shape[0]} x {matrix.shape[1]}, {matrix.nnz} interactions; load {os.getloadavg()[0]:.1f}")
    try:
        import implicit  # noqa: F401
    except ImportError:
        print("implicit is not installed: pip install implicit==0.7.3")
        return
    for solver in ("cg", "cholesky"):
        for rank in RANKS if turns else ():
            compare_iterations(matrix, rank, solver, turns)
    compare_answers(matrix)


def compare_iterations(matrix: sparse.csr_matrix, rank: int, solver: str, turns: int) -> None:
    """Seconds per iteration, turn by turn."""
    ours(matrix, rank, solver)  # compiled code is read once, outside the timing
    pairs = [(ours(matrix, rank, solver), theirs(matrix, rank, solver)) for _ in range(turns)]
    mine, reference = np.median(pairs, axis=0)
    ratios = [a / b for a, b in pairs]
    print(
        f"{solver:9} rank {rank:3}: {mine:.3f} s/iteration, implicit {reference:.3f}; "
        f"ratio {np.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}); bar <= 1.00",
        flush=True,
    )


def ours(matrix: sparse.csr_matrix, rank: int, solver: str) -> float:
    model = ImplicitALS(rank, iterations=ITERATIONS, solver=solver, threads=2).fit(matrix)
    return float(np.median([iteration.seconds for iteration in model.history_[1:]]))


def theirs(matrix: sparse.csr_matrix, rank: int, solver: str) -> float:
    seconds: list[float] = []
    with threadpool_limits(1, "blas"):
        model = reference_model(rank, solver)
        model.fit(matrix, show_progress=False, callback=lambda index, elapsed, *_: seconds.append(elapsed))
    return float(np.median(seconds[1:]))


def reference_model(rank: int, solver: str = "cg") -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        factors=rank, use_cg=solver == "cg", iterations=ITERATIONS, num_threads=2, random_state=0
    )


def row_of(mapping: dict[int, float], like: sparse.csr_matrix) -> sparse.csr_matrix:
    """The sparse row that ``implicit`` takes, of what a caller knows of a new user."""
    values = np.fromiter(mapping.values(), np.float32, len(mapping))
    return sparse.csr_matrix(
        (values, np.fromiter(mapping, np.int32, len(mapping)), [0, len(mapping)]), shape=like.shape
    )


def compare_answers(matrix: sparse.csr_matrix) -> None:
    """Milliseconds for one user, in turns."""
    model = ImplicitALS(64, iterations=2).fit(matrix)
    user = int(np.argsort(np.diff(matrix.indptr))[matrix.shape[0] // 2])
    row = matrix[[user]]
    mapping = dict.fromkeys(row.indices.tolist(), 1.0)
    with threadpool_limits(1, "blas"):
        reference = reference_model(64)
        reference.fit(matrix, show_progress=False)
        responses: dict[str, Callable[[], Any]] = {
            "fold in one user (sparse row)": lambda: model.fold_in(row),
            "fold in one user (mapping of ids)": lambda: model.fold_in(mapping),
            "implicit: fold in (sparse row)": lambda: reference.recalculate_user(user, row),
            "implicit: fold in (mapping of columns)": lambda: reference.recalculate_user(user, row_of(mapping, row)),
            "recommend 10": lambda: model.recommend(user),
            "implicit: recommend 10": lambda: reference.recommend(user, row),
            "fold in and recommend 10": lambda: model.recommend_new(mapping),
            "implicit: fold in and recommend 10": lambda: reference.recommend(
                user, row_of(mapping, row), recalculate_user=True
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in responses}
        for _ in range(200):
            for name, response in responses.items():
                started = time.perf_counter()
                response()
                times[name].append(1e3 * (time.perf_counter() - started))
    print(f"a user with {row.nnz} interactions; bar of the ratios <= 1.00")
    middle = {name: float(np.median(values)) for name, values in times.items()}
    for name, value in middle.items():
        print(f"{name:35} {value:.3f} ms")
    for mine, reference_name in (
        ("fold in one user (sparse row)", "implicit: fold in (sparse row)"),
        ("fold in one user (mapping of ids)", "implicit: fold in (mapping of columns)"),
        ("recommend 10", "implicit: recommend 10"),
        ("fold in and recommend 10", "implicit: fold in and recommend 10"),
    ):
        print(f"ratio {middle[mine] / middle[reference_name]:.2f}  {mine}")
    for epochs in (3, 5, 20):
        print(
            f"drift of {epochs} passes of steps from the exact fold-in: {np.median(model.drift(matrix[:500], epochs=epochs)):.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
