"""Seeded chaos: fits on real workers that are killed, stopped, restarted, replaced and delayed at random.

    python benchmarks/chaos.py --runs 200 [--pieces 6]

At no moment are more workers away than the code tolerates, so a run should end with the result of an undisturbed one;
it may end with a documented error, and with nothing else: not with another result, not with a hang, and not with a
process, a socket or a file left behind. Most runs are of a local cluster, which restarts its workers; every fifth is of
workers started by hand over TCP, in whose place new ones join.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from processes import is_running

from coded_als import CodedALS, LocalCluster
from coded_als.errors import CodedALSError, DecodingError, NotEnoughWorkers, RoundTimeout
from coded_als.master import RemoteCluster
from coded_als.master.zeromq import ZmqCluster

RATINGS = np.random.default_rng(0).standard_normal((60, 40))
DELAYS = ("none", "exp:mean=3ms", "bimodal:p=0.2,fast=1ms,slow=200ms", "slow:n=1,delay=30s", "uniform:low=0ms,high=8ms")
# workers, threshold
LOCAL, REMOTE = (10, 6), (5, 3)
TOLD_EVERY = 25
# a machine that is busy with other things takes its time to start processes
START_S = 120.0
TOLERANCE, LIMIT_S, ROUND_LIMIT_S, GONE_WITHIN_S = 1e-8, 60, 15.0, 5.0
DOCUMENTED = (NotEnoughWorkers, RoundTimeout, DecodingError)


class Hung(Exception):
    """A run has taken longer than it may."""


def model(threshold: int, verify: bool, pieces: int = 1) -> CodedALS:
    return CodedALS(
        rank=3,
        code=f"systematic:p={threshold},pieces={pieces}",
        solver="als",
        precomputation="coded",
        iterations=80,
        decoding_tolerance=1e-9,
        verify="freivalds" if verify else "off",
    )


class Disturber(threading.Thread):
    """Kills, stops and continues workers of a cluster until it is told to end.

    Parameters
    ----------
    cluster
        The cluster.
    rng
        What decides.
    most
        Workers that may be away at a time.
    """

    def __init__(self, cluster: ZmqCluster, rng: random.Random, most: int) -> None:
        super().__init__(daemon=True)
        self.seen: set[int] = set(cluster.process_ids.values())
        self.done: Counter[str] = Counter()
        self._cluster, self._rng, self._most = cluster, rng, most
        self._killed: dict[int, int] = {}
        self._stopped: dict[int, int] = {}
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._rng.expovariate(1 / 0.03)):
            self._act()

    def end(self) -> None:
        self._end.set()
        self.join()
        for process_id in self._stopped.values():
            send(process_id, signal.SIGCONT)

    def replace(self, worker: int) -> None:
        """A worker was killed: a local cluster starts another one by itself."""

    def _act(self) -> None:
        there = dict(self._cluster.process_ids)
        self.seen.update(there.values())
        self._killed = {worker: dead for worker, dead in self._killed.items() if there.get(worker) == dead}
        away = self._killed.keys() | self._stopped.keys()
        if self._stopped and (len(away) >= self._most or self._rng.random() < 0.4):
            worker = self._rng.choice(sorted(self._stopped))
            send(self._stopped.pop(worker), signal.SIGCONT)
            self.done["continued"] += 1
            return
        if len(away) >= self._most:
            return
        # some at a time, as when a rack goes
        for worker in self._rng.sample(sorted(there.keys() - away), self._rng.randint(1, self._most - len(away))):
            if self._rng.random() < 0.5:
                self._killed[worker] = there[worker]
                send(there[worker], signal.SIGKILL)
                self.done["killed"] += 1
                self.replace(worker)
            else:
                self._stopped[worker] = there[worker]
                send(there[worker], signal.SIGSTOP)
                self.done["stopped"] += 1


class ByHand(Disturber):
    """The same where workers are started by hand: somebody starts another one, with any free number."""

    def __init__(self, cluster: ZmqCluster, rng: random.Random, most: int, workers: Workers) -> None:
        super().__init__(cluster, rng, most)
        self._workers = workers

    def replace(self, worker: int) -> None:
        if self._rng.random() < 0.8:
            self._workers.start()


class Workers:
    """Worker processes started by hand."""

    def __init__(self, endpoint: str, key_file: Path) -> None:
        self._command = [sys.executable, "-m", "coded_als.worker", "--endpoint", endpoint, "--key-file", str(key_file)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._key_file = key_file

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._processes.append(subprocess.Popen(self._command, stdin=quiet, stdout=quiet, stderr=quiet))

    def start_when_there_is_a_key(self, count: int) -> None:
        while not self._key_file.exists():
            time.sleep(0.01)
        for _ in range(count):
            self.start()

    def end(self) -> None:
        """They end by themselves with their master; those that cannot are made to."""
        deadline = time.monotonic() + GONE_WITHIN_S
        for process in self._processes:
            send(process.pid, signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()


def send(process_id: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, number)


def run(seed: int, pieces: int, expected: dict[int, float], acts: Counter[str]) -> str:
    """One run; what became of it."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        tempfile.tempdir = folder
        try:
            said, seen = disturbed(rng, Path(folder), remote=seed % 5 == 4, pieces=pieces, expected=expected, acts=acts)
        finally:
            tempfile.tempdir = None
        left = sorted(os.listdir(folder))
    deadline = time.monotonic() + GONE_WITHIN_S
    while any(map(is_running, seen)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if any(map(is_running, seen)):
        return f"{said}, but left a process behind"
    return f"{said}, but left {left} behind" if left else said


def disturbed(
    rng: random.Random, folder: Path, remote: bool, pieces: int, expected: dict[int, float], acts: Counter[str]
) -> tuple[str, set[int]]:
    """A fit among chaos: what became of it, and the processes that it had."""
    workers, threshold = REMOTE if remote else LOCAL
    delays, verify = rng.choice(DELAYS), rng.random() < 0.5
    with ExitStack() as stack:
        if remote:
            started = Workers(f"tcp://127.0.0.1:{free_port()}", folder / "key")
            stack.callback(started.end)
            endpoint = started._command[4]
            threading.Thread(target=started.start_when_there_is_a_key, args=(workers,), daemon=True).start()
            cluster: ZmqCluster = stack.enter_context(
                RemoteCluster(
                    endpoint, workers, folder / "key", delays, rng.randrange(2**31), round_timeout_s=ROUND_LIMIT_S
                )
            )
            disturber: Disturber = ByHand(cluster, rng, workers - threshold - delays.startswith("slow"), started)
        else:
            cluster = stack.enter_context(LocalCluster(workers, delays, rng.randrange(2**31), START_S, ROUND_LIMIT_S))
            # a worker that never responds is away as well
            disturber = Disturber(cluster, rng, workers - threshold - delays.startswith("slow"))
        disturber.start()
        try:
            with limit(LIMIT_S):
                objective = model(threshold, verify, pieces).fit(RATINGS, cluster).objective_
            off = abs(objective / expected[threshold] - 1)
            said = "the undisturbed result" if off <= TOLERANCE else f"ANOTHER RESULT, off by {off:.0e}"
        except DOCUMENTED as error:
            said = f"documented error: {type(error).__name__}"
        except CodedALSError as error:
            said = f"ANOTHER ERROR: {error}"
        except Hung:
            said = f"HUNG for {LIMIT_S} s"
        finally:
            disturber.end()
        acts.update(disturber.done)
        acts["came back"] += len(disturber.seen | set(cluster.process_ids.values())) - workers
    return said, disturber.seen


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    def ring(*_: int | FrameType | None) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="how many (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run (0)")
    parser.add_argument("--pieces", type=int, default=1, help="of each share (1)")
    options = parser.parse_args()
    expected = {threshold: model(threshold, verify=False).fit(RATINGS).objective_ for _, threshold in (LOCAL, REMOTE)}
    tally: Counter[str] = Counter()
    acts: Counter[str] = Counter()
    worst_s = 0.0
    for seed in range(options.seed, options.seed + options.runs):
        started = time.perf_counter()
        said = run(seed, options.pieces, expected, acts)
        worst_s = max(worst_s, time.perf_counter() - started)
        tally[said] += 1
        if not said.startswith(("the undisturbed result", "documented")) or "but" in said:
            print(f"run {seed}: {said}", flush=True)
        if tally.total() % TOLD_EVERY == 0:
            print(f"{tally.total()} runs so far: {dict(tally)}", flush=True)
    print(f"{options.runs} runs (workers {dict(acts)}; the longest took {worst_s:.1f} s)")
    for said, count in tally.most_common():
        print(f"    {count} x {said}")
    fine = {"the undisturbed result", *(f"documented error: {error.__name__}" for error in DOCUMENTED)}
    passed = set(tally) <= fine
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
