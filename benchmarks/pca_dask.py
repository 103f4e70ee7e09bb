"""PCA of a Dask array that the master never holds, beside `dask.array.linalg.svd_compressed` in the same run.

600,000 x 1,000 float32 (2.4 GB) at rank 20 in chunks of rows on two Dask workers of 4 GB. The array is made and kept on the
workers; then each method takes its turn: seconds, peak memory of the master and of the largest worker, the share of the best
known variance that its components have, and the largest residual of a component, ``|A^T (A v) - s^2 v| / s_1^2``, which bounds
the error of its variance. Wanted: the master stays below 1 GB.

    python benchmarks/pca_dask.py [--rows 600000] [--columns 1000] [--rank 20]
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import psutil
from distributed import Client, LocalCluster, wait

from coded_als import CodedPCA
from coded_als.als.row_parts import gram_product_of
from coded_als.dask import DaskCluster
from coded_als.dask.row_chunks import DaskParts

DIRECTIONS, DECAY, NOISE, OFFSET = 60, 0.93, 0.1, 5.0


def made(rows: int, columns: int, chunk: int) -> Any:
    """Correlated columns with an offset, chunk by chunk on the workers."""

    def block(block_info: Any = None) -> np.ndarray:
        (start, stop), _ = block_info[None]["array-location"]
        generator = np.random.default_rng(start)
        axes = np.linalg.qr(np.random.default_rng(0).standard_normal((columns, DIRECTIONS)))[0].astype(np.float32)
        sizes = (DECAY ** np.arange(DIRECTIONS)).astype(np.float32)
        found = (generator.standard_normal((stop - start, DIRECTIONS), np.float32) * sizes) @ axes.T
        found += NOISE / np.sqrt(columns) * generator.standard_normal(found.shape, np.float32) + np.float32(OFFSET)
        return found

    sizes = tuple(min(chunk, rows - start) for start in range(0, rows, chunk))
    return da.map_blocks(block, chunks=(sizes, (columns,)), dtype=np.float32, meta=np.empty((0, 0), np.float32))


class Peaks:
    """The most memory of this process and of the largest of its workers while a block runs, in MB."""

    def __init__(self, workers: list[int]) -> None:
        self._master, self._workers = psutil.Process(), [psutil.Process(pid) for pid in workers]
        self.master = self.worker = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.master = max(self.master, self._master.memory_info().rss / 2**20)
            self.worker = max(self.worker, *(one.memory_info().rss / 2**20 for one in self._workers))

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--columns", type=int, default=1_000)
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--chunk", type=int, default=10_000)
    parser.add_argument("--powers", type=int, default=2, help="Power iterations of the second turn of svd_compressed.")
    given = parser.parse_args()
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="4GB", dashboard_address=":0") as dask_cluster,
        Client(dask_cluster) as client,
    ):
        workers = list(client.run(os.getpid).values())
        began = time.perf_counter()
        array = made(given.rows, given.columns, given.chunk).persist()
        wait(array)
        print(
            f"{array.nbytes / 1e9:.1f} GB made in {time.perf_counter() - began:.0f} s; load average {os.getloadavg()[0]:.1f}"
        )
        parts = DaskParts(array)

        def coded() -> tuple[np.ndarray, np.ndarray]:
            with DaskCluster(client) as cluster:
                model = CodedPCA(given.rank).fit(array, cluster=cluster)
            print(
                f"  converged: {model.converged_} ({model.outcome_}), {len(model.history_)} iterations, code {model.model_.code_}"
            )
            return model.components_.T, model.singular_values_**2

        def compressed(powers: int) -> tuple[np.ndarray, np.ndarray]:
            centred = array - array.mean(axis=0, dtype=np.float64)
            _, values, turned = da.linalg.svd_compressed(centred, given.rank, n_power_iter=powers, compute=True, seed=0)
            values, turned = da.compute(values, turned)
            return turned.T, values**2

        methods: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
            "CodedPCA": coded,
            "svd_compressed": lambda: compressed(0),
            f"svd_compressed, {given.powers} power iterations": lambda: compressed(given.powers),
        }
        report(parts, methods, workers)


def report(parts: DaskParts, methods: Any, workers: list[int]) -> None:
    rows = []
    for name, method in methods.items():
        print(f"{name} ...", flush=True)
        with Peaks(workers) as peaks:
            began = time.perf_counter()
            vectors, squares = method()
            seconds = time.perf_counter() - began
        image = parts.reduced(np.add, gram_product_of, parts.means, 1.0, vectors)
        kept = float(np.trace(vectors.T @ image))
        residual = np.linalg.norm(image - vectors * squares, axis=0).max() / squares[0]
        rows.append((name, seconds, peaks.master, peaks.worker, kept, residual))
        print(
            f"  {seconds:.1f} s, master {peaks.master:.0f} MB, residual {residual:.1e}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    best = max(row[4] for row in rows)
    for name, seconds, master, worker, kept, residual in rows:
        print(
            f"{name:36} {seconds:6.1f} s  master {master:5.0f} MB  worker {worker:5.0f} MB  variance lost "
            f"{1 - kept / best:.1e}  residual {residual:.1e}"
        )
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
