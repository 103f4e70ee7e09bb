"""What a local cluster survives: workers killed together, fits interrupted at any moment, floods of strangers.

    python benchmarks/survival.py                    # 20 trials of everything
    python benchmarks/survival.py kill --trials 500

Killed: W workers, k of which get SIGKILL at one random moment before or during a fit. A fit passes that ends within
1e-8 of the undisturbed objective. Interrupted: Ctrl-C at a random moment of a fit, and then a fit on the same cluster.
Flooded: fits beside a process that sends as fast as it can, against fits without.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from coded_als import CodedALS, LocalCluster
from coded_als.errors import CodedALSError

RATINGS = np.random.default_rng(0).standard_normal((120, 80))
# (killed, of workers, partitions): the threshold is 6, 10 and 10, and every fit has more workers left than that
KILLS = ((2, 12, 3), (5, 20, 4), (15, 30, 4))
TOLERANCE = 1e-8
LIMIT_S = 30.0
FLOOD_S = 10.0


def fit(cluster: LocalCluster, partitions: int) -> float:
    return CodedALS(rank=5, partitions=partitions).fit(RATINGS, cluster).objective_


def outcome(cluster: LocalCluster, partitions: int, expected: float) -> str:
    """What became of a fit: ``right``, ``wrong``, or the name of the error."""
    try:
        objective = fit(cluster, partitions)
    except CodedALSError as error:
        return f"{type(error).__name__}: {error}"
    return "right" if abs(objective - expected) <= TOLERANCE * expected else f"wrong: {objective!r}"


def kill(trials: int, rng: random.Random) -> bool:
    """Kill k of W workers together."""
    passed = True
    for killed, workers, partitions in KILLS:
        with LocalCluster(workers) as cluster:
            expected = fit(cluster, partitions)
            started = time.perf_counter()
            fit(cluster, partitions)
            length_s = time.perf_counter() - started
        tally: Counter[str] = Counter()
        for _ in range(trials):
            with LocalCluster(workers, round_timeout_s=LIMIT_S) as cluster:
                victims = rng.sample(list(cluster.process_ids.values()), killed)
                timer = threading.Timer(rng.uniform(-0.2, 1.0) * length_s, shoot, (victims,))
                timer.start()
                tally[outcome(cluster, partitions, expected)] += 1
                timer.join()
        report(f"{killed} of {workers} killed together", trials, tally)
        passed &= tally["right"] == trials
    return passed


def shoot(victims: list[int]) -> None:
    for victim in victims:
        os.kill(victim, signal.SIGKILL)


def interrupt(trials: int, rng: random.Random) -> bool:
    """Interrupt a fit by Ctrl-C, and fit again on the same cluster."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in a shell's background
    workers, partitions = 12, 3
    tally: Counter[str] = Counter()
    delays = "uniform:low=0ms,high=2ms"
    with LocalCluster(workers, delays, round_timeout_s=LIMIT_S) as cluster:
        expected = fit(cluster, partitions)
        started = time.perf_counter()
        fit(cluster, partitions)
        length_s = time.perf_counter() - started
        interrupted = 0
        for _ in range(trials):
            interrupted += broken_off(cluster, partitions, rng.uniform(0.0, length_s))
            tally[outcome(cluster, partitions, expected)] += 1
    report(f"fits after an interrupted one ({interrupted} were interrupted in time)", trials, tally)
    return tally["right"] == trials and interrupted > 0


def broken_off(cluster: LocalCluster, partitions: int, after_s: float) -> bool:
    """Fit, with a Ctrl-C after some time; whether it came before the end."""
    timer = threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        fit(cluster, partitions)
        timer.join()
        time.sleep(0.01)  # where it is raised at the latest
    except KeyboardInterrupt:
        return timer.finished.is_set()
    return False


FLOODS = {
    "1-byte messages, no secret": "socket.send(b'x')",
    "1-byte messages, with the secret": "socket.send(b'x')",
    "connections that speak garbage": """
client = sockets.socket(sockets.AF_UNIX)
client.connect(sys.argv[1].removeprefix('ipc://'))
client.send(b'\\xff' * 1000)
client.close()""",
}
FLOODER = """
import socket as sockets, sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
if len(sys.argv) > 2:
    socket.plain_username, socket.plain_password = b'0', sys.argv[2].encode()
socket.connect(sys.argv[1])
print(flush=True)
while True:
    try:
{body}
    except OSError:
        pass
"""


def flood(trials: int, rng: random.Random) -> bool:
    """Fit beside processes that send as fast as they can."""
    partitions, passed = 3, True
    for name, body in FLOODS.items():
        with LocalCluster(12, round_timeout_s=LIMIT_S) as cluster:
            alone = timed_fits(cluster, partitions, trials)
            before = resident_bytes()
            password = [cluster._membership.job.hex()] if "with the" in name else []
            with flooder(body, [cluster._link.endpoint, *password]):
                time.sleep(0.2)
                beside = timed_fits(cluster, partitions, trials)
                started = time.monotonic()
                while time.monotonic() - started < FLOOD_S:  # nobody reads for half a second at a time
                    time.sleep(0.5)
                    fit(cluster, partitions)
            grown = (resident_bytes() - before) / 1e6
        ratio = statistics.median(beside) / statistics.median(alone)
        print(
            f"{name}: a fit takes {1e3 * statistics.median(alone):.0f} ms alone, {ratio:.2f} times as long beside "
            f"(worst {max(beside) / statistics.median(alone):.1f}), memory grows by {grown:.1f} MB"
        )
        passed &= ratio <= 3.0 and grown < 20.0
    return passed


def timed_fits(cluster: LocalCluster, partitions: int, trials: int) -> list[float]:
    seconds = []
    for _ in range(max(3, trials // 4)):
        started = time.perf_counter()
        fit(cluster, partitions)
        seconds.append(time.perf_counter() - started)
    return seconds


@contextmanager
def flooder(body: str, arguments: list[str]) -> Iterator[None]:
    """A process that floods until the end of the block."""
    code = FLOODER.format(body="\n".join(f"        {line}" for line in body.strip().splitlines()))
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def report(what: str, trials: int, tally: Counter[str]) -> None:
    rest = "".join(f"\n    {count} x {name}" for name, count in tally.most_common() if name != "right")
    print(f"{what}: {tally['right']} of {trials} fits right{rest}", flush=True)


TRIALS: dict[str, Callable[[int, random.Random], bool]] = {"kill": kill, "interrupt": interrupt, "flood": flood}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*TRIALS, []], help="which trials; all by default")
    parser.add_argument("--trials", type=int, default=20, help="how many of each (20)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    passed = True
    for name in options.what or TRIALS:
        passed &= TRIALS[name](options.trials, random.Random(options.seed))
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
