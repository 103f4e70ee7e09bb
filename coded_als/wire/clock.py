"""The clock of master and workers: all that they know of time, and all their waiting for sockets, goes through it."""

from __future__ import annotations

import time
from typing import Protocol

import zmq


class Poller(Protocol):
    """Waits for the sockets that it was made for."""

    def poll(self, timeout: int | None = None) -> list[tuple[zmq.Socket[bytes], int]]:
        """Wait up to ``timeout`` milliseconds; the sockets with messages."""
        ...


class SystemClock:
    """The clock of this machine; a simulation has one of its own."""

    def seconds(self) -> float:
        """Seconds that never go back, the same for all processes of a machine."""
        return time.perf_counter()

    def worked_s(self) -> float:
        """Seconds of a core that the calling thread has used."""
        return time.thread_time()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def poller(self, *sockets: zmq.Socket[bytes]) -> Poller:
        """A poller of messages to these sockets."""
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        return poller


CLOCK = SystemClock()
