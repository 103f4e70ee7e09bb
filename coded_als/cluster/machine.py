"""The speeds of a master, its workers and the link between them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from coded_als.arrays import Array
from coded_als.checks import require_whole
from coded_als.errors import UsageError


@dataclass(frozen=True)
class Machine:
    """Speeds of the master, of one worker and of the link between them.

    Parameters
    ----------
    multiplications_per_second
        Multiplications with an addition each, of one worker and of the master; one core of a laptop does some 1e10 in
        matrix products.
    bytes_per_second
        Bytes per second of the master's link, which all messages of a round share.
    latency_s
        Seconds that any message takes besides.
    message_s
        Seconds that the master itself spends on each message of any size.
    cores
        Cores that the workers share; None: each has its own.
    given_bytes_per_second
        Bytes per second of arrays that workers keep: large ones go into memory that nothing has touched before. None:
        as the link.
    worker_speeds
        Factors of the speed, one for each worker; they start over where the workers are more. Empty: all are alike.

    Examples
    --------
    >>> from coded_als.cluster.machine import Machine
    >>> machine = Machine(bytes_per_second=1e8, latency_s=1e-3, worker_speeds=(1.0, 1.0, 0.5))
    >>> machine.sending_s(messages=10, message_bytes=1e6)
    0.1005
    """

    multiplications_per_second: float = 1e10
    bytes_per_second: float = 1e9
    latency_s: float = 1e-4
    message_s: float = 5e-5
    cores: int | None = None
    given_bytes_per_second: float | None = None
    worker_speeds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        seconds = (self.latency_s, self.message_s)
        if not (
            self.multiplications_per_second > 0
            and self.bytes_per_second > 0
            and (self.given_bytes_per_second is None or self.given_bytes_per_second > 0)
            and all(0 <= value < math.inf for value in seconds)
        ):
            raise UsageError(f"speeds must be above 0, latency_s and message_s at least 0 and finite; got {self}.")
        if self.cores is not None:
            require_whole("cores", self.cores, 1)
        if not all(0 < speed < math.inf for speed in self.worker_speeds):
            raise UsageError(
                f"worker speeds must be finite numbers above 0; got {self.worker_speeds}. Write 10x1,10x0.5, say."
            )

    def sending_s(self, messages: int, message_bytes: float) -> float:
        """Return the seconds until the last message of a round has left the master, or reached it.

        Parameters
        ----------
        messages
            Number of messages.
        message_bytes
            Bytes of each.
        """
        return messages * (self.message_s + message_bytes / self.bytes_per_second)

    def giving_s(self, workers: int, share_bytes: float) -> float:
        """Return the seconds until each worker has received a share to store.

        Parameters
        ----------
        workers
            Number of workers.
        share_bytes
            Bytes of each share.
        """
        rate = self.given_bytes_per_second or self.bytes_per_second
        return workers * (self.message_s + share_bytes / rate) + self.latency_s

    def computing_s(self, operations: float) -> float:
        """Return seconds of undisturbed work."""
        return operations / self.multiplications_per_second

    def working_s(self, operations: float, slowness: Array) -> Array:
        """Return the seconds that each worker takes for its work, (..., W).

        Parameters
        ----------
        operations
            Multiplications of each worker.
        slowness
            Factors by which each worker is slower than usual, (..., W).
        """
        if self.worker_speeds:
            slowness = slowness / np.resize(self.worker_speeds, np.shape(slowness)[-1])
        return np.asarray(self.computing_s(operations) * slowness)


def this_machine() -> Machine:
    """A machine on which all workers share the cores that this process may use."""
    return Machine(cores=len(os.sched_getaffinity(0)))


def parse_worker_speeds(text: str) -> tuple[float, ...]:
    """The speeds of ``10x1,10x0.5``: ten workers as fast as the machine, and ten of half its speed."""
    speeds: list[float] = []
    for part in text.split(","):
        match = re.fullmatch(r"(?:(\d+)x)?(\d+\.?\d*|\.\d+)", part.strip())
        if match is None or not float(match[2]) > 0 or not 0 < int(match[1] or 1) <= MOST_SPEEDS:
            raise UsageError(
                f"worker speeds must be factors above 0 like 10x1,10x0.5 or 1,0.5; got {text!r}. Correct the part {part!r}."
            )
        speeds += [float(match[2])] * int(match[1] or 1)
    return tuple(speeds)


def show_worker_speeds(speeds: Sequence[float]) -> str:
    """The text that `parse_worker_speeds` reads as these speeds."""
    runs = ((speed, len(list(alike))) for speed, alike in groupby(speeds))
    return ",".join(f"{count}x{speed:f}".rstrip("0").rstrip(".") for speed, count in runs)


# More than the workers of any cluster that can be simulated would be a slip of the pen.
MOST_SPEEDS = 100_000
