"""Fuzzed frames: what a master and a worker do with messages that nobody should send.

    python benchmarks/frames.py --frames 100000

Half of the messages go to a master, from a client that has the password, while fits go on; the other half to a worker,
from a master that has lost its mind. Each is random, or a real message with bytes flipped, cut, repeated or swapped.
Passed is: nobody crashes or hangs, the memory of either grows by less than 20 MB, and the fits are right.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import fields, replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import zmq

from coded_als import CodedALS, LocalCluster
from coded_als.arrays import Array
from coded_als.wire import Message, Stop, Store, Welcome, WireError, encode
from coded_als.wire.messages import MESSAGES

RATINGS = np.random.default_rng(0).standard_normal((60, 40))
WORKERS, MOST_GROWN_BYTES, TOLERANCE = 8, 20e6, 1e-8


def messages(rng: random.Random, job: bytes) -> Iterator[list[bytes]]:
    """Hostile messages without end; a fifth of them are well-formed, and reach the state machines."""
    array = np.arange(12.0).reshape(1, 3, 4)
    while True:
        kind, allowed = rng.choice(MESSAGES), rng.random() < 0.5
        message = message_of(rng, kind, job, array)
        while allowed and not is_allowed(message):
            message = message_of(rng, kind, job, array)
        frames = [bytes(frame) for frame in encode(message)]
        yield rng.choice((frames, flipped(rng, frames), cut(rng, frames), noise(rng), shuffled(rng, frames)))


def message_of(rng: random.Random, kind: type[Message], job: bytes, array: Array) -> Message:
    """A message with fields that a sender may choose, right or wrong."""
    stamps = ((), (("D#1", 1),), (("D#1", 99),), (("kept", 3), ("other", 4)), (("x" * 100, -1),))
    values = {
        "job": rng.choice((job, job, b"another")),
        "worker": rng.randrange(-2, WORKERS + 2),
        "round_index": rng.choice((0, 1, 5, 2**40, -1)),
        "attempt": rng.randrange(3),
        "kernel": rng.choice(("product", "scaled", "row_product", "__import__", "os.system", "../../etc/passwd", "")),
        "operands": rng.choice(stamps),
        "keep": rng.choice(stamps),
        "stored": rng.choice(stamps),
        "delay_s": rng.choice((0.0, 1e-3, -1.0)),
        "slowness": rng.choice((1.0, 3.0, -1.0)),
        "pieces": rng.choice((0, 1, 4, 2**40)),
        "start": rng.choice((0, 0, 3, -1)),
        "unasked": rng.choice((0, 0, 2, 2**40, -1)),
        "due_s": rng.choice((0.0, 0.1, math.inf, -1.0)),
        "done": rng.choice((0, 1, 4, 2**40, -1)),
        "waited_s": rng.choice((0.0, 1e-3, -1.0)),
        "computed_s": rng.choice((0.0, 1e-3, -1.0)),
        "begun_s": rng.choice((0.0, 1e-3, -1.0)),
        "sent_s": rng.choice((0.0, 1e-3, -1.0)),
        "name": rng.choice(("D#1", "kept", "x" * 100)),
        "version": rng.choice((1, 99, 2**40, -1)),
        "part": rng.choice((0, 7, -1)),
        "process_id": rng.randrange(2**31),
        "memory": rng.choice(("", "x" * 3000)),
        "reason": rng.choice(("", "x" * 3000)),
        "arrays": (array,) * (1 if kind is Store else rng.randrange(3, 5)),
    }
    # past the checks of the class, which an honest sender makes
    message = object.__new__(kind)
    for field in fields(kind):
        object.__setattr__(message, field.name, values[field.name])
    return message


def is_allowed(message: Message) -> bool:
    """Whether the class of a message allows its fields."""
    try:
        replace(message)
    except WireError:
        return False
    return True


def flipped(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    spoilt = [bytearray(frame) for frame in frames]
    for _ in range(rng.randint(1, 8)):
        frame = rng.choice(spoilt)
        if frame:
            frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    return [bytes(frame) for frame in spoilt]


def cut(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    place = rng.randrange(len(frames))
    frame = frames[place]
    return [*frames[:place], frame[: rng.randrange(len(frame) + 1)], *frames[place + 1 :]]


def noise(rng: random.Random) -> list[bytes]:
    return [rng.randbytes(rng.choice((0, 1, 10, 1000))) for _ in range(rng.choice((1, 2, 5, 40)))]


def shuffled(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    mixed = frames * 2
    rng.shuffle(mixed)
    return mixed


class Flood(threading.Thread):
    """A client with the password that sends messages as fast as they are taken, under many names."""

    def __init__(self, endpoint: str, job: bytes, count: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self._endpoint, self._job, self._count, self._seed = endpoint, job, count, seed

    def run(self) -> None:
        rng = random.Random(self._seed)
        hostile = messages(rng, self._job)
        with zmq.Context() as context:
            while self.sent < self._count:
                with context.socket(zmq.DEALER) as client:
                    client.linger, client.sndhwm, client.sndtimeo = 2000, 16, 20_000
                    client.plain_username, client.plain_password = b"0", self._job.hex().encode()
                    client.connect(self._endpoint)
                    for _ in range(min(500, self._count - self.sent)):
                        client.send_multipart(next(hostile))
                        self.sent += 1


def fuzz_master(count: int, seed: int) -> bool:
    model = CodedALS(rank=3, code="systematic:p=6", iterations=20)
    expected = model.fit(RATINGS).objective_
    with LocalCluster(WORKERS, round_timeout_s=30.0) as cluster:
        alone = [timed_fit(model, cluster, expected) for _ in range(10)]
        before = resident_bytes(os.getpid())
        flood = Flood(cluster._link.endpoint, cluster._membership.job, count, seed)
        flood.start()
        beside = []
        while flood.is_alive():
            beside.append(timed_fit(model, cluster, expected))
        beside.append(timed_fit(model, cluster, expected))
        grown = resident_bytes(os.getpid()) - before
        print(
            f"master: {flood.sent} messages, {cluster.malformed} of them ignored as malformed, beside {len(beside)} fits: "
            f"all right, {statistics.median(beside) / statistics.median(alone):.2f} times as long as without; memory "
            f"grew by {grown / 1e6:.1f} MB",
            flush=True,
        )
    return flood.sent == count and grown < MOST_GROWN_BYTES


def timed_fit(model: CodedALS, cluster: LocalCluster, expected: float) -> float:
    started = time.perf_counter()
    objective = model.fit(RATINGS, cluster).objective_
    if abs(objective / expected - 1) > TOLERANCE:
        raise SystemExit(f"FAILED: a fit is wrong: {objective!r} for {expected!r}")
    return time.perf_counter() - started


def fuzz_worker(count: int, seed: int) -> bool:
    """The messages to worker 0 of a cluster, over its own connection, and then a fit."""
    rng = random.Random(seed)
    model = CodedALS(rank=3, code="systematic:p=6", iterations=20)
    expected = model.fit(RATINGS).objective_
    with LocalCluster(WORKERS, round_timeout_s=30.0, restart=False) as cluster:
        timed_fit(model, cluster, expected)
        hostile = messages(rng, cluster._membership.job)
        worker = cluster._membership.workers[0]
        before = resident_bytes(worker.process_id)
        for number in range(count):
            frames = next(hostile)
            # to end a worker or to give it another number is a master's right
            if not (len(frames[0]) > 2 and frames[0][2] in (Stop.code, Welcome.code)):
                cluster._link.send(worker.route, frames)
            if number % 200 == 0:
                settle(cluster)
        settle(cluster)
        lives = worker.alive and cluster._membership.workers[0] is worker
        grown = resident_bytes(worker.process_id) - before if lives else float("nan")
        timed_fit(model, cluster, expected)
        print(
            f"worker: {count} messages, it {'lives' if lives else 'DIED'}; memory grew by {grown / 1e6:.1f} MB",
            flush=True,
        )
    return lives and grown < MOST_GROWN_BYTES


def settle(cluster: LocalCluster) -> None:
    """Wait until worker 0 has read what it was sent: it responds a ping."""
    worker = cluster._membership.workers[0]
    worker.asked_s = time.monotonic()
    cluster._membership._is_there(worker)
    deadline = time.monotonic() + 20
    while worker.asked_s is not None and worker.alive and time.monotonic() < deadline:
        cluster._membership.step(0.05)


def resident_bytes(process_id: int) -> int:
    with open(f"/proc/{process_id}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000, help="how many messages (10,000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    half = options.frames // 2
    passed = fuzz_master(half, options.seed)
    passed = fuzz_worker(options.frames - half, options.seed) and passed
    print("all passed" if passed else "FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    import logging

    logging.disable(logging.WARNING)
    sys.exit(main())
