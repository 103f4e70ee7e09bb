"""Rounds of workers that Dask started: over those of `LocalCluster`, over the ideal, and after a kill.

* W = 20 workers, 11 responses needed, 100 kB each way, without delays: the time of a round over that of a `LocalCluster`
  with the same frames, in alternating blocks of one run. Wanted: median at most 1.5.
* With injected delays, as `benchmarks/rounds.py` has them: time over the ideal, which is the 11th smallest delay that was
  drawn for the round. Wanted: at most 1.2. A `LocalCluster` in alternating blocks of the same run tells what of it is Dask's.
* One of two Dask workers is killed (its nanny starts it again) while rounds go on: seconds until one of our workers beside
  it has responded in a round, in time or late: it is asked after those that stayed. Wanted: at most 3. The nanny's own
  share is what passes until the scheduler has its worker back.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from typing import Any

import numpy as np
from distributed import Client
from distributed import LocalCluster as Dask

from coded_als.cluster import Fastest, Round, TaskEvent
from coded_als.dask import DaskCluster
from coded_als.delays import DelayStream
from coded_als.master import LocalCluster
from coded_als.master.zeromq import ZmqCluster

WORKERS, NEEDED, COLUMNS = 20, 11, 6_400
DELAYS, SEED = "exp:mean=20ms+bimodal:p=0.1,fast=0ms,slow=200ms", 0
PAYLOAD = np.ones((1, 2, COLUMNS))


def prepared(cluster: ZmqCluster) -> ZmqCluster:
    cluster.store("factor", [np.eye(2)[np.newaxis]] * WORKERS)
    return cluster


def one_round(cluster: ZmqCluster) -> float:
    round = Round("product", ("factor",), [(PAYLOAD,)] * WORKERS, response_shapes=((1, 2, COLUMNS),))
    return cluster.run(round, Fastest(NEEDED)).elapsed_s


def against_local(client: Client, blocks: int = 30, rounds: int = 11) -> tuple[list[float], list[float]]:
    """Median seconds of a round of each block."""
    ours, local = [], []
    with DaskCluster(client, WORKERS) as on_dask, LocalCluster(WORKERS) as plain:
        prepared(on_dask), prepared(plain)
        for _ in range(blocks):
            for cluster, found in ((plain, local), (on_dask, ours)):
                found.append(statistics.median(one_round(cluster) for _ in range(rounds)))
                time.sleep(0.05)  # the stragglers of one do not slow the other
    return ours, local


def with_delays(client: Client, blocks: int = 8, rounds: int = 25) -> tuple[list[float], list[float]]:
    """Time over ideal of each round, on Dask and of a `LocalCluster`, in alternating blocks."""
    found: tuple[list[float], list[float]] = [], []
    with (
        DaskCluster(client, WORKERS, delays=DELAYS, seed=SEED) as on_dask,
        LocalCluster(WORKERS, DELAYS, SEED) as plain,
    ):
        clusters = [(cluster, DelayStream(DELAYS, WORKERS, SEED)) for cluster in (prepared(on_dask), prepared(plain))]
        for _ in range(blocks):
            for (cluster, stream), ratios in zip(clusters, found, strict=True):
                for _ in range(rounds):
                    ideal_s = float(np.partition(stream.next_round(), NEEDED - 1)[NEEDED - 1])
                    ratios.append(one_round(cluster) / ideal_s)
                time.sleep(0.3)  # the stragglers of one do not slow the other
    return found


def after_a_kill(client: Client, victim: int) -> tuple[float, float]:
    """Seconds from the end of a Dask worker until there is another in its place, and until a worker of ours there responded.

    Parameters
    ----------
    client
        Of the Dask cluster.
    victim
        Which of the Dask workers.
    """
    with DaskCluster(client, WORKERS) as cluster:
        prepared(cluster)
        before = dict(cluster.process_ids)
        homes = cluster.starter.homes()
        address, process_id = sorted(client.run(os.getpid).items())[victim]
        theirs, back, there = set(homes[address]), [], []

        def note(event: TaskEvent) -> None:
            new = cluster.process_ids[event.worker] != before[event.worker]
            if event.worker in theirs and new and event.status in ("counted", "late"):
                assert event.received_s is not None
                back.append(event.received_s)

        one_round(cluster)
        os.kill(process_id, signal.SIGKILL)
        killed_s = cluster.seconds()
        cluster.observers.append(note)
        deadline = time.monotonic() + 30
        while not back and time.monotonic() < deadline:
            round = Round("product", ("factor",), [(PAYLOAD,)] * WORKERS, response_shapes=((1, 2, COLUMNS),))
            cluster.run(round, Fastest(WORKERS // 2))
            if not there and cluster.starter.homes().keys() - homes.keys():
                there.append(cluster.seconds())
            time.sleep(0.02)
        return there[0] - killed_s if there else float("inf"), back[0] - killed_s if back else float("inf")


def main() -> None:
    print(f"W = {WORKERS}, {NEEDED} needed, {16 * COLUMNS / 1e3:.0f} kB, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}")
    with two_dask_workers() as dask, Client(dask) as client:
        ours, local = against_local(client)
        ratio = statistics.median(o / p for o, p in zip(ours, local, strict=True))
        print(
            f"no delays: local {1e3 * statistics.median(local):.2f} ms, on Dask {1e3 * statistics.median(ours):.2f} ms",
            end="",
        )
        print(f" per round; ratio, median of {len(ours)} alternating blocks: {ratio:.2f} (wanted <= 1.5)")
        delayed = [statistics.median(ratios) for ratios in with_delays(client)]
        print(f"delays {DELAYS}: time / ideal, median {delayed[0]:.3f} on Dask (wanted <= 1.2), {delayed[1]:.3f} local")
    for kill in range(4):
        # another one each time: Dask's LocalCluster gives up a worker that is away 15 s after it was once lost
        with two_dask_workers() as dask, Client(dask) as client:
            there_s, back_s = after_a_kill(client, kill % 2)
        print(f"Dask worker killed: another is there after {there_s:.2f} s, ours beside it responds ", end="")
        print(f"after {back_s:.2f} s (wanted <= 3)", flush=True)


def two_dask_workers() -> Any:
    return Dask(n_workers=2, threads_per_worker=1, dashboard_address=":0")


if __name__ == "__main__":
    main()
