"""Who the workers are: admission, loss, return, and the one inbox that all of them write to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import zmq

from coded_als.master.link import Link
from coded_als.master.member import Member
from coded_als.wire import Kind, Message, WireError, decode, encode

log = logging.getLogger(__name__)

# A connection is reported broken a little before its route is known to be gone.
PROBE_EVERY_S, PROBE_FOR_S = 0.005, 0.5


class Listener(Protocol):
    """What the crew tells the cluster."""

    def heard(self, member: Member, message: Message) -> None:
        """A member says something of a store or a task."""
        ...

    def lost(self, member: Member) -> None:
        """A member, or what was under way to it, is gone."""
        ...

    def joined(self, member: Member) -> None:
        """A member is there, for the first time or again."""
        ...


class Crew:
    """The members behind a link.

    Parameters
    ----------
    link
        The bound socket.
    job
        Secret that admits workers.
    size
        Number of workers W.
    listener
        Who is told.
    """

    def __init__(self, link: Link, job: bytes, size: int, listener: Listener) -> None:
        self.members: dict[int, Member] = {}
        self.malformed = 0
        self._link, self._job, self._size, self._listener = link, job, size, listener
        self._routes: dict[bytes, Member] = {}
        self._probe_until = self._next_probe = 0.0
        self._unexplained = 0

    @property
    def alive(self) -> list[Member]:
        """The members that can be sent to."""
        return [member for member in self.members.values() if member.alive]

    def wait_for_all(self, timeout_s: float, check: Callable[[], None] = lambda: None) -> bool:
        """Whether all W have joined in time; ``check`` is called now and then and may raise."""
        deadline = time.monotonic() + timeout_s
        while len(self.members) < self._size:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return False
            check()
            self.step(min(remaining_s, 0.05))
        return True

    def send(self, member: Member, message: Message, array_frames: Sequence[zmq.Frame] | None = None) -> bool:
        """Send without waiting; whether the member was there to be sent to."""
        if self._link.send(member.route, encode(message, array_frames)) == "sent":
            return True
        if member.alive:
            self._lose(member)
        return False

    def step(self, timeout_s: float) -> bool:
        """Deal with one message or one broken connection; False when there was neither."""
        probing = self._unexplained > 0
        if probing:
            timeout_s = min(timeout_s, max(0.0, self._next_probe - time.monotonic()))
        before = self._link.disconnections
        frames = self._link.receive(timeout_s)
        if frames is not None:
            self._read(frames)
            return True
        broken = self._link.disconnections - before
        if broken:
            self._unexplained += broken
            self._probe_until = time.monotonic() + PROBE_FOR_S
        if self._unexplained > 0 and (broken or time.monotonic() >= self._next_probe):
            self._probe()
        return broken > 0

    def _read(self, frames: list[zmq.Frame]) -> None:
        route = frames[0].bytes
        try:
            message = decode(frames[1:])
            if message.job != self._job:
                raise WireError("a message must be of this cluster; got one of another.")
            member = self._routes.get(route)
            if message.kind is Kind.HELLO:
                self._admit(route, message)
            elif member is None or member.worker != message.worker:
                raise WireError("a worker must introduce itself before it says anything else.")
            else:
                self._listener.heard(member, message)
        except WireError as error:
            self.malformed += 1
            log.warning("ignored a message: %s", error)

    def _admit(self, route: bytes, message: Message) -> None:
        """Take on a worker; take it back when its connection broke and it introduces itself again."""
        worker = message.worker
        if not 0 <= worker < self._size:
            self._turn_away(route, f"a worker's number must be less than {self._size}; got {worker}. Choose another.")
            return
        member = self.members.get(worker)
        if member is not None and member.route != route:
            if member.alive and self._answers_to_ping(member):
                self._turn_away(route, f"each worker must have a number of its own; {worker} is taken. Choose another.")
                return
            member = None
        if member is None:
            member = Member(worker, route, message.number)
            self.members[worker] = self._routes[route] = member
        elif member.alive:  # back before anyone noticed: what was under way did not arrive
            self._listener.lost(member)
        member.alive = True
        self._listener.joined(member)

    def _turn_away(self, route: bytes, reason: str) -> None:
        log.warning("turned a worker away: %s", reason)
        self._link.send(route, encode(Message(Kind.STOP, self._job, -1, text=reason)))

    def _answers_to_ping(self, member: Member) -> bool:
        return self.send(member, Message(Kind.PING, self._job, member.worker))

    def _probe(self) -> None:
        """Find out whose connection broke: nobody can be sent to who is gone."""
        now = time.monotonic()
        self._next_probe = now + PROBE_EVERY_S
        for member in self.alive:
            self._answers_to_ping(member)
        if now >= self._probe_until:  # someone who had not joined
            self._unexplained = 0

    def _lose(self, member: Member) -> None:
        member.alive = False
        self._unexplained -= 1
        member.open_stores.clear()
        log.info("lost worker %d", member.worker)
        self._listener.lost(member)
