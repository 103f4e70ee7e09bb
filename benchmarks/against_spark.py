"""Where this stands against Spark: MLlib's ALS and `ImplicitALS` on a Dask cluster, two processes of one core each.

Both read the same Parquet files, rank 32, the same iterations, Hu's implicit objective with confidence 1 + alpha r; each in a
process of its own, one after the other. MLlib runs as local[2].

* Seconds per iteration: those of 6 iterations less those of 2, over 4, after 2 that warm up; reading and shuffling are not
  in them.
* Peak memory: the proportional share (PSS) of all processes of each together, without what is done here to judge.
* Quality: Recall@20 on a pair of each user that was left out, the best of three weights of the penalty. MLlib multiplies
  it by the number of ratings of a row, so the three are others there.

With ``--straggler`` the two processes of each are measured undisturbed, and once more while the first is stopped (SIGSTOP) for
1 s out of 3. MLlib then runs as local-cluster[2,1,2048], as executors in processes of their own, with speculation. Ours
waits for all, and once more holds each block in two copies (`FirstCopy(2)`). What is stopped is all of an executor, or the
Dask worker and all that it has started.

Skips with a reason without Java or pyspark (pip install pyspark).
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from processes import started_by
from ratings_50m import drawn

RANK, ALPHA, FEW, MANY = 32, 10.0, 2, 6
PENALTIES = {"spark": (0.01, 0.001, 0.1), "ours": (1.0, 10.0, 100.0)}
STOPPED_S, EVERY_S = 1.0, 3.0
COLUMNS = ("user", "item", "rating")
# user and item factors, user and item ids
Factors = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


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
        from ncf import load_ncf

        rows, columns, _ = load_ncf(source).train.triples()
    else:
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


def recall(factors: Factors, folder: Path) -> float:
    """Share of the left-out pairs, of 3,000 users, whose item is among the best 20 of those not in training."""
    import pyarrow.dataset as pads

    users, items, user_ids, item_ids = factors
    with np.load(folder.parent / "left_out.npz") as archive:
        who, what = archive["users"], archive["items"]
    known = np.isin(who, user_ids) & np.isin(what, item_ids)
    chosen = np.random.default_rng(2).permutation(np.flatnonzero(known))[:3000]
    table = pads.dataset(folder).to_table(columns=["user", "item"])
    # of the type of what is searched for, or each search converts all of them
    trained, seen = (table[name].to_numpy().astype(np.int64) for name in ("user", "item"))
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
    """Peak of the memory of this process and of all below it, pages that several share counted once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_gb, self.over = 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.3):
            self.peak_gb = max(self.peak_gb, sum(map(share_kb, {os.getpid(), *started_by(os.getpid())})) / 1e6)


def share_kb(process_id: int) -> int:
    try:
        lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):  # it has just ended
        return 0


@contextmanager
def stopped_now_and_then(process_ids: set[int]) -> Iterator[None]:
    over = threading.Event()

    def stop_and_go() -> None:
        while not over.wait(EVERY_S - STOPPED_S):
            for what in (signal.SIGSTOP, signal.SIGCONT):
                for process_id in process_ids:
                    os.kill(process_id, what)
                if what is signal.SIGSTOP:
                    over.wait(STOPPED_S)

    thread = threading.Thread(target=stop_and_go, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def per_iteration(seconds_of: Callable[[int], float]) -> float:
    """Seconds of an iteration, from fits of few and of many, after one that warms up."""
    seconds_of(FEW)
    few = seconds_of(FEW)
    return (seconds_of(MANY) - few) / (MANY - FEW)


def measured(
    fit: Callable[[float, int], float], factors: Callable[[], Factors], penalties: tuple[float, ...]
) -> tuple[dict[str, Any], list[Factors]]:
    """Seconds per iteration and peak memory, and the factors at each weight of the penalty."""
    memory = Memory()
    memory.start()
    seconds = per_iteration(partial(fit, penalties[0]))
    memory.over.set()
    memory.join()
    found = [factors()]
    for penalty in penalties[1:]:
        fit(penalty, MANY)
        found.append(factors())
    return {"seconds": seconds, "peak_gb": memory.peak_gb}, found


def spark(folder: Path, straggler: bool) -> tuple[dict[str, Any], list[Factors]]:
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    session = SparkSession.builder.master("local-cluster[2,1,2048]" if straggler else "local[2]")
    for name, value in (
        ("driver.memory", "6g"),
        ("driver.host", "127.0.0.1"),
        ("ui.enabled", "false"),
        ("ui.showConsoleProgress", "false"),
        ("speculation", str(straggler).lower()),
    ):
        session = session.config(f"spark.{name}", value)
    session = session.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    table = session.read.parquet(str(folder)).cache()
    table.count()
    model: Any = None

    def fit(penalty: float, iterations: int) -> float:
        nonlocal model
        als = ALS(
            rank=RANK, maxIter=iterations, regParam=penalty, alpha=ALPHA, implicitPrefs=True, seed=0, userCol="user",
            itemCol="item", ratingCol="rating", numUserBlocks=2, numItemBlocks=2,
        )  # fmt: skip
        started = time.perf_counter()
        model = als.fit(table)
        return time.perf_counter() - started

    def factors() -> Factors:
        sides = [sorted(map(tuple, part.collect())) for part in (model.userFactors, model.itemFactors)]
        ids = [np.array([number for number, _ in side]) for side in sides]
        values = [np.array([row for _, row in side]) for side in sides]
        return values[0], values[1], ids[0], ids[1]

    try:
        if not straggler:
            return measured(fit, factors, PENALTIES["spark"])
        run = partial(fit, PENALTIES["spark"][0])
        found = {"undisturbed": per_iteration(run)}
        executors = sorted(filter(is_executor, started_by(os.getpid())))
        assert len(executors) == 2, executors
        with stopped_now_and_then({executors[0]}):
            found["one stopped"] = per_iteration(run)
        return found, []
    finally:
        session.stop()


def is_executor(process_id: int) -> bool:
    words = Path(f"/proc/{process_id}/cmdline").read_text().split("\0")
    return words[0].endswith("java") and any("CoarseGrainedExecutorBackend" in word for word in words)


def ours(folder: Path, straggler: bool) -> tuple[dict[str, Any], list[Factors]]:
    from distributed import Client, LocalCluster

    from coded_als.baselines import FirstCopy, ImplicitALS, WaitForAll
    from coded_als.dask import DaskCluster, Dataset, fit_dataset

    model: Any = None
    dask = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with dask, Client(dask) as client, DaskCluster(client, 2) as cluster:
        dataset = Dataset.find(client, str(folder), COLUMNS)

        def fit(penalty: float, iterations: int, policy: Any = None) -> float:
            nonlocal model
            model = fit_dataset(ImplicitALS(RANK, penalty, iterations, alpha=ALPHA), dataset, cluster, policy)
            return sum(entry.seconds for entry in model.history_)

        if not straggler:
            sides = np.asarray(dataset.user_ids), np.asarray(dataset.item_ids)
            return measured(fit, lambda: (model.user_factors_, model.item_factors_, *sides), PENALTIES["ours"])
        found = {}
        theirs = next(iter(client.run(os.getpid).values()))
        for name, policy in (("waiting for all", WaitForAll()), ("two copies", FirstCopy(2))):
            run = partial(fit, PENALTIES["ours"][0], policy=policy)
            found[f"{name}, undisturbed"] = per_iteration(run)
            with stopped_now_and_then({theirs, *started_by(theirs)}):
                found[f"{name}, one stopped"] = per_iteration(run)
        return found, []


def one(what: str, folder: Path, straggler: bool) -> None:
    result, factors = {"spark": spark, "ours": ours}[what](folder, straggler)
    if factors:
        result["recall"] = max(recall(some, folder) for some in factors)
    print(json.dumps(result))


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
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(
            f"{options.ratings}: {size / 1e9:.2f} GB of Parquet; load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
        )
        command = [sys.executable, __file__, "--folder", str(folder), *(["--straggler"] if options.straggler else [])]
        for what in ("spark", "ours"):
            started = time.perf_counter()
            run = subprocess.run([*command, "--what", what], check=True, stdout=subprocess.PIPE, text=True)
            report(what, json.loads(run.stdout.splitlines()[-1]), time.perf_counter() - started)


def report(what: str, found: dict[str, float], total_s: float) -> None:
    if "recall" in found:
        text = (
            f"{found['seconds']:.2f} s per iteration, peak {found['peak_gb']:.2f} GB, Recall@20 {found['recall']:.4f}"
        )
    else:
        text = ", ".join(f"{name} {seconds:.2f} s per iteration" for name, seconds in found.items())
    print(f"{what}: {text} ({total_s:.0f} s in all)", flush=True)


if __name__ == "__main__":
    main()
