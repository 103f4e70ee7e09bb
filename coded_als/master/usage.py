"""The rule that a cluster is used by one process and one thread at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from coded_als.errors import UsageError
from coded_als.master.interrupts import Interrupts


class Usage:
    """Admits one user at a time, whom no signal handler tears apart."""

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
        """A stretch in which nobody else may use the cluster.

        Returns
        -------
        What puts off signal handlers during it.

        Raises
        ------
        UsageError
            In a forked copy of the process, while the cluster is in use, and when it is closed.
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
