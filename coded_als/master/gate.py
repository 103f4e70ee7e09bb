"""The gate: who may connect at all, decided before anything that a stranger sends is kept.

ZeroMQ asks a handler in the same context about every new connection (ZAP, ZeroMQ RFC 27) and drops the connections
that it refuses together with whatever they sent. A client that has no password, or that speaks another security
mechanism, never gets as far as a message.
"""

from __future__ import annotations

import hmac

import zmq

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION, _GRANTED, _REFUSED = b"1.0", b"200", b"400"


class Gate:
    """Answers the questions of the sockets of one context.

    Parameters
    ----------
    context
        The context; its sockets must not listen yet.
    password
        What a client of the PLAIN mechanism must know. Clients of CURVE have shown by their handshake that they
        know the master's public key, which is told to nobody else.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], password: bytes) -> None:
        self._password = password
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(ZAP_ENDPOINT)

    def answer(self) -> None:
        """Answer one question that has arrived."""
        _, request, _, _, _, mechanism, *credentials = self.socket.recv_multipart()
        knows = mechanism == b"CURVE" or (
            mechanism == b"PLAIN" and hmac.compare_digest(credentials[-1], self._password)
        )
        status = _GRANTED if knows else _REFUSED
        self.socket.send_multipart([_VERSION, request, status, b"", b"", b""])
