"""Orders to a process that forks workers: the number of each that is to be started, and its credentials, as lines; how it ends."""

from __future__ import annotations

import io
from collections.abc import Iterator

from coded_als.errors import UsageError
from coded_als.worker.credentials import Credentials

# Exit code of a worker that has found no master for long, and of the process of workers of whom each has done so.
MASTER_GONE = 3
# The worker's number and the lines of its credentials.
_LINES = 4


def enlisting(number: int, credentials: Credentials) -> bytes:
    """The order to start a worker.

    Parameters
    ----------
    number
        Of the worker.
    credentials
        Its own.
    """
    return f"{number}\n{credentials.text()}".encode()


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
        *lines, unfinished = (self._rest + said).split(b"\n")
        whole = len(lines) // _LINES * _LINES
        self._rest = b"\n".join([*lines[whole:], unfinished])
        for first in range(0, whole, _LINES):
            number, *text = (line.decode("ascii", "replace") for line in lines[first : first + _LINES])
            if not (number.isascii() and number.isdecimal()):
                raise UsageError(
                    f"an order must begin with a worker's number; got {number!r}. Write one, then its keys."
                )
            yield int(number), Credentials.read(io.StringIO("\n".join(text) + "\n"))
