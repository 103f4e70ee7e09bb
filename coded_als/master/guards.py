"""Guards of a round: garbage is collected after it, a signal is handled after work that must not be torn apart."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self, TypeVar

from coded_als.errors import UsageError

# A round that takes longer is not one that a collection delays by much, and other threads make garbage meanwhile.
LONGEST_S = 1.0


class CollectorPutOff:
    """No collection begins inside, except after `LONGEST_S`; a collector that was off before stays off."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._ends_s = self._seconds() + LONGEST_S
        self._was_on = gc.isenabled()
        gc.disable()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def look(self) -> None:
        """Let it collect when that has been put off for long enough."""
        if self._seconds() >= self._ends_s:
            self._end()

    def _end(self) -> None:
        if self._was_on:
            self._was_on = False
            gc.enable()


# The signals with Python handlers that are known to raise; others kill or are handled in C.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)

Item = TypeVar("Item")
Handler = Callable[[int, FrameType | None], Any]


class Interrupts:
    """Puts off the Python signal handlers of the main thread; other threads run none.

    Used once, as a context manager around work that must not be torn apart. Leaving it runs the handlers that it put off.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Handler] = {}
        self._pending: list[tuple[int, FrameType | None]] = []
        self._deferring = self._allowed = False

    def __enter__(self) -> Self:
        self._deferring, self._allowed = True, False
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        # from here on a handler that is still ours hands over at once
        self._deferring = False
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._handle:  # unless another one was set meanwhile
                signal.signal(number, handler)
        self.catch_up()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A stretch in which handlers run at once."""
        self.catch_up()
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with handlers allowed while they are made and not while they are used."""
        iterator = iter(items)
        while True:
            with self.allowed():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def catch_up(self) -> None:
        """Run the handlers that were put off."""
        while self._pending:
            number, frame = self._pending.pop(0)
            self._handlers[number](number, frame)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._deferring and not self._allowed:
            self._pending.append((number, frame))
            return
        # a handler that raises may do so before `allowed` gets to end
        allowed, self._allowed = self._allowed, False
        self._handlers[number](number, frame)
        self._allowed = allowed


class Usage:
    """Admits one user at a time, and lets no signal handler tear the work of that user apart."""

    def __init__(self) -> None:
        self.closed = False
        self._owner = os.getpid()
        self._lock = threading.Lock()

    @property
    def forked(self) -> bool:
        """Whether this process is a forked copy of the one that started the cluster."""
        return os.getpid() != self._owner

    @property
    def refuses(self) -> bool:
        """Whether a claim would be refused just now."""
        return self.forked or self.closed or self._lock.locked()

    @contextmanager
    def claimed(self) -> Iterator[Interrupts]:
        """A stretch in which no other caller may use the cluster.

        Returns the guard that puts off signal handlers during it.
        """
        if self.forked:
            raise UsageError(
                "a cluster must be used by the process that started it; this one is a forked copy. "
                "Start a cluster in this process."
            )
        with Interrupts() as interrupts:
            if not self._lock.acquire(blocking=False):
                raise UsageError(
                    "a cluster must be used by one thread at a time, and not by its own observers; it is at work. "
                    "Wait until it is done, or start another one."
                )
            try:
                if self.closed:
                    raise UsageError("a cluster must be open; this one is closed. Start a new one.")
                yield interrupts
            finally:
                self._lock.release()
