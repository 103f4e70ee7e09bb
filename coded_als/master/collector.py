"""Python's garbage collector, put off while a round is young.

A collection of everything that a process holds takes tens of milliseconds (20 measured with nothing but this package and
what it imports), in the midst of rounds of 2. Between two rounds it costs the same and keeps no response waiting.
"""

from __future__ import annotations

import gc
import time
from typing import Self

# A round that takes longer is not one that a collection delays by much, and other threads make garbage meanwhile.
LONGEST_S = 1.0


class CollectorPutOff:
    """No collection begins inside, except after `LONGEST_S`; whoever had switched the collector off finds it so."""

    def __enter__(self) -> Self:
        self._ends_s = time.monotonic() + LONGEST_S
        self._was_on = gc.isenabled()
        gc.disable()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def look(self) -> None:
        """Let it collect when that has been put off for long enough."""
        if time.monotonic() >= self._ends_s:
            self._end()

    def _end(self) -> None:
        if self._was_on:
            self._was_on = False
            gc.enable()
