"""A simulated network as ZeroMQ over TCP has it: order within a connection, loss only with its end, and late news of that.

What a worker sends may also come twice, and then late: nothing keeps a client from that.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import zmq

from coded_als.master.guards import Interrupts
from coded_als.master.link import MOST_UNSENT
from coded_als.wire import Answer, Response, decode, encode
from tests.simulation.baton import LEAST_WAIT_S, Actor, Baton

Frames = list[bytes]
# Seconds: a message under way at the median, one in twenty of them, a handshake.
QUICK_S, LONG_S, HANDSHAKE_S = 2e-4, 2e-2, 1e-3


class Socket:
    """The DEALER of a worker, or its monitor: an inbox, and what is sent goes to the end of a connection."""

    def __init__(self, end: Connection | None = None) -> None:
        self.inbox: deque[Frames] = deque()
        self._end, self._parts = end, list[bytes]()

    def getsockopt(self, option: int) -> int:
        assert option == zmq.EVENTS
        return int(zmq.POLLIN) if self.inbox else 0

    def recv_multipart(self, flags: int = 0, copy: bool = True) -> Frames:
        return self.inbox.popleft()

    def send(self, frame: bytes | zmq.Frame, flags: int = 0, copy: bool = True) -> None:
        self._parts.append(bytes(frame))
        if not flags & zmq.SNDMORE:
            parts, self._parts = self._parts, []
            assert self._end is not None
            self._end.to_master(parts)


class Connection:
    """One process's way to the master: it may break and come about again, and is over with the process."""

    def __init__(self, network: Network, number: int, life: int, tells: bool) -> None:
        self.network, self.number, self.life = network, number, life
        self.route, self.name = f"w{number}.{life}".encode(), f"worker {number}.{life}"
        self.socket, self.monitor = Socket(self), Socket() if tells else None
        self.is_up = self.is_over = False
        # the thread of its process
        self.actor: Actor | None = None
        self.epoch = 0  # number of the connection that stands, or stood last
        # nothing arrives before; messages keep their order
        self.held_up_s = self.held_down_s = 0.0
        self._unsent: deque[Frames] = deque()
        self._under_way_down = 0
        # of so many more messages a second copy comes, late; the worker's end knows that there is no connection
        self.repeats, self._knows = 0, True

    # -- as the worker sees it

    def to_master(self, frames: Frames) -> None:
        if self.number in self.network.liars:
            frames = _falsified(frames)
        self.network.note(self.name, "says", frames)
        if self.is_up:
            self._send_up(frames)
        elif self._knows:  # kept until there is a connection again, or else lost
            self._unsent.append(frames)
        self.network.baton.wait(0.0)

    def _send_up(self, frames: Frames) -> None:
        self.held_up_s = at_s = max(self.network.arrival_s(), self.held_up_s)
        self._arrive_up(frames, at_s)
        if self.repeats:
            self.repeats -= 1
            self._arrive_up(frames, at_s + self.network.latency_s() * 20)

    def _arrive_up(self, frames: Frames, at_s: float) -> None:
        epoch, network = self.epoch, self.network

        def arrive() -> None:
            if epoch == self.epoch and network.routes.get(self.route) is self:
                network.link.inbox.append([self.route, *frames])
                network.baton.wake(network.baton.first)

        network.baton.at(at_s, arrive)

    # -- as the master sees it

    def to_worker(self, frames: Frames) -> None:
        self.network.note(self.name, "is told", frames)
        if not self.is_up or self._under_way_down + len(self.socket.inbox) >= MOST_UNSENT:
            return  # lost with the connection that broke, or never sent
        self.held_down_s = at_s = max(self.network.arrival_s(), self.held_down_s)
        epoch, self._under_way_down = self.epoch, self._under_way_down + 1

        def arrive() -> None:
            if epoch == self.epoch:
                self._under_way_down -= 1
                self.socket.inbox.append(frames)
                self._wake()

        self.network.baton.at(at_s, arrive)

    # -- what happens to it

    def connect(self) -> None:
        """It comes about, and both ends know."""
        if self.is_over or self.is_up:
            return
        self.network.baton.note(lambda: f"{self.name} is connected")
        self.epoch += 1
        self.is_up, self._under_way_down = True, 0
        self.network.routes[self.route] = self
        self._tell(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        while self._unsent:
            self._send_up(self._unsent.popleft())

    def lose(self, seen_by_worker_s: float, seen_by_master_s: float, again_s: float) -> None:
        """It breaks: what is under way is lost, and the ends notice later, each at its time."""
        if not self.is_up or self.is_over:
            return
        self.network.baton.note(lambda: f"{self.name} is cut off")
        self.epoch += 1
        self.is_up = self._knows = False
        baton = self.network.baton
        baton.after(seen_by_worker_s, self._seen_by_worker)
        self.network.master_sees(self, self.epoch, seen_by_master_s)
        baton.after(seen_by_worker_s + again_s, self.connect)

    def end(self, seen_by_master_s: float) -> None:
        """Its process is gone; its last words may still come."""
        self.network.baton.note(lambda: f"{self.name} is dead")
        self.is_over, self.is_up = True, False
        self.network.master_sees(self, self.epoch, seen_by_master_s)

    def _seen_by_worker(self) -> None:
        self._knows = not self.is_up
        self._tell(zmq.EVENT_DISCONNECTED)

    def _tell(self, event: int) -> None:
        if self.monitor is not None:
            self.monitor.inbox.append([struct.pack("=hi", event, 0), b""])
            self._wake()

    def _wake(self) -> None:
        if self.actor is not None:
            self.network.baton.wake(self.actor)


class Network:
    """All connections, and the master's end of them.

    Parameters
    ----------
    baton
        The clock.
    seed
        Seed of the seconds that messages take.
    """

    def __init__(self, baton: Baton, seed: int) -> None:
        self.baton, self.routes, self.slowness = baton, dict[bytes, Connection](), 1.0
        self.link, self.messages, self.liars = SimulatedLink(self), 0, set[int]()
        # called with each message
        self.passed: Callable[[], None] = lambda: None
        self._draw = random.Random(f"latency {seed}")

    def latency_s(self) -> float:
        """Seconds that a message takes."""
        base_s = LONG_S if self._draw.random() < 0.05 else QUICK_S
        return self.slowness * base_s * self._draw.expovariate(1.0)

    def master_sees(self, connection: Connection, epoch: int, seconds: float) -> None:
        """The master hears of a broken connection, and a little later its route is gone."""

        def hear() -> None:
            self.link.breaks += 1
            self.baton.wake(self.baton.first)
            self.baton.after(self._draw.choice((0.0, 2e-3, 3e-2)), forget)

        def forget() -> None:
            if self.routes.get(connection.route) is connection and not (connection.is_up and connection.epoch != epoch):
                del self.routes[connection.route]

        self.baton.after(seconds, hear)

    def arrival_s(self) -> float:
        """When a message that is sent now arrives where nothing holds it up."""
        return self.baton.now_s + self.latency_s()

    def note(self, who: str, verb: str, frames: Frames) -> None:
        """A line of the trace for a message."""
        self.baton.note(lambda: f"{who} {verb} {_in_words(frames)}")
        self.messages += 1
        self.passed()


def _falsified(frames: Frames) -> Frames:
    """The message with other numbers, where it has any."""
    message = decode(frames)
    if not isinstance(message, Response | Answer):
        return frames
    return [bytes(frame) for frame in encode(replace(message, arrays=tuple(array + 1.0 for array in message.arrays)))]


def _in_words(frames: Sequence[Any]) -> str:
    message = decode(frames)
    fields = ("round_index", "attempt", "version", "done", "pieces", "part", "name")
    said = (f"{name}={getattr(message, name)}" for name in fields if hasattr(message, name))
    return f"{type(message).__name__}({', '.join(said)})"


class SimulatedLink:
    """The master's socket (`coded_als.master.link.Link`) on the simulated network."""

    def __init__(self, network: Network) -> None:
        self.memory = None
        self.interrupts = Interrupts()
        self.disconnections = self.sent_bytes = self.received_bytes = self.breaks = 0
        self.inbox: deque[Frames] = deque()
        # called after each step of the master
        self.look = lambda: None
        self._network = network

    @property
    def has_message(self) -> bool:
        return bool(self.inbox)

    def send(self, route: bytes, frames: Sequence[bytes | zmq.Frame]) -> bool:
        connection = self._network.routes.get(route)
        if connection is not None:
            connection.to_worker([bytes(frame) for frame in frames])
        self._network.baton.wait(0.0)
        return connection is not None

    def receive(self, timeout_s: float) -> list[zmq.Frame | bytes] | None:
        self.look()
        if not self.inbox:
            seconds = 0.0 if self.breaks else max(round(timeout_s * 1000) / 1000, LEAST_WAIT_S)
            self._network.baton.wait(seconds, listens=True)
        else:
            self._network.baton.wait(0.0)
        if not self.inbox:
            if self.breaks:
                self.breaks -= 1
                self.disconnections += 1
            return None
        route, *frames = self.inbox.popleft()
        self._network.baton.note(lambda: f"the master reads {_in_words(frames)} of {route.decode()}")
        return [zmq.Frame(route), *frames]

    def expect(self, response_bytes: int) -> None:
        """Responses may be as large as this."""

    def close(self, linger_s: float = 0.0) -> None:
        """Nothing is to be done."""
