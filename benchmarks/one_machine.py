"""`CodedALS` in one process against SciPy's `svds` and scikit-learn's randomized SVD, at the same accuracy.

    python benchmarks/one_machine.py [--turns 7] [--only check-ins-50,dense-50] [--workers 8]

Check-ins by a power law: user i and item j of each of a million draws are chosen in proportion to i^-0.7 and j^-0.8 (seed 0);
30,000 x 40,000, repeated pairs count once. MovieLens 100K where it is (CODED_ALS_DATA). A dense 6,000 x 4,000 with singular
values 1/k. All three run by turns in this process; printed are medians of seconds on the wall and of the processor, and the
excess of each over the optimum of `svds` at tolerance 1e-10. The randomized SVD is given power iterations until its
excess is 1e-9 or 60 are done. Wanted: at most 1.5 times `svds` for check-ins, 0.1 s for MovieLens, and 1.0 times for dense.

With --workers, `CodedALS` runs in this process and on so many local workers by turns instead. Wanted: the workers take at most
.05 s a round longer, and a second for each 10^9 bytes of answers. The start-up ends where the first round begins, as `plan`
counts it, and is left out. The seconds of the whole fit are printed too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from coded_als import CodedALS
from coded_als.cluster import Responses, Round, StoppingRule
from coded_als.data import load_ratings
from coded_als.master import LocalCluster

USERS, ITEMS, DRAWS, USER_EXPONENT, ITEM_EXPONENT, SEED = 30_000, 40_000, 1_000_000, 0.7, 0.8, 0
DATA = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
WANTED_EXCESS, MOST_POWERS = 1e-9, 60


def check_ins() -> Any:
    """Check-ins by a power law in both, as ones."""
    rng = np.random.default_rng(SEED)
    places = []
    for count, exponent in ((USERS, USER_EXPONENT), (ITEMS, ITEM_EXPONENT)):
        weights = np.arange(1.0, count + 1) ** -exponent
        places.append(rng.choice(count, DRAWS, p=weights / weights.sum()))
    matrix = sparse.coo_array((np.ones(DRAWS), tuple(places)), shape=(USERS, ITEMS)).tocsr()
    matrix.data[:] = 1.0
    return matrix


def falling() -> Any:
    """A dense matrix with singular values 1/k."""
    rng = np.random.default_rng(SEED)
    left, right = (np.linalg.qr(rng.standard_normal((size, 4000)))[0] for size in (6000, 4000))
    return (left / np.arange(1, 4001)) @ right.T


def movie_lens() -> Any:
    return sparse.csr_array(load_ratings(DATA / "ml-100k/u.data").matrix, dtype=np.float64)


CASES: dict[str, tuple[Callable[[], Any], int]] = {
    "check-ins-20": (check_ins, 20),
    "check-ins-50": (check_ins, 50),
    "ml-100k-20": (movie_lens, 20),
    "ml-100k-50": (movie_lens, 50),
    "dense-50": (falling, 50),
}


def explained(matrix: Any, users: Any, items: Any) -> float:
    """2 <R, U V^T> - |U V^T|^2: what of |R|^2 the product explains."""
    return float(2 * np.sum((matrix.T @ users) * items) - np.sum((users.T @ users) * (items.T @ items)))


def by_svds(matrix: Any, rank: int) -> tuple[Any, Any]:
    left, values, right = svds(matrix, rank, tol=1e-10)
    return left * values, right.T


def by_randomized(matrix: Any, rank: int, powers: int) -> tuple[Any, Any]:
    from sklearn.utils.extmath import randomized_svd

    left, values, right = randomized_svd(matrix, rank, n_iter=powers, random_state=0)
    return left * values, right.T


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    found = run()
    return found, time.perf_counter() - wall, time.process_time() - processor


def powers_needed(matrix: Any, rank: int, best: float, total: float) -> int:
    for powers in (4, 8, 12, 16, 24, 32, 44, MOST_POWERS):
        if best - explained(matrix, *by_randomized(matrix, rank, powers)) <= WANTED_EXCESS * (total - best):
            return powers
    return MOST_POWERS


def case(name: str, turns: int) -> None:
    make, rank = CASES[name]
    matrix = make()
    total = float((matrix.data**2).sum() if sparse.issparse(matrix) else np.vdot(matrix, matrix))
    best = explained(matrix, *by_svds(matrix, rank))
    models: list[CodedALS] = []

    def coded(solver: str) -> tuple[Any, Any]:
        models.append(CodedALS(rank, solver=solver).fit(matrix))
        return models[-1].user_factors_, models[-1].item_factors_

    ways: dict[str, Callable[[], tuple[Any, Any]]] = {
        "svds": lambda: by_svds(matrix, rank),
        "krylov": lambda: coded("krylov"),
        "lobpcg": lambda: coded("lobpcg"),
    }
    try:
        powers = powers_needed(matrix, rank, best, total)
        ways[f"randomized, {powers} powers"] = lambda: by_randomized(matrix, rank, powers)
    except ImportError:
        print("scikit-learn is not here")
    seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    excess: dict[str, float] = {}
    for _ in range(turns):
        for way, run in ways.items():
            found, wall, processor = timed(run)
            seconds[way].append((wall, processor))
            excess[way] = (best - explained(matrix, *found)) / (total - best)
    reference = [median(pair[side] for pair in seconds["svds"]) for side in (0, 1)]
    for way, pairs in seconds.items():
        wall, processor = (median(pair[side] for pair in pairs) for side in (0, 1))
        rounds = [len(model.rounds_) for model in models if model.solver == way][-1:]
        print(
            f"{name:13} {way:24} {wall:7.3f} s ({wall / reference[0]:5.2f} of svds), processor {processor:7.3f} s "
            f"({processor / reference[1]:5.2f}), excess {excess[way]:8.1e} {rounds or ''}",
            flush=True,
        )


class TimedCluster(LocalCluster):
    """Local workers that keep the start of a fit's first round, and count the bytes of answers."""

    first_s, answered = 0.0, 0

    def run(self, round: Round, until: StoppingRule) -> Responses:
        self.first_s = self.first_s or time.perf_counter()
        responses = super().run(round, until)
        self.answered += sum(array.nbytes for answer in responses.results.values() for array in answer)
        return responses


def on_workers(name: str, turns: int, workers: int) -> None:
    make, rank = CASES[name]
    matrix = make()
    alone: list[float] = []
    whole: list[float] = []
    rounds_on: list[float] = []
    for _ in range(turns):
        # two fits each, of which the first warms up libraries and workers; an open cluster would keep BLAS here to one thread
        alone.append([timed(lambda: CodedALS(rank).fit(matrix))[1] for _ in range(2)][1])
        with TimedCluster(workers) as cluster:
            for _ in range(2):
                cluster.first_s, cluster.answered, began = 0.0, 0, time.perf_counter()
                model = CodedALS(rank).fit(matrix, cluster)
                ended = time.perf_counter()
        whole.append(ended - began)
        rounds_on.append(ended - cluster.first_s)
    here, there, later = (median(seconds) for seconds in (alone, whole, rounds_on))
    bound = here + 0.05 * len(model.rounds_) + cluster.answered / 1e9
    print(
        f"{name:13} alone {here:6.3f} s, on {workers} workers {there:6.3f} s, from the first round on {later:6.3f} s; wanted "
        f"at most {bound:6.3f} s: {later / bound:.2f} of it, with start-up {there / bound:.2f} "
        f"[{len(model.rounds_)} rounds, {model.code_}, {cluster.answered / 1e6:.0f} MB of answers]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    for name in options.only.split(","):
        if options.workers:
            on_workers(name, options.turns, options.workers)
        else:
            case(name, options.turns)


if __name__ == "__main__":
    main()
