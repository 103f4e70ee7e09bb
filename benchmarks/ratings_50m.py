"""Ratings that no machine holds: 50 million of 1 million users and 200,000 items on two Dask workers of 4 GB.

Users and items are drawn by power laws and written as Parquet part files into a temporary folder by this script. Then, each
in a process of its own: `ImplicitALS` of rank 32 and `CodedALS` of rank 20 on the part files, with two workers; and the same
in one process that holds the matrix, on as many cores. Wanted: peak memory of the master below 1.5 GB, seconds per iteration
at most twice those of the model in memory, and no Dask worker that spills or is killed.

``--ratings 5e6`` tries it out; users and items shrink by the same factor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("user", "item", "rating")
PART_ROWS, MEMORY_GB, WORKERS, RANK = 1_000_000, 4, 2, 32


def drawn(generator: np.random.Generator, count: int, size: int, exponent: float) -> np.ndarray:
    """Numbers below ``count`` with probabilities that fall like a power of their rank, mixed up."""
    ranks = (count ** (1 - exponent) * generator.random(size)) ** (1 / (1 - exponent))
    return (np.minimum(ranks.astype(np.int64), count - 1) * 2_654_435_761) % count


def write_parts(folder: Path, ratings: int) -> None:
    """Part files without a pair twice: pairs are drawn per user, by parts of the users."""
    import pyarrow as pa
    from pyarrow import parquet

    generator = np.random.default_rng(0)
    users, items = ratings // 50, ratings // 250
    parts = -(-ratings // PART_ROWS)
    owners = np.sort(drawn(generator, users, round(ratings * 1.12), 0.5))
    for part, chunk in enumerate(np.array_split(np.unique(owners), parts)):
        own = owners[np.searchsorted(owners, chunk[0]) : np.searchsorted(owners, chunk[-1], side="right")]
        pairs = np.unique(own * items + drawn(generator, items, own.size, 0.6))
        pairs = pairs[generator.random(pairs.size) < min(1.0, ratings / parts / pairs.size)]
        generator.shuffle(pairs)
        values = generator.integers(1, 6, pairs.size).astype(np.float32)
        # whole numbers that are no row numbers
        columns = {"user": pairs // items * 7 + 11, "item": pairs % items + 1_000_000, "rating": values}
        parquet.write_table(pa.table(columns), folder / f"part-{part:05d}.parquet", row_group_size=PART_ROWS)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def model_of(method: str, iterations: int) -> Any:
    from coded_als import CodedALS
    from coded_als.baselines import ImplicitALS

    if method == "coded":
        return CodedALS(20, code="uncoded", iterations=iterations, tolerance=1e-3)
    return ImplicitALS(RANK, iterations=iterations, threads=WORKERS)


def in_memory(folder: Path, method: str, iterations: int) -> dict[str, Any]:
    """The model of one process that holds everything, on as many cores."""
    import pyarrow.dataset as pads
    import scipy.sparse as sp

    table = pads.dataset(folder).to_table()
    users, rows = np.unique(table["user"].to_numpy(), return_inverse=True)
    items, columns = np.unique(table["item"].to_numpy(), return_inverse=True)
    matrix = sp.csr_array((table["rating"].to_numpy().astype(float), (rows, columns)), shape=(users.size, items.size))
    del table, rows, columns
    model = model_of(method, iterations).fit(matrix)
    return {"seconds": [entry.seconds for entry in model.history_], "objective": model.history_[-1].objective}


def sent(folder: Path) -> dict[str, Any]:
    """What the workers are sent of the other factor's rows in a half-step, beside all rows to each of them."""
    import pyarrow.dataset as pads

    from coded_als.codes.product import deal
    from coded_als.dask.blocks import ALL_FROM

    table = pads.dataset(folder).to_table(columns=["user", "item"])
    rows, columns = (np.unique(table[name].to_numpy(), return_inverse=True)[1] for name in ("user", "item"))
    found = {}
    for name, own, other in (("users", rows, columns), ("items", columns, rows)):
        for workers in (2, 8, 32, 128):
            shard_of = np.empty(own.max() + 1, np.int32)
            for shard, held in enumerate(deal(np.bincount(own), workers)):
                shard_of[held[held >= 0]] = shard
            there = np.zeros((workers, other.max() + 1), np.bool_)
            there[shard_of[own], other] = True
            parts = there.mean(axis=1)
            part = float(np.where(parts >= ALL_FROM, 1.0, parts).mean())
            all_mb = 8 * RANK * there.size / 1e6
            found[f"{name}, {workers} workers"] = {"part": part, "mb": part * all_mb, "all_mb": all_mb}
    return found


class Watch(threading.Thread):
    """The most that Dask workers and ours beside them hold, and whether Dask spilled anything."""

    def __init__(self, client: Any) -> None:
        super().__init__(daemon=True)
        self.client, self.dask_gb, self.ours_gb, self.spilled, self.over = client, 0.0, 0.0, 0, False
        self.processes = set(client.run(os.getpid).values())

    def run(self) -> None:
        while not self.over:
            info = self.client.scheduler_info(n_workers=-1)["workers"].values()
            for worker in info:
                metrics = worker["metrics"]
                self.dask_gb = max(self.dask_gb, metrics["memory"] / 1e9)
                self.spilled = max(self.spilled, metrics.get("spilled_bytes", {}).get("disk", 0))
            for line in subprocess.run(["ps", "-eo", "rss,args"], capture_output=True, text=True).stdout.splitlines():
                if "-m coded_als.worker --enlist" in line:
                    self.ours_gb = max(self.ours_gb, int(line.split()[0]) / 1e6)
            time.sleep(0.5)


def on_dask(folder: Path, method: str, iterations: int) -> dict[str, Any]:
    """The same on part files, and what it took of memory."""
    from distributed import Client, LocalCluster

    from coded_als.dask import DaskCluster, Dataset, fit_dataset

    limit = f"{MEMORY_GB}GB"
    dask = LocalCluster(n_workers=WORKERS, threads_per_worker=1, memory_limit=limit, dashboard_address=":0")
    with dask, Client(dask) as client, DaskCluster(client, WORKERS) as cluster:
        watch = Watch(client)
        watch.start()
        started = time.perf_counter()
        dataset = Dataset.find(client, str(folder), COLUMNS)
        found_s = time.perf_counter() - started
        model = fit_dataset(model_of(method, iterations), dataset, cluster)
        total_s = time.perf_counter() - started
        killed = set(client.run(os.getpid).values()) != watch.processes
        watch.over = True
        watch.join()
    return {
        "seconds": [entry.seconds for entry in model.history_],
        "objective": model.history_[-1].objective,
        "shape": dataset.shape,
        "ids_s": found_s,
        "total_s": total_s,
        "master_gb": peak_gb(),
        "dask_gb": watch.dask_gb,
        "ours_gb": watch.ours_gb,
        "spilled": watch.spilled,
        "killed": killed,
    }


def in_a_process(folder: Path, what: str, iterations: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", str(folder), "--what", what, "--iterations", str(iterations)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=float, default=50e6)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the part files are, or are to be; kept")
    parser.add_argument(
        "--what",
        choices=["implicit", "coded", "implicit-in-memory", "coded-in-memory", "sent"],
        help="only this, as JSON",
    )
    options = parser.parse_args()
    if options.what is not None:
        method, _, held = options.what.partition("-")
        if method == "sent":
            result = sent(options.folder)
        else:
            result = (in_memory if held else on_dask)(options.folder, method, options.iterations)
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory(prefix="ratings-") as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        if not any(folder.iterdir()):
            started = time.perf_counter()
            write_parts(folder, round(options.ratings))
            size = sum(file.stat().st_size for file in folder.iterdir())
            print(f"written in {time.perf_counter() - started:.0f} s: {size / 1e9:.2f} GB", flush=True)
        report(folder, options.iterations)


def report(folder: Path, iterations: int) -> None:
    results = {}
    for method, count in (("implicit", iterations), ("coded", 100)):
        for what in (method, f"{method}-in-memory"):
            started = time.perf_counter()
            results[what] = in_a_process(folder, what, count)
            print(f"{what}: {time.perf_counter() - started:.0f} s, {json.dumps(results[what])}", flush=True)
        both = results[method], results[f"{method}-in-memory"]
        # the first iteration of each loads the compiled loops
        ours, theirs = (float(np.median(found["seconds"][1:])) for found in both)
        gap = abs(both[0]["objective"] / both[1]["objective"] - 1)
        print(f"per iteration {ours:.2f} s on part files, {theirs:.2f} s in memory: {ours / theirs:.2f} (wanted <= 2)")
        print(f"objectives differ by {gap:.1e}; load {os.getloadavg()[0]:.1f}")
    for name, one in in_a_process(folder, "sent", 0).items():
        print(
            f"a half-step of {name}: {one['mb']:,.0f} MB sent, {one['part']:.2f} of all rows to each ({one['all_mb']:,.0f} MB)"
        )
    for method in ("implicit", "coded"):
        found = results[method]
        print(
            f"{method}: master {found['master_gb']:.2f} GB (wanted < 1.5), Dask workers {found['dask_gb']:.2f} GB and ours "
            f"{found['ours_gb']:.2f} GB of {MEMORY_GB}, spilled {found['spilled']} bytes, killed: {found['killed']}"
        )


if __name__ == "__main__":
    main()
