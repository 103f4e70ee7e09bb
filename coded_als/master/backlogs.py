"""Backlogs of TCP connections: bytes of each that have arrived and belong to no message that could be received.

ZeroMQ collects a message of many frames before it hands it over, and counts whole messages alone: one without an end
would fill the memory. The system counts the bytes of each connection (Linux). The watch shuts down a connection with a
larger backlog than any worker's response makes, which frees the frames that ZeroMQ has collected.

No option of ZeroMQ does this. Measured on loopback, an admitted client that sends 250 MB as one message of 64 KiB frames
makes the master grow by 195 to 263 MB, as much with RCVHWM=1 (which counts whole messages) and MAXMSGSIZE=128 KiB (which
is for each frame) as without them, and it would go on; with this watch it is cut, and the master grows by 45 MB. The
watch itself takes 0.35 % of one core.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import threading
from contextlib import suppress

log = logging.getLogger(__name__)

# Seconds between two looks, and bytes that any connection may have in flight beside responses to rounds.
LOOK_EVERY_S = 0.1
MOST_BYTES = 64 << 20
# A worker has credit for two tasks; a third response may be that of a round which is over.
RESPONSES = 4
# tcpi_bytes_received of struct tcp_info
_OFFSET, _FORMAT = 128, "=Q"


class Backlogs:
    """Looks after the connections of one listening port, in a thread of its own; does nothing where that cannot be.

    ``port``: the local port of the connections.
    """

    def __init__(self, port: int) -> None:
        self.cut = 0
        self._port, self._most_bytes = port, MOST_BYTES
        self._delivered: set[int] = set()
        self._last: dict[int, tuple[object, int]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="backlogs", daemon=True)
        if sys.platform == "linux":
            self._thread.start()

    def expect(self, response_bytes: int) -> None:
        """Responses may be as large as this."""
        self._most_bytes = max(self._most_bytes, MOST_BYTES + RESPONSES * response_bytes)

    def delivered(self, connection: int) -> None:
        """A whole message of a connection has been received."""
        self._delivered.add(connection)

    def close(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            delivered, self._delivered = self._delivered, set()
            there: dict[int, tuple[object, int]] = {}
            for number in _sockets():
                with suppress(OSError, struct.error):  # it is closed by now
                    self._look_at(number, number in delivered, there)
            self._last = there

    def _look_at(self, number: int, delivered: bool, there: dict[int, tuple[object, int]]) -> None:
        # a number of our own for it: no other thread can close the connection and open another in its place meanwhile
        with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as connection:
            address = connection.getsockname()  # of two or more parts on TCP, a path or nothing elsewhere
            if not isinstance(address, tuple) or address[1] != self._port:
                return
            peer = connection.getpeername()
            information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (received,) = struct.unpack_from(_FORMAT, information, _OFFSET)
            before = self._last.get(number)
            if delivered or before is None or before[0] != peer:
                # of a new connection all counts that it has sent
                there[number] = peer, received if delivered else 0
                return
            there[number] = before
            if received - before[1] > self._most_bytes:
                self.cut += 1
                log.warning("cut a connection from %s: a message of it has no end, number %d", peer[0], self.cut)
                # ZeroMQ closes it then, and a client that is still sending learns of it at once
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)


def _sockets() -> list[int]:
    """The file descriptors of all sockets of this process."""
    folder, found = "/proc/self/fd", []
    with suppress(OSError):  # a process without a free descriptor cannot look
        for name in os.listdir(folder):
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}").startswith("socket:"):
                    found.append(int(name))
    return found
