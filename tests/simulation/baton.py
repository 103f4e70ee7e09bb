"""One virtual clock and one baton: of many threads a single one runs, and the seed picks the next at every wait."""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable
from functools import partial

from coded_als.wire import SystemClock


class Violation(Exception):
    """A law of the clusters does not hold.

    Attributes
    ----------
    trace
        All that happened until then, a line each.
    """

    trace: tuple[str, ...] = ()


class Killed(BaseException):
    """The thread of a process that a fault has ended."""


class Actor:
    """A thread that runs while it has the baton."""

    def __init__(self, name: str) -> None:
        self.name, self.is_killed = name, False
        # the number of its wait; whether a message ends that; a process that is stopped is due only when it goes on
        self.waits, self.listens, self.is_held, self.stopped_until_s = 0, False, False, 0.0
        self.worked_s, self.slowness, self.computes = 0.0, 1.0, False
        self.turn = threading.Lock()
        self.turn.acquire()


# A reading of the clock, and a wait, take at least so long: loops that look again at once must come to an end.
READING_S, LEAST_WAIT_S = 1e-6, 2e-5
# Switches of the baton, and virtual seconds, without an end of which a run counts as one without an end.
MOST_SWITCHES, MOST_SECONDS = 60_000, 2_000.0


class Baton:
    """The clock, the events that are due, and the actors; the calling thread is the first of these.

    Parameters
    ----------
    seed
        Seed of the schedule.
    in_order
        Whether the actor that has been able to run for longest is the next, in place of any.
    """

    def __init__(self, seed: int, in_order: bool = False) -> None:
        self.now_s, self.switches = 0.0, 0
        self.first = self.current = Actor("master")
        self.failure: Violation | None = None
        self._draw = None if in_order else random.Random(f"schedule {seed}").random
        self._actors, self._due, self._is_ending = list[Actor](), list[Actor](), False
        self._trace = list[tuple[float, Callable[[], str]]]()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0

    def note(self, text: Callable[[], str]) -> None:
        """Write a line of the trace, which is worded when somebody reads it."""
        self._trace.append((self.now_s, text))

    @property
    def trace(self) -> tuple[str, ...]:
        """All that has happened, a line each."""
        return tuple(f"{now_s:11.6f} {text()}" for now_s, text in self._trace)

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let something happen later."""
        self.at(self.now_s + seconds, event)

    def at(self, moment_s: float, event: Callable[[], None]) -> None:
        """Let something happen at a moment, after all that was to happen then already."""
        self._numbers += 1
        heapq.heappush(self._events, (moment_s, self._numbers, event))

    def start(self, name: str, run: Callable[[], object]) -> Actor:
        """Add a thread, which begins when it is picked."""
        actor = Actor(name)
        threading.Thread(target=self._lead, args=(actor, run), daemon=True).start()
        self._actors.append(actor)
        self._due.append(actor)
        return actor

    def wait(self, seconds: float, listens: bool = False) -> None:
        """Let others run; come back so many seconds later, or when a message is there for one that listens."""
        actor = self.current
        if actor.is_killed:
            raise Killed
        if seconds <= 0 and not self._due and not (self._events and self._events[0][0] <= self.now_s):
            self.switches += 1  # nobody else can run
            return
        actor.listens = listens and seconds > 0
        if seconds <= 0:
            self._due.append(actor)
        elif seconds < float("inf"):
            self.after(seconds, partial(self._time_out, actor, actor.waits))
        picked = self._pick()
        if picked is not actor:
            self.current = picked
            picked.turn.release()
            actor.turn.acquire()
        if actor.is_killed:
            raise Killed
        if actor is self.first and self.failure is not None:
            raise self.failure

    def wake(self, actor: Actor) -> None:
        """A message is there."""
        if actor.listens:
            self._make_due(actor)

    def stop(self, actor: Actor, seconds: float) -> None:
        """Let a process do nothing for a while."""
        actor.stopped_until_s = max(actor.stopped_until_s, self.now_s + seconds)
        if actor in self._due:
            self._due.remove(actor)
            actor.is_held = True
        self.after(actor.stopped_until_s - self.now_s, partial(self._go_on, actor))

    def kill(self, actor: Actor) -> None:
        """End a thread: it does nothing more."""
        actor.is_killed, actor.is_held, actor.stopped_until_s = True, False, 0.0
        if actor not in self._due:
            self._make_due(actor)

    def end(self) -> None:
        """End all threads but the first."""
        self._is_ending, self.failure = True, None
        while self._actors:
            self.current = self._actors[0]
            self.current.is_killed = True
            self.current.turn.release()
            self.first.turn.acquire()
        self.current = self.first

    def _time_out(self, actor: Actor, wait: int) -> None:
        if actor.waits == wait:
            self._make_due(actor)

    def _make_due(self, actor: Actor) -> None:
        actor.waits, actor.listens = actor.waits + 1, False
        if actor.stopped_until_s > self.now_s:
            actor.is_held = True
        else:
            self._due.append(actor)

    def _go_on(self, actor: Actor) -> None:
        if actor.is_held and actor.stopped_until_s <= self.now_s:
            actor.is_held = False
            self._due.append(actor)

    def _lead(self, actor: Actor, run: Callable[[], object]) -> None:
        actor.turn.acquire()
        try:
            if not actor.is_killed:
                run()
        except Killed:
            pass
        except Exception as error:
            self.failure = self.failure or Violation(f"no worker may fail; {actor.name}: {error!r}")
        self._actors.remove(actor)
        self.current = self.first if self._is_ending else self._pick()
        self.current.turn.release()

    def _pick(self) -> Actor:
        self.switches += 1
        if self.switches > MOST_SWITCHES or self.now_s > MOST_SECONDS:
            self.failure = self.failure or Violation("every fit must end once all is well; this one goes on and on")
        while self.failure is None:
            if self._events and (not self._due or self._events[0][0] <= self.now_s):
                at_s, _, event = heapq.heappop(self._events)
                self.now_s = max(self.now_s, at_s)
                event()
            elif self._due:
                return self._due.pop(0 if self._draw is None else int(self._draw() * len(self._due)))
            else:
                self.failure = Violation("somebody must be able to go on; all wait for each other")
        return self.first


class VirtualClock(SystemClock):
    """The time that the baton keeps, for the actor that has it.

    Parameters
    ----------
    baton
        Where time passes.
    panel_s
        Draws the seconds that a panel takes.
    """

    def __init__(self, baton: Baton, panel_s: Callable[[], float]) -> None:
        self._baton, self._panel_s = baton, panel_s

    def seconds(self) -> float:
        self._baton.now_s += READING_S
        return self._baton.now_s

    def worked_s(self) -> float:
        """Work for a panel when the loop asks after it; it asks before each too."""
        actor = self._baton.current
        actor.computes = not actor.computes
        if not actor.computes:
            seconds = self._panel_s()
            actor.worked_s += seconds
            self._baton.wait(seconds * actor.slowness)
        return actor.worked_s

    def sleep(self, seconds: float) -> None:
        self._baton.wait(max(seconds, LEAST_WAIT_S))

    def poller(self, *sockets: object) -> VirtualPoller:
        return VirtualPoller(self._baton, sockets)


class VirtualPoller:
    """Waits for sockets of a simulated network."""

    def __init__(self, baton: Baton, sockets: tuple[object, ...]) -> None:
        self._baton, self._sockets = baton, sockets

    def poll(self, timeout: int | None = None) -> list[tuple[object, int]]:
        """The sockets with messages, once there are some or the time is over."""
        there = self._with_messages()
        if there:
            self._baton.wait(0.0)
        else:
            self._baton.wait(float("inf") if timeout is None else max(timeout / 1000, LEAST_WAIT_S), listens=True)
        return self._with_messages()

    def _with_messages(self) -> list[tuple[object, int]]:
        return [(socket, 1) for socket in self._sockets if socket.inbox]
