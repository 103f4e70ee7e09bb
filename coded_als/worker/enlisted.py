"""Enlisted workers: one process forks those that its stdin names, now and later, each with credentials of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

from coded_als.errors import UsageError
from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import LOOK_AFTER_MASTER_S, Forks
from coded_als.worker.parts import PartFolder
from coded_als.worker.process import run_worker

# The worker's number and the lines of its credentials.
_LINES = 4


def enlisting(number: int, credentials: Credentials) -> bytes:
    """What to write to the stdin of `run_enlisted` so that it starts a worker.

    Parameters
    ----------
    number
        Of the worker.
    credentials
        Its own.
    """
    return f"{number}\n{credentials.text()}".encode()


def run_enlisted(endpoint: str, parts: PartFolder | None) -> None:
    """Fork workers as stdin names them, again those that a signal ended; return when all have ended by themselves.

    All end when whoever writes to stdin closes it or dies, however that happens.

    Parameters
    ----------
    endpoint
        Where the master listens.
    parts
        Where arrays lie that were put on this machine for them.

    Raises
    ------
    UsageError
        When stdin says something else, or the system refuses so many processes.
    """
    known: dict[int, Credentials] = {}
    parent = os.getpid()

    def work(number: int) -> None:
        run_worker(number, endpoint, known[number], lambda: os.getppid() == parent, remote=True, parts=parts)

    forks, orders = Forks(work), Orders()
    patience_s = LOOK_AFTER_MASTER_S
    try:
        while (said := forks.told(patience_s)) is not None:
            for number, credentials in orders.read(said):
                if number not in known:
                    known[number] = credentials
                    forks.start(number)
            for number, exit_code in forks.reap():
                if exit_code < 0:
                    forks.restart(number)
            patience_s = forks.start_due()
            if known and not len(forks):
                return  # they were told to, or found no master
    finally:
        forks.end()


class Orders:
    """What `enlisting` writes, read in whatever pieces it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, said: bytes) -> Iterator[tuple[int, Credentials]]:
        """The workers that are named with these bytes.

        Parameters
        ----------
        said
            The next piece.

        Raises
        ------
        UsageError
            For anything else.
        """
        *lines, self._rest = (self._rest + said).split(b"\n")
        whole = len(lines) // _LINES * _LINES
        self._rest = b"\n".join([*lines[whole:], self._rest])
        for first in range(0, whole, _LINES):
            number, *text = (line.decode("ascii", "replace") for line in lines[first : first + _LINES])
            if not number.isdecimal():
                raise UsageError(
                    f"an enlisted worker must have a number; got {number!r}. Write one, and its credentials."
                )
            yield int(number), Credentials.read(io.StringIO("\n".join(text) + "\n"))
