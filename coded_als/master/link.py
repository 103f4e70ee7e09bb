"""The master's socket: sends that never block, one inbox, and a hint when a connection breaks."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

Sent = Literal["sent", "full", "gone"]


class Link:
    """A bound ROUTER and its monitor.

    Parameters
    ----------
    bind
        Where to listen, as ``tcp://127.0.0.1:*``.
    secret_key
        CURVE secret key (Z85) of an encrypted link, or nothing.
    heartbeat_ms
        Interval of the heartbeats that tell of a dead machine; 0 where a dead process closes its connection.

    Raises
    ------
    zmq.ZMQError
        When the address cannot be bound.
    """

    def __init__(self, bind: str, secret_key: bytes = b"", heartbeat_ms: int = 0) -> None:
        self.context = zmq.Context()
        self._router = self.context.socket(zmq.ROUTER)
        # messages are bounded by credit; a full pipe must refuse and a closed one must say so
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, 0),
            (zmq.RCVHWM, 0),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.ROUTER_HANDOVER, 1),
            (zmq.HEARTBEAT_IVL, heartbeat_ms),
            (zmq.HEARTBEAT_TIMEOUT, 5 * heartbeat_ms),
        ):
            self._router.setsockopt(option, value)
        if secret_key:
            self._router.curve_server = True
            self._router.curve_secretkey = secret_key
        self._monitor = self._router.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._router.bind(bind)
        except zmq.ZMQError:
            self.close()
            raise
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self.disconnections = 0

    def send(self, route: bytes, frames: Sequence[bytes | zmq.Frame]) -> Sent:
        """Hand a message to ZeroMQ without waiting."""
        try:
            self._router.send_multipart([route, *frames], zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return "full"
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return "gone"
        return "sent"

    def receive(self, timeout_s: float) -> list[zmq.Frame] | None:
        """The next message, sender first, or None when none has come in time or a connection has broken.

        A broken connection is counted in `disconnections` only once the inbox is empty, so whatever
        its worker had answered before is dealt with first.
        """
        frames = self._next()
        if frames is None:
            for socket, _ in self._poller.poll(max(0, round(timeout_s * 1000))):
                if socket is self._router:
                    return self._next()
                recv_monitor_message(self._monitor)
                self.disconnections += 1
        return frames

    def close(self) -> None:
        """Drop everything that is still queued."""
        self._router.disable_monitor()
        self.context.destroy(linger=0)

    def _next(self) -> list[zmq.Frame] | None:
        try:
            return self._router.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
