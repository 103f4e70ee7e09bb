"""`coded-als serve` under load: an open loop of requests, beside the bare computation on the same schedule.

A model of 100,000 items at rank 64 is served from one core; the client on another core sends requests for lists at a fixed rate,
whether or not the earlier ones have been answered. A latency counts from the moment at which the request was due. In alternating
blocks of the same run a process on the server's core does the bare computation on the same schedule: products in float32, the
best 4 n again in float64. Wanted: p99 of the server below 20 ms at 150 requests a second; memory that does not grow. Its threads
of BLAS are one, as are those of the server.

    python benchmarks/serving.py [--seconds 150] [--rate 150] [--items 100000] [--rank 64] [--dtype float32]

Ten minutes of load: --seconds 600.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

USERS, SEEN, N, CONNECTIONS = 2000, 50, 10, 64
# A run that is so late is ended: this machine is too busy for it.
LATE_S = 3.0
TICKS = os.sysconf("SC_CLK_TCK")


def write_model(path: Path, items: int, rank: int, dtype: str) -> None:
    """A model of random factors and rated items."""
    from scipy import sparse

    from coded_als import ImplicitALS

    generator = np.random.default_rng(0)
    rated = np.concatenate([np.sort(generator.choice(items, SEEN, replace=False)) for _ in range(USERS)])
    seen = sparse.csr_array((np.ones(rated.size, np.int8), rated, np.arange(USERS + 1) * SEEN), shape=(USERS, items))
    model = ImplicitALS(rank, dtype=dtype)
    tables = (generator.standard_normal((count, rank)).astype(dtype) for count in (USERS, items))
    model._keep(*tables, seen=seen)
    model.history_ = []
    model.save(path)


def percentiles(latencies: list[float]) -> str:
    p50, p99, most = np.quantile(latencies, [0.5, 0.99, 1.0]) * 1e3
    return f"p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  longest {most:6.1f} ms"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def load(port: int, rate: float, seconds: float, users: np.ndarray) -> list[float]:
    """Latency of each request of an open loop."""
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(None)
    latencies: list[float] = []

    async def ask(due_s: float, user: int) -> None:
        connection = await free.get()
        reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /recommend?user={user}&n={N} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head, head
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - due_s)
        free.put_nowait((reader, writer))

    began, tasks = time.perf_counter(), []
    for number in range(round(rate * seconds)):
        due_s = began + number / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(due_s, int(users[number % users.size]))))
        if len(tasks) - len(latencies) > rate * LATE_S:
            raise SystemExit(f"the server is {LATE_S:g} s behind: load average {os.getloadavg()[0]:.1f}")
    await asyncio.wait_for(asyncio.gather(*tasks), 10 * LATE_S)
    while not free.empty():
        if (connection := free.get_nowait()) is not None:
            connection[1].close()
    return latencies


def bare(core: int, asked: Any, items: int, rank: int, dtype: str) -> None:
    """Do the computation alone on a schedule, as often as asked for."""
    os.sched_setaffinity(0, {core})
    generator = np.random.default_rng(0)
    exact = generator.standard_normal((items, rank)).astype(dtype)
    short, users = exact.astype(np.float32), generator.standard_normal((USERS, rank)).astype(np.float32)
    while (task := asked.recv()) is not None:
        rate, seconds = task
        latencies, began, spent = [], time.perf_counter(), time.process_time()
        for number in range(round(rate * seconds)):
            due_s = began + number / rate
            time.sleep(max(0.0, due_s - time.perf_counter()))
            if time.perf_counter() > due_s + LATE_S:
                break
            user = users[number % USERS]
            scores = short @ user
            first = np.argpartition(scores, items - 4 * N)[items - 4 * N :]
            again = exact[first].astype(np.float64) @ user
            again.argsort()[: -N - 1 : -1]
            latencies.append(time.perf_counter() - due_s)
        asked.send((latencies, (time.process_time() - spent) / len(latencies)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument(
        "--block", type=float, default=10.0, help="Seconds of the server, then of the bare computation."
    )
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model.npz", given.items, given.rank, given.dtype)
        command = [sys.executable, "-m", "coded_als", "serve", f"{folder}/model.npz", "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            said = server.stderr.readline()
            run(given, server.pid, int(said.split(":")[2].partition("/")[0]), cores)
        finally:
            server.terminate()
            server.wait()


def run(given: argparse.Namespace, server: int, port: int, cores: list[int]) -> None:
    os.sched_setaffinity(0, {cores[-1]})
    for thread in os.listdir(f"/proc/{server}/task"):
        os.sched_setaffinity(int(thread), {cores[0]})
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    beside = context.Process(target=bare, args=(cores[0], theirs, given.items, given.rank, given.dtype), daemon=True)
    beside.start()
    users = np.random.default_rng(1).permutation(USERS)
    asyncio.run(load(port, given.rate, 2.0, users))
    ours.send((given.rate, 2.0))
    ours.recv()
    before = resident_mb(server)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {given.items:,} items, rank {given.rank}")
    answered: list[float] = []
    alone: list[float] = []
    passed = 0.0
    while passed < given.seconds:
        seconds = min(given.block, given.seconds - passed)
        spent = cpu_s(server)
        latencies = asyncio.run(load(port, given.rate, seconds, users))
        spent = (cpu_s(server) - spent) / len(latencies)
        ours.send((given.rate, seconds))
        bare_latencies, bare_s = ours.recv()
        answered += latencies
        alone += bare_latencies
        passed += seconds
        print(
            f"{passed:5.0f} s  load {os.getloadavg()[0]:4.1f}  server {percentiles(latencies)}  {spent * 1e3:.2f} ms of CPU each"
            f"  {resident_mb(server):.1f} MB | bare {percentiles(bare_latencies)}  {bare_s * 1e3:.2f} ms of CPU", flush=True
        )  # fmt: skip
    print(f"server {percentiles(answered)}; {len(answered)} requests")
    print(f"bare   {percentiles(alone)}")
    print(f"memory {before:.1f} MB at the beginning, {resident_mb(server):.1f} MB at the end")
    ours.send(None)


if __name__ == "__main__":
    main()
