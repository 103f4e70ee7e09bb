"""What a round costs beyond what it must: W = 20 workers, 11 responses needed, 100 kB each way.

Two ratios are printed.

* With injected delays (exponential, mean 20 ms, and 200 ms for one worker in ten): the time of a round over
  the ideal, which is the 11th smallest delay that was drawn for it. Wanted: median at most 1.15. Beside it stands the
  same ratio of the least loop, whose workers wait as long: what is above 1 there is the machine's and ZeroMQ's.
* Without delays: the time of a round over that of the least loop that pyzmq can do, in the same run and
  alternating with it. Its 20 processes have a DEALER each, multiply what they get as ours do and send it back;
  its master has a ROUTER, sends as many frames of the same sizes to all, reads until 11 responses carry the
  current round's number, drops older ones, and goes on. It checks nothing and decodes nothing. Wanted: at most 1.5.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zmq

from coded_als.cluster import Round, fastest
from coded_als.delays import DelayStream
from coded_als.master import LocalCluster

WORKERS, NEEDED, COLUMNS = 20, 11, 6_400
DELAYS, SEED = "exp:mean=20ms+bimodal:p=0.1,fast=0ms,slow=200ms", 0
HEADER_BYTES = 90


def one_round(cluster: LocalCluster, payload: np.ndarray) -> float:
    round = Round("product", ("factor",), [(payload,)] * WORKERS, response_shapes=((1, 2, COLUMNS),))
    return cluster.run(round, fastest(NEEDED)).elapsed_s


def with_delays(rounds: int) -> tuple[list[float], list[float]]:
    """Time over ideal of each round of the cluster, and of the bare loop."""
    stream = DelayStream(DELAYS, WORKERS, SEED)
    drawn = [stream.next_round().tolist() for _ in range(rounds)]
    ideal_s = [sorted(delays_s)[NEEDED - 1] for delays_s in drawn]
    payload = np.ones((1, 2, COLUMNS))
    with LocalCluster(WORKERS, DELAYS, SEED) as cluster:
        cluster.store("factor", [np.eye(2)[np.newaxis]] * WORKERS)
        ours = [one_round(cluster, payload) for _ in drawn]
    with bare_workers() as router:
        routes = [router.recv_multipart()[0] for _ in range(WORKERS)]
        bare = [bare_round(router, routes, index, payload.tobytes(), delays_s) for index, delays_s in enumerate(drawn)]
    return [seconds / ideal for seconds, ideal in zip(ours, ideal_s, strict=True)], [
        seconds / ideal for seconds, ideal in zip(bare, ideal_s, strict=True)
    ]


def bare_worker(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(b"hello")
    factor = np.eye(2)
    header, data = socket.recv_multipart()
    while True:
        if not superseded(socket, time.perf_counter() + struct.unpack_from("<d", header, 8)[0]):
            socket.send_multipart([header, factor @ np.frombuffer(data).reshape(2, COLUMNS)])
        header, data = socket.recv_multipart()


def superseded(socket: zmq.Socket[bytes], until: float) -> bool:
    """Wait; whether something newer has come before that."""
    while (remaining_s := until - time.perf_counter()) > 0:
        if remaining_s < 1e-3:  # ZeroMQ's clock has whole milliseconds
            time.sleep(remaining_s)
        elif socket.poll(int(remaining_s * 1000)):
            return True
    return False


@contextmanager
def bare_workers() -> Iterator[zmq.Socket[bytes]]:
    """The ROUTER of 20 processes that multiply what they get."""
    path = f"/tmp/bare-rounds-{os.getpid()}"
    ready, go = os.pipe()
    children = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            try:
                os.read(ready, 1)
                bare_worker(Path(path).read_text())
            finally:
                os._exit(0)
        children.append(child)
    router = zmq.Context().socket(zmq.ROUTER)
    router.linger = 0
    router.bind("tcp://127.0.0.1:*")
    Path(path).write_text(router.last_endpoint.decode())
    os.write(go, b"x" * WORKERS)
    try:
        yield router
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.remove(path)
        router.close()


def bare_round(
    router: zmq.Socket[bytes],
    routes: list[bytes],
    index: int,
    payload: bytes,
    delays_s: Sequence[float] = (0.0,) * WORKERS,
) -> float:
    started = time.perf_counter()
    number = struct.pack("<q", index)
    for route, delay_s in zip(routes, delays_s, strict=True):
        router.send_multipart([route, number + struct.pack("<d", delay_s) + bytes(HEADER_BYTES - 16), payload])
    responses = 0
    while responses < NEEDED:
        responses += router.recv_multipart()[1][:8] == number
    return time.perf_counter() - started


def without_delays(blocks: int, rounds: int) -> tuple[list[float], list[float]]:
    """Median seconds per round of the bare loop and of the cluster, in alternating blocks."""
    payload = np.ones((1, 2, COLUMNS))
    data = payload.tobytes()
    bare, ours = [], []
    with bare_workers() as router, LocalCluster(WORKERS) as cluster:
        routes = [router.recv_multipart()[0] for _ in range(WORKERS)]
        cluster.store("factor", [np.eye(2)[np.newaxis]] * WORKERS)
        for block in range(blocks):
            index = block * rounds
            bare.append(statistics.median(bare_round(router, routes, index + r, data) for r in range(rounds)))
            time.sleep(0.05)  # the stragglers of one do not slow the other
            ours.append(statistics.median(one_round(cluster, payload) for _ in range(rounds)))
            time.sleep(0.05)
    return bare, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="rounds with delays (default 100)")
    options = parser.parse_args()
    print(f"W = {WORKERS}, {NEEDED} needed, {16 * COLUMNS / 1e3:.0f} kB each way, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}")
    ours_over, bare_over = map(statistics.median, with_delays(options.rounds))
    print(f"delays {DELAYS}: time / ideal, median {ours_over:.3f} (wanted <= 1.15); of the bare loop {bare_over:.3f}")
    bare, ours = without_delays(blocks=30, rounds=11)
    ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
    print(
        f"no delays: bare {statistics.median(bare) * 1e3:.2f} ms, cluster {statistics.median(ours) * 1e3:.2f} ms ",
        end="",
    )
    print(f"per round; ratio, median of {len(bare)} alternating blocks: {ratio:.2f} (wanted <= 1.5)")


if __name__ == "__main__":
    main()
