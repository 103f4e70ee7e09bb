"""The least loop that pyzmq can do in place of a cluster: what machine and ZeroMQ take, to hold rounds against.

Its processes have a DEALER each, multiply what they get as ours do and send it back; its master has a ROUTER, sends frames
of the same sizes to all, reads until enough responses carry the current round's number, drops older ones, and goes on. It
checks nothing and decodes nothing.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import zmq

HEADER_BYTES = 90


class BareLoop:
    """The master's end.

    Parameters
    ----------
    router
        Its socket.
    workers
        How many there are.
    """

    def __init__(self, router: zmq.Socket[bytes], workers: int) -> None:
        self._router = router
        self._routes = [router.recv_multipart()[0] for _ in range(workers)]
        self._index = 0

    def round(self, payload: bytes, needed: int, delays_s: Sequence[float] = ()) -> float:
        """Seconds until so many have responded.

        Parameters
        ----------
        payload
            What all are sent.
        needed
            How many must respond.
        delays_s
            Seconds that each waits before it works.
        """
        started = time.perf_counter()
        self._index += 1
        number = struct.pack("<q", self._index)
        for route, delay_s in zip(self._routes, delays_s or [0.0] * len(self._routes), strict=True):
            header = number + struct.pack("<d", delay_s) + bytes(HEADER_BYTES - 16)
            self._router.send_multipart([route, header, payload])
        responses = 0
        while responses < needed:
            responses += self._router.recv_multipart()[1][:8] == number
        return time.perf_counter() - started


@contextmanager
def bare_loop(workers: int, factor: np.ndarray) -> Iterator[BareLoop]:
    """A loop with so many processes that multiply by ``factor``.

    Parameters
    ----------
    workers
        How many.
    factor
        (rows, columns), with one BLAS thread.
    """
    ready, go = os.pipe()
    children = []
    for _ in range(workers):
        child = os.fork()  # before there is a socket, which does not outlive a fork
        if child == 0:
            try:
                _work(os.read(ready, 64).rstrip().decode(), factor.copy())  # no pages in common
            finally:
                os._exit(0)
        children.append(child)
    router = zmq.Context().socket(zmq.ROUTER)
    router.linger = 0
    router.bind("tcp://127.0.0.1:*")
    os.write(go, router.last_endpoint.ljust(64) * workers)
    try:
        yield BareLoop(router, workers)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(ready)
        os.close(go)
        router.close()


def _work(endpoint: str, factor: np.ndarray) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(b"hello")
    header, data = socket.recv_multipart()
    while True:
        if not _superseded(socket, time.perf_counter() + struct.unpack_from("<d", header, 8)[0]):
            socket.send_multipart([header, factor @ np.frombuffer(data).reshape(factor.shape[1], -1)])
        header, data = socket.recv_multipart()


def _superseded(socket: zmq.Socket[bytes], until: float) -> bool:
    """Wait; whether something newer has come before that."""
    while (remaining_s := until - time.perf_counter()) > 0:
        if remaining_s < 1e-3:  # ZeroMQ's clock has whole milliseconds
            time.sleep(remaining_s)
        elif socket.poll(int(remaining_s * 1000)):
            return True
    return False
