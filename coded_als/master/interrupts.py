"""Signal handlers that wait for a safe moment.

Python runs a handler between any two bytecodes, and one that raises, as the handler of Ctrl-C does, may leave half a
message on a socket or a task sent but not noted. While a cluster works, handlers are put off until it waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self, TypeVar

# The signals whose Python handlers are known to raise; others kill or are handled in C.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)

Item = TypeVar("Item")
Handler = Callable[[int, FrameType | None], Any]


class Interrupts:
    """Puts off the Python signal handlers of the main thread; other threads run none.

    Used once, as a context manager around work that must not be torn apart. Leaving it runs what was put off.
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
            if signal.getsignal(number) == self._handle:  # unless someone set another one meanwhile
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
