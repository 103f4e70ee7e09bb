"""The master's socket: sends that never block, one inbox, a hint when a connection breaks, and an end to endless messages."""

from __future__ import annotations

import contextlib
import errno
import hmac
import logging
import os
import socket
import stat
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

import zmq
from zmq.utils import z85

from coded_als.errors import UsageError
from coded_als.master.guards import Interrupts
from coded_als.wire import has_message, next_event, send, shared_memory

log = logging.getLogger(__name__)

# No option of ZeroMQ bounds a message. Measured on loopback, an admitted client that sends 250 MB as one message of 64 KiB
# frames makes the master grow by 195 to 263 MB, as much with RCVHWM=1 (which counts whole messages) and MAXMSGSIZE=128 KiB
# (which is for each frame) as without them, and it would go on; with the watch it is cut, and the master grows by 45 MB. The
# watch itself takes 0.35 % of one core.
# Seconds between two looks, and bytes that any connection may have in flight beside responses to rounds.
LOOK_EVERY_S = 0.1
MOST_BYTES = 64 << 20
# A worker has credit for two tasks; a third response may be that of a round which is over.
RESPONSES = 4
# tcpi_bytes_received of struct tcp_info
_OFFSET, _FORMAT = 128, "=Q"


class Backlogs:
    """Looks after the connections of one listening port, in a thread of its own; does nothing where that cannot be.

    A backlog is what has arrived of a connection and belongs to no message that could be received. ZeroMQ collects a message
    of many frames before it hands it over, and counts whole messages alone: one without an end would fill the memory. The
    system counts the bytes of each connection (Linux). The watch shuts down a connection with a larger backlog than any
    worker's response makes, which frees the frames that ZeroMQ has collected.

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


# How long the farewell to the workers may take to leave this machine.
FAREWELL_S = 0.2
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION, _GRANTED, _REFUSED = b"1.0", b"200", b"400"


class Gate:
    """Answers the questions of the sockets of one context.

    its sockets must not listen yet; ``password``: the password that a client of the PLAIN
    mechanism must know; ``allowed``: the number of each client of CURVE that is admitted, by its public key (Z85). None
    admits all: they have shown by their handshake that they know the master's public key, which must then be kept from
    all other programs.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], password: bytes, allowed: Mapping[bytes, int] | None = None
    ) -> None:
        self._password, self._allowed = password, allowed
        self.refused = 0
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)

    def answer(self) -> None:
        """Answer one question that has arrived."""
        _, request, _, address, _, mechanism, *credentials = self.socket.recv_multipart()
        user = self._user(mechanism, credentials)
        if user is None:
            self.refused += 1
            if self.refused.bit_count() == 1:  # 1, 2, 4, 8 ...: a flood must not fill the log
                origin = address.decode(errors="replace")
                about = {"event": "refused", "address": origin}
                log.warning("refused a connection from %s, number %d", origin, self.refused, extra=about)
        status = _REFUSED if user is None else _GRANTED
        self.socket.send_multipart([_VERSION, request, status, b"", user or b"", b""])

    def _user(self, mechanism: bytes, credentials: list[bytes]) -> bytes | None:
        """The number to which a client is bound, as text; empty where it may choose, None where it is refused."""
        if mechanism == b"CURVE":
            if self._allowed is None:
                return b""
            number = self._allowed.get(z85.encode(credentials[-1]))
            return None if number is None else str(number).encode()
        knows = mechanism == b"PLAIN" and self._password != b"" and hmac.compare_digest(credentials[-1], self._password)
        return b"" if knows else None


def bound_number(frame: zmq.Frame) -> int | None:
    """The worker's number to which the sender of a frame is bound, or None."""
    try:
        return int(str(frame.get("User-Id")))
    except (zmq.ZMQError, ValueError):  # there is none
        return None


def address_of(frame: zmq.Frame) -> str:
    """The network address of the sender of a frame, or nothing behind a Unix socket."""
    try:
        address = str(frame.get("Peer-Address"))
    except zmq.ZMQError:
        return ""
    # that of a Unix socket has the ids of the process behind it
    return "" if address.startswith("localhost:") else address


# Unread messages of one connection: several times the credit of a worker. Past it the connection is not read.
MOST_UNREAD = 64
# Messages to one worker that it has not read: several times its credit. Past it nothing more is sent, which
# concerns a worker that asks again and again and reads nothing.
MOST_UNSENT = 128
# Frames of a message, its sender's route apart: a header and the arrays of the largest kernel's response leave room.
MOST_FRAMES = 16
# A response beyond it is not one that a worker would send; rounds that ask for more are refused.
MOST_FRAME_BYTES = 1 << 30
# Silence of a machine after which the system asks whether it is there, and seconds between its questions.
KEEPALIVE_S = 30


class Link:
    """A bound ROUTER and its monitor.

    ``bind``: where to listen, as ``tcp://127.0.0.1:*`` or ``ipc:///path``; ``password``: the password that admits a
    client where nothing is encrypted; ``secret_key``: CURVE secret key (Z85) of an encrypted link, or nothing;
    ``allowed``: the clients that an encrypted link admits (`Gate`); ``most_frame_bytes``: size of a frame above which a
    connection is dropped before the frame is received; ``shares_memory``: whether there is memory that workers of this
    machine may share, where the system has it. Raises UsageError when the address cannot be bound.
    """

    def __init__(
        self,
        bind: str,
        password: bytes,
        secret_key: bytes = b"",
        allowed: Mapping[bytes, int] | None = None,
        most_frame_bytes: int = MOST_FRAME_BYTES,
        shares_memory: bool = False,
    ) -> None:
        self.memory = shared_memory() if shares_memory else None
        self.context = zmq.Context()
        self.interrupts = Interrupts()  # those of the caller that uses the link just now
        self.disconnections = self.sent_bytes = self.received_bytes = 0
        self._path = ""
        self._backlogs: Backlogs | None = None
        self._router = self.context.socket(zmq.ROUTER)
        # no send blocks: a message that a full queue has no room for is dropped
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, MOST_UNSENT),
            (zmq.RCVHWM, MOST_UNREAD),
            (zmq.MAXMSGSIZE, most_frame_bytes),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.ROUTER_HANDOVER, 1),
            # a process that dies closes its connection; for machines that do, the system asks after a while
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_S),
            (zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_S),
        ):
            self._router.setsockopt(option, value)
        if secret_key:
            self._router.curve_server = True
            self._router.curve_secretkey = secret_key
        else:
            self._router.plain_server = True
        self._gate = Gate(self.context, password, allowed)
        self._monitor = self._router.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        for polled in (self._router, self._monitor, self._gate.socket):
            self._poller.register(polled, zmq.POLLIN)
        try:
            self._bind(bind)
        except BaseException:
            self.close()
            raise
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        if self.endpoint.startswith("tcp://"):
            self._backlogs = Backlogs(int(self.endpoint.rpartition(":")[2]))

    def _bind(self, bind: str) -> None:
        path = bind.removeprefix("ipc://") if bind.startswith("ipc://") and bind[6:7] not in ("", "*", "@") else ""
        if path and not _is_free(path):
            raise UsageError(f"bind must be an unused path; got {path}. Choose another or remove it.")
        try:
            self._router.bind(bind)
        except zmq.ZMQError as error:
            raise UsageError(
                f"bind must be a free address of this machine; got {bind!r}: {error}. Choose another."
            ) from None
        self._path = path

    def send(self, route: bytes, frames: Sequence[bytes | zmq.Frame]) -> bool:
        """Hand a message to ZeroMQ without waiting; False when no peer is there to get it.

        A peer that has left `MOST_UNSENT` messages unread is there, and does not get it.
        """
        try:
            send(self._router, [route, *frames])
        except zmq.ZMQError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.EAGAIN):
                raise
            return error.errno == errno.EAGAIN
        self.sent_bytes += sum(map(len, frames))
        return True

    @property
    def refused(self) -> int:
        """Connections that were refused."""
        return self._gate.refused

    @property
    def has_message(self) -> bool:
        """Whether a message can be received at once."""
        return has_message(self._router)

    def receive(self, timeout_s: float) -> list[zmq.Frame] | None:
        """The next message, sender first, or None when none has come in time or something else has happened.

        A broken connection is counted in `disconnections` only once the inbox is empty, so the
        master first deals with the messages that its worker had sent before.
        """
        self.interrupts.catch_up()
        if not self.has_message:
            with self.interrupts.allowed():
                ready = [polled for polled, _ in self._poller.poll(max(0, round(timeout_s * 1000)))]
            if self._gate.socket in ready:
                self._gate.answer()
            if self._router not in ready:
                if self._monitor in ready:
                    next_event(self._monitor)
                    self.disconnections += 1
                return None
        return self._received()

    def _received(self) -> list[zmq.Frame]:
        """A message, of which no more frames are kept than one can have."""
        frames = [self._router.recv(copy=False)]
        while frames[-1].more:
            frame = self._router.recv(copy=False)
            if len(frames) > MOST_FRAMES:
                frames.pop()  # its place is taken by the next: the message is malformed, and not kept
            frames.append(frame)
        self.received_bytes += sum(map(len, frames))
        if self._backlogs is not None:
            self._backlogs.delivered(int(frames[0].get(zmq.SRCFD)))
        return frames

    def expect(self, response_bytes: int) -> None:
        """Responses may be as large as this."""
        if self._backlogs is not None:
            self._backlogs.expect(response_bytes)

    def close(self, linger_s: float = 0.0) -> None:
        """Drop the messages that are still queued after ``linger_s``."""
        if self._backlogs is not None:
            self._backlogs.close()
        if self.memory is not None:
            self.memory.close()
            self.memory = None
        self._router.disable_monitor()
        self.context.destroy(linger=int(linger_s * 1000))
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._path = ""


def _is_free(path: str) -> bool:
    """Whether a path is free: ZeroMQ would remove any file that is there."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except OSError:
        return True  # or a folder that is not there, which ZeroMQ says
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return True  # left behind by a process that is gone
    return False
