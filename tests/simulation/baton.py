"""One virtual clock and one baton: of many threads a single one runs, and the seed picks the next at every wait."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable

from coded_als.wire import SystemClock


class Violation(Exception):
    """A law of the clusters does not hold; the first words say which."""


class Killed(BaseException):
    """The thread of a process that a fault has ended."""


def never() -> bool:
    """Nothing is there to wake up for."""
    return False


class Actor:
    """A thread that runs while it has the baton."""

    def __init__(self, name: str) -> None:
        self.name, self.is_killed, self.is_over = name, False, False
        # it waits until then, or until something is ready; a stopped process takes no part before `stopped_until_s`
        self.until_s, self.ready, self.stopped_until_s = 0.0, never, 0.0
        self.worked_s, self.slowness = 0.0, 1.0
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
        Whether the first actor that can run is the next, in place of any.
    """

    def __init__(self, seed: int, in_order: bool = False) -> None:
        self.now_s, self.switches, self._in_order = 0.0, 0, in_order
        self.choice = random.Random(f"schedule {seed}")
        self.first = self.current = Actor("master")
        self.actors, self._trace = [self.first], list[tuple[float, Callable[[], str]]]()
        self.failure: Violation | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def note(self, text: Callable[[], str]) -> None:
        """Write a line of the trace, which is worded when somebody reads it."""
        self._trace.append((self.now_s, text))

    @property
    def trace(self) -> list[str]:
        """All that has happened, a line each."""
        return [f"{now_s:11.6f} {text()}" for now_s, text in self._trace]

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.now_s + seconds, next(self._numbers), event))

    def start(self, name: str, run: Callable[[], object]) -> Actor:
        """Add a thread, which begins when it is picked."""
        actor = Actor(name)
        threading.Thread(target=self._lead, args=(actor, run), daemon=True).start()
        self.actors.append(actor)
        return actor

    def wait(self, seconds: float, ready: Callable[[], bool] = never) -> None:
        """Let others run; come back when something is ready, or so many seconds later."""
        actor = self.current
        actor.until_s, actor.ready = self.now_s + seconds, ready
        picked = self._pick()
        if picked is not actor:
            self.current = picked
            picked.turn.release()
            actor.turn.acquire()
        if actor.is_killed:
            raise Killed
        if actor is self.first and self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """End all threads but the first."""
        self._events.clear()
        for actor in self.actors[1:]:
            actor.is_killed, actor.stopped_until_s, actor.until_s = True, 0.0, 0.0
        self.failure = None
        self.first.until_s = float("inf")
        while len(self.actors) > 1:
            self.current = self.actors[1]
            self.current.turn.release()
            self.first.turn.acquire()
        self.current = self.first

    def _lead(self, actor: Actor, run: Callable[[], object]) -> None:
        actor.turn.acquire()
        try:
            if not actor.is_killed:
                run()
        except Killed:
            pass
        except Exception as error:
            self.failure = self.failure or Violation(f"no worker may fail; {actor.name}: {error!r}")
        actor.is_over = True
        self.actors.remove(actor)
        self.current = self.first if self.first.until_s == float("inf") else self._pick()
        self.current.turn.release()

    def _pick(self) -> Actor:
        self.switches += 1
        if self.switches > MOST_SWITCHES or self.now_s > MOST_SECONDS:
            self.failure = self.failure or Violation("every fit must end once all is well; this one goes on and on")
        while self.failure is None:
            now_s = self.now_s
            able = [actor for actor in self.actors if actor.stopped_until_s <= now_s]
            able = [actor for actor in able if actor.until_s <= now_s or actor.ready()]
            if able:
                return able[0] if self._in_order or len(able) == 1 else self.choice.choice(able)
            self._let_time_pass()
        return self.first

    def _let_time_pass(self) -> None:
        stopped = [actor.stopped_until_s for actor in self.actors if actor.stopped_until_s > self.now_s]
        due_s = min([*stopped, *(max(actor.until_s, actor.stopped_until_s) for actor in self.actors)])
        if self._events and self._events[0][0] <= due_s:
            at_s, _, event = heapq.heappop(self._events)
            self.now_s = max(self.now_s, at_s)
            event()
        elif due_s == float("inf"):
            self.failure = Violation("somebody must be able to go on; all wait for each other")
        else:
            self.now_s = max(self.now_s, due_s)


class VirtualClock(SystemClock):
    """The time that the baton keeps, for the actor that has it.

    Parameters
    ----------
    baton
        Where time passes.
    panel_s
        Draws the seconds that half of a panel takes.
    """

    def __init__(self, baton: Baton, panel_s: Callable[[], float]) -> None:
        self._baton, self._panel_s = baton, panel_s

    def seconds(self) -> float:
        self._baton.now_s += READING_S
        return self._baton.now_s

    def worked_s(self) -> float:
        """Work for half a panel: the loop asks before and after each."""
        actor = self._baton.current
        seconds = self._panel_s()
        actor.worked_s += seconds
        self._baton.wait(seconds * actor.slowness)
        return actor.worked_s

    def sleep(self, seconds: float) -> None:
        self._baton.wait(max(seconds, LEAST_WAIT_S))

    def poller(self, *sockets: object) -> VirtualPoller:  # type: ignore[override]
        return VirtualPoller(self._baton, sockets)


class VirtualPoller:
    """Waits for sockets of a simulated network."""

    def __init__(self, baton: Baton, sockets: tuple[object, ...]) -> None:
        self._baton, self._sockets = baton, sockets

    def poll(self, timeout: int | None = None) -> list[tuple[object, int]]:
        """The sockets with messages, once there are some or the time is over."""
        seconds = float("inf") if timeout is None else max(timeout / 1000, LEAST_WAIT_S)
        self._baton.wait(seconds, lambda: any(socket.inbox for socket in self._sockets))  # type: ignore[attr-defined]
        return [(socket, 1) for socket in self._sockets if socket.inbox]  # type: ignore[attr-defined]
