"""The width of a block that a plan chooses, against five widths on real workers: fourteen clusters of eight workers.

Delays from none to seconds, links as fast as this machine's and of 10 and 3 MB/s: a process between master and workers lets
no more bytes pass each way. A plan is told the delays, this machine as `plan --calibrate` measures it, and the speed of the
narrow link. Every width meets the same delays in the same order, on workers started for it; its time is that of all
iterations, the proof included, without the start of the workers and the arrival of their shares. Wanted: the median of the
plan's width at most 1.10 times that of the best of five in 12 of 14.

    python benchmarks/widths.py [--seeds 3] [--only "10 MB/s"]
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

from one_machine import movie_lens

from coded_als import CodedALS, LocalCluster
from coded_als.als.spread import Spread
from coded_als.cluster import Cluster
from coded_als.cluster.machine import Machine
from coded_als.experiments.calibration import calibrated
from coded_als.master import RemoteCluster
from coded_als.planner.solvers import SOLVERS

WORKERS, PARTS, WANTED, ENOUGH = 8, (0.3, 0.5, 1.0, 1.4, 2.0), 1.10, 12
PACKET_BYTES = 1 << 15


@dataclass(frozen=True)
class Tried:
    """One cluster and one problem: its rank, delays, and bytes a second of a narrow link."""

    rank: int
    delays: str
    link: float | None = None

    @property
    def name(self) -> str:
        link = "" if self.link is None else f", link {self.link / 1e6:.0f} MB/s"
        return f"rank {self.rank}, {self.delays}{link}"


CASES = [
    *(Tried(20, delays) for delays in ("none", "exp:mean=5ms", "exp:mean=50ms", "exp:mean=200ms", "exp:mean=1s")),
    *(Tried(20, delays) for delays in ("bimodal:p=0.1,fast=5ms,slow=1s", "slowdown:p=0.15,factor=5+exp:mean=20ms")),
    *(Tried(50, delays) for delays in ("none", "exp:mean=50ms", "exp:mean=200ms")),
    *(Tried(20, delays, 1e7) for delays in ("none", "exp:mean=200ms")),
    *(Tried(20, delays, 3e6) for delays in ("none", "exp:mean=200ms")),
]


class NarrowLink:
    """Forwards connections; what all of them carry in one direction is no more than so many bytes a second."""

    def __init__(self, port: int, bytes_per_second: float, listener: socket.socket) -> None:
        self._port, self._rate = port, bytes_per_second
        self._free_s, self._lock = {"to": 0.0, "from": 0.0}, threading.Lock()
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for source, sink, way in ((near, far, "to"), (far, near, "from")):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                threading.Thread(target=self._take, args=(source, waiting, way), daemon=True).start()
                threading.Thread(target=self._release, args=(waiting, sink), daemon=True).start()

    def _take(self, source: socket.socket, waiting: SimpleQueue[tuple[float, bytes]], way: str) -> None:
        with suppress(OSError):
            while data := source.recv(PACKET_BYTES):
                with self._lock:
                    due_s = max(self._free_s[way], time.perf_counter()) + len(data) / self._rate
                    self._free_s[way] = due_s
                waiting.put((due_s, data))
        waiting.put((0.0, b""))

    def _release(self, waiting: SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
        with suppress(OSError):
            while (packet := waiting.get())[1]:
                time.sleep(max(0.0, packet[0] - time.perf_counter()))
                sink.sendall(packet[1])


@contextmanager
def far_workers(tried: Tried, seed: int) -> Iterator[Cluster]:
    """Workers whose link is narrow."""
    assert tried.link is not None
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    listener, context = socket.create_server(("127.0.0.1", 0)), get_context("fork")
    link = context.Process(target=NarrowLink, args=(port, tried.link, listener), daemon=True)
    link.start()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ended:
        ended.callback(link.join)
        ended.callback(link.terminate)
        key = Path(folder) / "key"
        joining = threading.Thread(target=_start_workers, args=(key, listener.getsockname()[1], ended))
        joining.start()
        with RemoteCluster(f"tcp://127.0.0.1:{port}", WORKERS, key, tried.delays, seed, join_timeout_s=60) as cluster:
            yield cluster
        joining.join()
    listener.close()


def _start_workers(key: Path, port: int, ended: ExitStack) -> None:
    while not key.exists():
        time.sleep(0.01)
    for worker in range(WORKERS):
        named = ["--id", str(worker), "--key-file", str(key), "--endpoint", f"tcp://127.0.0.1:{port}"]
        ended.callback(subprocess.Popen([sys.executable, "-m", "coded_als.worker", *named]).wait)


def seconds(tried: Tried, matrix: Any, spread: Spread, seed: int) -> tuple[float, int]:
    """Seconds of all iterations of a fit to the end, and their number."""
    cluster: Any = LocalCluster(WORKERS, tried.delays, seed) if tried.link is None else far_workers(tried, seed)
    with cluster as workers:
        model = CodedALS(tried.rank).fit(matrix, workers, spread=spread)
    assert model.outcome_ == "converged"
    return sum(entry.seconds for entry in model.history_), len(model.history_)


def case(tried: Tried, matrix: Any, machine: Machine, seeds: int) -> float:
    """Median seconds of the plan's width over those of the best."""
    if tried.link is not None:
        machine = replace(machine, bytes_per_second=tried.link, given_bytes_per_second=tried.link)
    planned = CodedALS(tried.rank).plan(matrix, WORKERS, tried.delays, machine)
    usual = SOLVERS["krylov"].columns(tried.rank, min(matrix.shape))
    widths = sorted({planned.columns, *(round(part * usual) for part in PARTS)})
    found: dict[int, list[tuple[float, int]]] = {width: [] for width in widths}
    for seed in range(seeds):
        for width in widths:
            found[width].append(seconds(tried, matrix, replace(planned, columns=width), seed))
    medians = {width: median(each[0] for each in tries) for width, tries in found.items()}
    ratio = medians[planned.columns] / min(medians.values())
    row = "  ".join(f"{width}: {medians[width]:.3f} s in {found[width][0][1]}" for width in widths)
    print(f"{tried.name}: {planned.code.spec}, {planned.columns} columns, ratio {ratio:.2f}; {row}", flush=True)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name this regular expression finds")
    options = parser.parse_args()
    matrix, machine = movie_lens(), calibrated(25)
    ratios = [case(tried, matrix, machine, options.seeds) for tried in CASES if re.search(options.only, tried.name)]
    good = sum(ratio <= WANTED for ratio in ratios)
    print(f"{good} of {len(ratios)} within {WANTED} of the best width (wanted {ENOUGH} of 14); worst {max(ratios):.2f}")


if __name__ == "__main__":
    main()
