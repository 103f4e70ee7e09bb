"""Dask fits back to back beside busy processes, with workers stopped and continued at random: none may fail.

    python benchmarks/dask_soak.py --fits 2000

The policies are such that nobody who is stopped is needed for longer than it is stopped, so each fit has enough workers, and
must end with the factors of an undisturbed one. One of our worker processes, or a whole Dask worker, is stopped at a time, for
up to ``--stop`` seconds. Exit code 1 when a fit failed, or found other factors.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from coded_als import CodedALS
from coded_als.baselines import FirstCopy, ImplicitALS, RidgeALS
from coded_als.dask import DaskCluster, Dataset, fit_dataset
from coded_als.data import load_ratings
from coded_als.errors import CodedALSError

NAMES = ("user", "item", "rating")
WORKERS, DASK_WORKERS, PARTS, TOLERANCE = 4, 2, 2, 1e-6
# Seconds between two stops, at most.
MOST_BETWEEN_S = 2.0
TOLD_EVERY = 100


def write_parts(folder: str) -> tuple[pd.DataFrame, str]:
    """A few hundred ratings, and the pattern of the files that hold them."""
    generator = np.random.default_rng(0)
    pairs = generator.permutation(30 * 20)[:300]
    ratings = generator.integers(1, 6, pairs.size) / 2
    table = pd.DataFrame({"user": pairs // 20, "item": pairs % 20, "rating": ratings})
    for part in range(PARTS):
        table.iloc[part::PARTS].to_parquet(Path(folder) / f"{part}.parquet")
    return table, f"{folder}/*.parquet"


class Stops:
    """Stops one process after the other, and lets it go on.

    Parameters
    ----------
    seed
        Of the draws.
    longest_s
        How long one is stopped at most.
    """

    def __init__(self, seed: int, longest_s: float) -> None:
        self.victims: Sequence[int] = ()
        self.count = 0
        self._draws, self._longest_s = random.Random(seed), longest_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stops:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._draws.uniform(0, MOST_BETWEEN_S)):
            victims = self.victims
            if self._longest_s <= 0 or not victims:
                continue
            victim = self._draws.choice(list(victims))
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGSTOP)
                self.count += 1
                self._end.wait(self._draws.uniform(0, self._longest_s))
                os.kill(victim, signal.SIGCONT)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute and compute."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def kinds() -> list[tuple[str, Any, Any]]:
    """A model of each kind, with its policy."""
    return [
        ("ridge, first copy", lambda: RidgeALS(2, iterations=3, dtype="float64"), FirstCopy(2)),
        ("implicit, all", lambda: ImplicitALS(2, iterations=2, dtype="float64"), None),
        ("coded rows", lambda: CodedALS(2, code="replicated:copies=2"), None),
    ]


def products(model: Any) -> Any:
    return model.user_factors_ @ model.item_factors_.T


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=2000)
    parser.add_argument("--busy", type=int, default=4, help="processes that compute beside")
    parser.add_argument("--stop", type=float, default=1.5, help="seconds that a worker is stopped, at most; 0: nobody")
    parser.add_argument("--each", type=int, default=200, help="fits on one cluster of ours before the next")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failures: Counter[str] = Counter()
    with ExitStack() as resources:
        from distributed import Client, LocalCluster

        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="coded-als-soak-"))
        table, source = write_parts(folder)
        data = load_ratings(table, columns=NAMES)
        expected = {name: products(make().fit(data)) for name, make, _ in kinds()}
        dask = LocalCluster(n_workers=DASK_WORKERS, threads_per_worker=1, dashboard_address=":0")
        client = resources.enter_context(Client(resources.enter_context(dask)))
        theirs = list(client.run(os.getpid).values())
        resources.enter_context(busy(options.busy))
        stops = resources.enter_context(Stops(options.seed, options.stop))
        started, done = time.perf_counter(), 0
        while done < options.fits:
            # nobody is stopped while workers start: that they start in time is another promise
            stops.victims = ()
            time.sleep(options.stop)
            with DaskCluster(client, WORKERS, startup_timeout_s=180) as cluster:
                stops.victims = [*cluster.process_ids.values(), *theirs]
                dataset = Dataset.find(client, source, NAMES)
                for _ in range(min(options.each, options.fits - done)):
                    name, make, policy = kinds()[done % len(kinds())]
                    done += 1
                    try:
                        found = products(fit_dataset(make(), dataset, cluster, policy))
                        if not np.allclose(found, expected[name], atol=TOLERANCE):
                            failures[f"{name}: other factors"] += 1
                    except CodedALSError as error:
                        failures[f"{name}: {type(error).__name__}: {str(error)[:160]}"] += 1
                    if done % TOLD_EVERY == 0:
                        seconds = time.perf_counter() - started
                        print(
                            f"{done} fits, {stops.count} stops, {failures.total()} failed, {seconds:.0f} s", flush=True
                        )
                stops.victims = ()
                time.sleep(options.stop)
        seconds = time.perf_counter() - started
    print(
        f"{done} fits in {seconds:.0f} s beside {options.busy} busy processes, {stops.count} stops: {failures.total()} failed"
    )
    for failure, count in failures.most_common():
        print(f"{count:6} {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
