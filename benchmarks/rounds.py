"""What a round costs beyond what it must: W = 20 workers, 11 answers needed, 100 kB each way.

Two ratios are printed.

* With injected delays (exponential, mean 20 ms, and 200 ms for one worker in ten): the time of a round over
  the ideal, which is the 11th smallest delay that was drawn for it. Wanted: median at most 1.15.
* Without delays: the time of a round over that of the least loop that pyzmq can do, in the same run and
  alternating with it. Its 20 processes have a DEALER each and send back as many bytes as they get; its master
  has a ROUTER, sends the same number of frames of the same sizes to all, reads until 11 answers carry the
  current round's number, drops older ones, and goes on. It checks nothing, decodes nothing and computes nothing.
  Wanted: at most 1.5.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import zmq

from coded_als.cluster import Round, fastest
from coded_als.delays import DelayStream
from coded_als.master import LocalCluster

WORKERS, NEEDED, NUMBERS = 20, 11, 12_800
DELAYS, SEED = "exp:mean=20ms+bimodal:p=0.1,fast=0ms,slow=200ms", 0
HEADER_BYTES = 90


def one_round(cluster: LocalCluster, payload: np.ndarray) -> float:
    round = Round("product", ("one",), [(payload,)] * WORKERS, response_shapes=((1, 1, NUMBERS),))
    return cluster.run(round, fastest(NEEDED)).elapsed_s


def with_delays(rounds: int) -> list[float]:
    """Time over ideal of each round."""
    stream = DelayStream(DELAYS, WORKERS, SEED)
    payload = np.ones((1, 1, NUMBERS))
    with LocalCluster(WORKERS, DELAYS, SEED) as cluster:
        cluster.store("one", [np.ones((1, 1, 1))] * WORKERS)
        return [
            one_round(cluster, payload) / float(np.partition(stream.next_round(), NEEDED - 1)[NEEDED - 1])
            for _ in range(rounds)
        ]


def bare_worker(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(b"hello")
    while True:
        socket.send_multipart(socket.recv_multipart())


@contextmanager
def bare_workers() -> Iterator[zmq.Socket[bytes]]:
    """The ROUTER of 20 processes that send back what they get."""
    path = f"/tmp/bare-rounds-{os.getpid()}"
    ready, go = os.pipe()
    children = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            try:
                os.read(ready, 1)
                bare_worker(open(path).read())
            finally:
                os._exit(0)
        children.append(child)
    router = zmq.Context().socket(zmq.ROUTER)
    router.linger = 0
    router.bind("tcp://127.0.0.1:*")
    with open(path, "w") as file:
        file.write(router.last_endpoint.decode())
    os.write(go, b"x" * WORKERS)
    try:
        yield router
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.remove(path)
        router.close()


def bare_round(router: zmq.Socket[bytes], routes: list[bytes], index: int, payload: bytes) -> float:
    started = time.perf_counter()
    header = struct.pack("<q", index) + bytes(HEADER_BYTES - 8)
    for route in routes:
        router.send_multipart([route, header, payload])
    answers = 0
    while answers < NEEDED:
        answers += router.recv_multipart()[1] == header
    return time.perf_counter() - started


def without_delays(blocks: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds per round of the bare loop and of the cluster, in alternating blocks."""
    payload = np.ones((1, 1, NUMBERS))
    bare, ours = [], []
    with bare_workers() as router, LocalCluster(WORKERS) as cluster:
        routes = [router.recv_multipart()[0] for _ in range(WORKERS)]
        cluster.store("one", [np.ones((1, 1, 1))] * WORKERS)
        for block in range(blocks):
            bare += [bare_round(router, routes, block * rounds + r, payload.tobytes()) for r in range(rounds)]
            time.sleep(0.1)  # the stragglers of one do not slow the other
            ours += [one_round(cluster, payload) for _ in range(rounds)]
            time.sleep(0.1)
    return bare, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="rounds with delays (default 100)")
    options = parser.parse_args()
    print(
        f"W = {WORKERS}, {NEEDED} needed, {8 * NUMBERS / 1e3:.0f} kB each way, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    ratios = with_delays(options.rounds)
    print(
        f"delays {DELAYS}: time / ideal, median {statistics.median(ratios):.3f} (wanted <= 1.15), mean {statistics.fmean(ratios):.3f}"
    )
    bare, ours = without_delays(blocks=10, rounds=20)
    b, o = statistics.median(bare), statistics.median(ours)
    print(f"no delays: bare {b * 1e3:.2f} ms, cluster {o * 1e3:.2f} ms per round, ratio {o / b:.2f} (wanted <= 1.5)")


if __name__ == "__main__":
    main()
