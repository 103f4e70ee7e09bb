"""A large sparse matrix on real workers with stragglers against SciPy's `svds` on one core without.

100,000 x 50,000 with 5 million entries, rank 20, 16 workers with bimodal delays. Wanted: the objective within 1e-8 of
that of `svds`, a master that never holds 1.5 GB, and the whole fit, start of the workers included, in at most 2 times
the time of `svds`. Where the time goes is printed. Both sides run in processes of their own, by turns; SciPy has one
BLAS thread. MovieLens 100K and Jester, where there (CODED_ALS_DATA), show that small matrices fare as before.

    python benchmarks/sparse_products.py [--copies C] [--delays SPEC] [--skew S] [--turns N] [--before CHECKOUT]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import sparse

PROBLEM, RANK, WORKERS = "synthetic:m=100000,n=50000,d=20,noise=0.1,density=0.001", 20, 16
# Popularity that falls as i^-skew. At 0 all rows and columns are alike, no ratings are, and the spectrum is hardly falling.
SKEW = 0.6
DELAYS = "bimodal:p=0.15,fast=5ms,slow=1s"
WANTED_ERROR, WANTED_GB, WANTED_RATIO = 1e-8, 1.5, 2.0
DATA = Path(os.environ.get("CODED_ALS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


class Stopwatch:
    """Seconds by name; what is timed within something timed counts only once, by its own name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = time.perf_counter()

    def _book(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.spent[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            with self.running(name):
                return function(*arguments, **options)

        return wrapper


def instrumented(stopwatch: Stopwatch) -> None:
    """Time the parts from outside: the algorithm itself knows no clock."""
    from coded_als.als import convergence, lobpcg, ritz, sparse_rows, spread
    from coded_als.als import products as rounds

    for owner, name, part in (
        (spread.Spread, "give_out", "giving out the rows"),
        (sparse_rows.SparseRows, "gram_product", "adding up the responses"),
        (sparse_rows.SparseRows, "product", "last product"),
        (rounds.RoundLog, "run", "rounds"),
        (lobpcg, "rayleigh_ritz", "algebra of the solver"),
        (lobpcg, "search_directions", "algebra of the solver"),
        (lobpcg, "stepped", "algebra of the solver"),
        (convergence.Stopping, "judge", "judging convergence"),
        (ritz.BestFactors, "measured", "factors and objective"),
    ):
        setattr(owner, name, stopwatch.timed(part, getattr(owner, name)))


def fitted(matrix: Any, copies: int, delays: str) -> dict[str, Any]:
    """One fit on real workers, with its parts."""
    from coded_als import CodedALS, LocalCluster

    stopwatch = Stopwatch()
    instrumented(stopwatch)
    before, cpu_before = _peak_gb(), _cpu_s(resource.RUSAGE_SELF)
    started = time.perf_counter()
    with stopwatch.running("everything else"):
        with stopwatch.running("starting the workers"):
            cluster = LocalCluster(WORKERS, delays=delays, seed=0)
        with cluster:
            model = CodedALS(RANK, code=f"replicated:copies={copies}").fit(matrix, cluster)
            seconds = time.perf_counter() - started
    scale = np.linalg.norm(model.user_factors_, axis=0) * np.linalg.norm(model.item_factors_, axis=0)
    return {
        "seconds": seconds,
        "objective": model.objective_,
        "values": scale.tolist(),
        "master_cpu_s": _cpu_s(resource.RUSAGE_SELF) - cpu_before,
        "workers_cpu_s": _cpu_s(resource.RUSAGE_CHILDREN),
        "peak_gb": _peak_gb(),
        "before_gb": before,
        "outcome": model.outcome_,
        "precomputation": model.precomputation_,
        "iterations": len(model.history_),
        "responses": sorted(record.responses for record in model.rounds_),
        "parts": dict(stopwatch.spent),
    }


def decomposed(matrix: Any) -> dict[str, Any]:
    """`svds`, and one product of the solver's width."""
    started, cpu_before = time.perf_counter(), _cpu_s(resource.RUSAGE_SELF)
    values = sparse.linalg.svds(matrix, k=RANK, rng=np.random.default_rng(0))[1]
    seconds, cpu_s = time.perf_counter() - started, _cpu_s(resource.RUSAGE_SELF) - cpu_before
    block = np.random.default_rng(0).standard_normal((matrix.shape[1], RANK + 5))
    started = time.perf_counter()
    matrix.T @ (matrix @ block)
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "values": values[::-1].tolist(),
        "objective": float(matrix.data @ matrix.data - values @ values),
        "product_s": time.perf_counter() - started,
    }


def _cpu_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def in_a_process(part: str, file: Path, options: argparse.Namespace, checkout: str | None = None) -> dict[str, Any]:
    """One side in a process of its own: its peak of memory is its own too. ``checkout``: another one of the package."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if part == "svds" else {}
    command = [sys.executable, __file__, "--part", part, "--file", str(file)]
    command += ["--copies", str(options.copies), "--delays", options.delays]
    other = {} if checkout is None else {"PYTHONPATH": checkout}
    done = subprocess.run(command, env=os.environ | threads | other, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def large(options: argparse.Namespace) -> None:
    """The large matrix, by turns."""
    from coded_als.data import load_ratings

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "matrix.npz"
        matrix = load_ratings(f"{PROBLEM},skew={options.skew}").matrix
        sparse.save_npz(file, matrix, compressed=False)
        shape = " x ".join(f"{length:,}" for length in matrix.shape)
        print(
            f"{shape} with {matrix.nnz:,} entries, skew {options.skew:g}, rank {RANK}, {WORKERS} workers, {options.copies} copies, ",
            end="",
        )
        print(f"{options.delays}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        del matrix
        ratios, earlier, cpu, earlier_cpu = [], [], [], []
        for _ in range(options.turns):
            reference, fit = (in_a_process(part, file, options) for part in ("svds", "fit"))
            ratios.append(fit["seconds"] / reference["seconds"])
            cpu.append(cpu_ratio(reference, fit))
            report(reference, fit)
            if options.before is not None:
                fit = in_a_process("fit", file, options, options.before)
                earlier.append(fit["seconds"] / reference["seconds"])
                earlier_cpu.append(cpu_ratio(reference, fit))
                print("before:", end=" ")
                report(reference, fit)
    print(f"fit / svds: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; median {median(ratios):.2f} ", end="")
    print(f"(wanted <= {WANTED_RATIO}); of CPU seconds {median(cpu):.2f}")
    if earlier:
        print(f"before: {', '.join(f'{ratio:.2f}' for ratio in earlier)}; median {median(earlier):.2f}", end="")
        print(f"; of CPU seconds {median(earlier_cpu):.2f}")


def cpu_ratio(reference: dict[str, Any], fit: dict[str, Any]) -> float:
    """CPU seconds of master and workers beside those of `svds`: other work on the machine changes it far less than the time."""
    return float((fit["master_cpu_s"] + fit["workers_cpu_s"]) / reference["cpu_s"])


def report(reference: dict[str, Any], fit: dict[str, Any]) -> None:
    """One turn."""
    error = abs(fit["objective"] / reference["objective"] - 1)
    off = np.max(np.abs(np.array(fit["values"]) / reference["values"] - 1))
    print(f"svds {reference['seconds']:.2f} s on one core, where a product with {RANK + 5} columns takes ", end="")
    print(f"{reference['product_s']:.2f} s")
    print(f"CPU seconds: svds {reference['cpu_s']:.2f}; master {fit['master_cpu_s']:.2f}, ", end="")
    print(f"workers {fit['workers_cpu_s']:.2f}")
    print(f"fit {fit['seconds']:.2f} s, {fit['iterations']} iterations, {fit['outcome']}, ", end="")
    print(f"D formed: {fit['precomputation']}; {fit['responses'][0]} to {fit['responses'][-1]} responses a round")
    print(f"  objective off by {error:.1e} (wanted <= {WANTED_ERROR:.0e}), singular values by at most {off:.1e}")
    print(f"  peak memory of the master {fit['peak_gb']:.2f} GB (wanted < {WANTED_GB}), ", end="")
    print(f"{fit['before_gb']:.2f} of it before the fit")
    for name, seconds in sorted(fit["parts"].items(), key=lambda part: -part[1]):
        print(f"  {name:24}{seconds:8.2f} s {100 * seconds / fit['seconds']:5.1f} %")
    sys.stdout.flush()


def small() -> None:
    """Real ratings of modest size, with D and without."""
    from coded_als import CodedALS, InlineCluster
    from coded_als.data import load_ratings

    jester = DATA / "jester" / "jester-dataset-v1-dense-first-1000.csv"
    for name, source, rank, ways in (
        ("MovieLens 100K", DATA / "ml-100k" / "u.data", 20, ("auto", "none")),
        ("Jester", jester, 10, ("auto",)),
    ):
        if not source.is_file():
            print(f"{name}: no {source.name} in {DATA}, left out")
            continue
        matrix = load_ratings(source, dense=name == "Jester", header=name == "Jester" or None).matrix
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        best = float(np.sum(np.linalg.svd(dense, compute_uv=False)[rank:] ** 2))
        for way in ways:
            model = CodedALS(rank, precomputation=way).fit(matrix, InlineCluster(WORKERS, "exp:mean=1ms"))
            print(f"{name}, rank {rank}, D formed: {model.precomputation_}: {len(model.rounds_)} rounds, ", end="")
            print(f"{model.outcome_}, off by {abs(model.objective_ / best - 1):.1e} (wanted <= {WANTED_ERROR:.0e})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--copies", type=int, default=3, help="workers that hold each block of rows (default 3)")
    parser.add_argument("--delays", default=DELAYS, help=f"delay SPEC of the workers (default {DELAYS})")
    parser.add_argument("--skew", type=float, default=SKEW, help=f"popularity falls as i^-skew (default {SKEW})")
    parser.add_argument("--turns", type=int, default=3, help="repetitions (default 3)")
    parser.add_argument("--before", help="folder of another checkout, measured by turns with this one")
    parser.add_argument("--part", choices=["svds", "fit"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part is None:
        large(options)
        small()
        return
    matrix = sparse.csr_array(sparse.load_npz(options.file))
    done = decomposed(matrix) if options.part == "svds" else fitted(matrix, options.copies, options.delays)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
