"""The gate: who may connect at all, decided before anything that a stranger sends is kept.

ZeroMQ asks a handler in the same context about every new connection (ZAP, ZeroMQ RFC 27) and drops the connections
that it refuses together with whatever they sent. A client that has no password, or that speaks another security
mechanism, never gets as far as a message.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping

import zmq
from zmq.utils import z85

log = logging.getLogger(__name__)

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION, _GRANTED, _REFUSED = b"1.0", b"200", b"400"


class Gate:
    """Answers the questions of the sockets of one context.

    Parameters
    ----------
    context
        The context; its sockets must not listen yet.
    password
        What a client of the PLAIN mechanism must know.
    allowed
        The number of each client of CURVE that is admitted, by its public key (Z85). None admits all: they have shown
        by their handshake that they know the master's public key, which must then be told to nobody else.
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
                log.warning("refused a connection from %s, number %d", address.decode(errors="replace"), self.refused)
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
