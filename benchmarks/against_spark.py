"""Where this stands against Spark: MLlib's ALS on local[2] and `ImplicitALS` on a Dask cluster of two processes.

Both read the same Parquet files, rank 32, the same iterations, Hu's implicit objective with confidence 1 + alpha r; each in a
process of its own. Seconds per iteration are those of 6 iterations less those of 2, over 4: reading and shuffling are not
in them. Peak memory is that of all processes of each together. Quality is Recall@20 on a pair of each user that was left out.
MLlib multiplies the regularisation by the number of ratings, so ours is set to what gives the best recall of three.

With ``--straggler`` one of the two processes is stopped for 1 s out of 3: ours holds each block in two copies
(`FirstCopy(2)`), MLlib has speculation on.

Skips with a reason without Java or pyspark (pip install 'coded-als[spark]').
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

RANK, ALPHA, FEW, MANY = 32, 10.0, 2, 6
COLUMNS = ("user", "item", "rating")


def why_not() -> str | None:
    if shutil.which("java") is None:
        return "Java is not installed"
    try:
        import pyspark  # noqa: F401
    except ImportError:
        return "pyspark is not installed"
    return None


def write_parts(folder: Path, source: str) -> None:
    """Training pairs as part files, and one pair of each user left out."""
    import pyarrow as pa
    from pyarrow import parquet

    if source.endswith(".npz"):
        from coded_als.data import load_ncf

        rows, columns, _ = load_ncf(source).train.triples()
    else:
        from ratings_50m import drawn

        ratings = round(float(source))
        generator = np.random.default_rng(0)
        users, items = ratings // 50, ratings // 250
        pairs = np.unique(drawn(generator, users, ratings, 0.5) * items + drawn(generator, items, ratings, 0.6))
        rows, columns = np.divmod(pairs, items)
    generator = np.random.default_rng(1)
    order = generator.permutation(rows.size)
    rows, columns = rows[order], columns[order]
    _, left_out = np.unique(rows, return_index=True)
    train = np.ones(rows.size, np.bool_)
    train[left_out] = False
    np.savez(folder.parent / "left_out.npz", users=rows[left_out], items=columns[left_out])
    for part, some in enumerate(np.array_split(np.flatnonzero(train), 8)):
        table = {"user": rows[some].astype(np.int32), "item": columns[some].astype(np.int32)}
        table["rating"] = np.ones(some.size, np.float32)
        parquet.write_table(pa.table(table), folder / f"part-{part}.parquet")


def recall(users: np.ndarray, items: np.ndarray, user_ids: np.ndarray, item_ids: np.ndarray, folder: Path) -> float:
    """Share of the left-out pairs, of 3,000 users, whose item is among the best 20 of those not in training."""
    import pyarrow.dataset as pads

    with np.load(folder.parent / "left_out.npz") as archive:
        who, what = archive["users"], archive["items"]
    known = np.isin(who, user_ids) & np.isin(what, item_ids)
    chosen = np.random.default_rng(2).permutation(np.flatnonzero(known))[:3000]
    table = pads.dataset(folder).to_table(columns=["user", "item"])
    trained, seen = table["user"].to_numpy(), table["item"].to_numpy()
    order = np.argsort(trained, kind="stable")
    trained, seen = trained[order], seen[order]
    found = 0
    for user, item in zip(who[chosen], what[chosen], strict=True):
        scores = items @ users[np.searchsorted(user_ids, user)]
        own = seen[np.searchsorted(trained, user) : np.searchsorted(trained, user, side="right")]
        scores[np.searchsorted(item_ids, own)] = -np.inf
        found += int((scores > scores[np.searchsorted(item_ids, item)]).sum() < 20)
    return found / chosen.size


class Memory(threading.Thread):
    """Peak of the resident memory of a process and all below it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gb, self.over = 0.0, False

    def run(self) -> None:
        while not self.over:
            rows = [line.split() for line in os.popen("ps -eo pid,ppid,rss").read().splitlines()[1:]]
            below = {str(os.getpid())}
            for _ in range(6):
                below |= {pid for pid, parent, _ in rows if parent in below}
            self.peak_gb = max(self.peak_gb, sum(int(rss) for pid, _, rss in rows if pid in below) / 1e6)
            time.sleep(0.3)


class Straggler(threading.Thread):
    """Stops some processes for one second out of three."""

    def __init__(self, process_ids: list[int]) -> None:
        super().__init__(daemon=True)
        self.process_ids, self.over = process_ids, threading.Event()

    def run(self) -> None:
        while not self.over.wait(2.0):
            for what in (signal.SIGSTOP, signal.SIGCONT):
                for process_id in self.process_ids:
                    os.kill(process_id, what)
                if what is signal.SIGSTOP:
                    time.sleep(1.0)


def spark(folder: Path, straggler: bool) -> dict[str, Any]:
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    master = "local-cluster[2,1,2048]" if straggler else "local[2]"
    builder = (
        SparkSession.builder.master(master).config("spark.driver.memory", "6g").config("spark.ui.enabled", "false")
    )
    session = builder.config("spark.speculation", str(straggler).lower()).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    table = session.read.parquet(str(folder)).cache()
    table.count()
    stopping = None
    if straggler:
        lines = os.popen("ps -eo pid,args").read().splitlines()
        executors = [
            int(line.split()[0]) for line in lines if "CoarseGrainedExecutorBackend" in line and "java" in line
        ]
        stopping = Straggler(executors[:1])
        stopping.start()
    seconds = {}
    for iterations in (FEW, MANY):
        als = ALS(
            rank=RANK, maxIter=iterations, regParam=0.01, alpha=ALPHA, implicitPrefs=True, seed=0, userCol="user",
            itemCol="item", ratingCol="rating", numUserBlocks=2, numItemBlocks=2,
        )  # fmt: skip
        started = time.perf_counter()
        model = als.fit(table)
        seconds[iterations] = time.perf_counter() - started
    if stopping is not None:
        stopping.over.set()
        stopping.join()
    sides = [
        sorted((row["id"], row["features"]) for row in part.collect())
        for part in (model.userFactors, model.itemFactors)
    ]
    ids = [np.array([number for number, _ in side]) for side in sides]
    factors = [np.array([values for _, values in side]) for side in sides]
    session.stop()
    return {"seconds": seconds, "recall": recall(*factors, *ids, folder)}


def ours(folder: Path, straggler: bool) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    from coded_als.baselines import FirstCopy, ImplicitALS, WaitForAll
    from coded_als.dask import DaskCluster, Dataset, fit_dataset

    policy = FirstCopy(2) if straggler else WaitForAll()
    best: dict[str, Any] = {"recall": -1.0}
    dask = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with dask, Client(dask) as client, DaskCluster(client, 2) as cluster:
        dataset = Dataset.find(client, str(folder), COLUMNS)
        stopping = Straggler([cluster.process_ids[0]]) if straggler else None
        if stopping is not None:
            stopping.start()
        for regularization in (0.3, 1.0, 3.0):
            model = ImplicitALS(RANK, regularization, MANY, alpha=ALPHA)
            fit_dataset(model, dataset, cluster, policy)
            times = [entry.seconds for entry in model.history_]
            quality = recall(model.user_factors_, model.item_factors_, dataset.user_ids, dataset.item_ids, folder)
            if quality > best["recall"]:
                best = {"seconds": {FEW: sum(times[:FEW]), MANY: sum(times)}, "recall": quality}
        if stopping is not None:
            stopping.over.set()
            stopping.join()
    return best


def one(what: str, folder: Path, straggler: bool) -> None:
    memory = Memory()
    memory.start()
    result = {"spark": spark, "ours": ours}[what](folder, straggler)
    memory.over = True
    memory.join()
    print(json.dumps(result | {"peak_gb": memory.peak_gb}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", default="2e7", help="how many of a power law, or the .npz of the NCF benchmark")
    parser.add_argument("--straggler", action="store_true", help="one of the two processes is stopped now and then")
    parser.add_argument("--what", choices=["spark", "ours"], help="only this, as JSON")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.what is not None:
        one(options.what, options.folder, options.straggler)
        return
    if (reason := why_not()) is not None:
        print(f"skipped: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="ratings-") as scratch:
        folder = Path(scratch) / "parts"
        folder.mkdir()
        write_parts(folder, options.ratings)
        command = [sys.executable, __file__, "--folder", str(folder), *(["--straggler"] if options.straggler else [])]
        for what in ("spark", "ours"):
            run = subprocess.run([*command, "--what", what], check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(run.stdout.splitlines()[-1])
            times = found["seconds"]
            per_iteration = (times[str(MANY)] - times[str(FEW)]) / (MANY - FEW)
            print(
                f"{what}: {per_iteration:.2f} s per iteration, peak {found['peak_gb']:.2f} GB, Recall@20 {found['recall']:.4f}"
            )
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
