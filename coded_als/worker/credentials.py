"""Credentials that admit a worker to a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from zmq.utils.z85 import Z85CHARS

from coded_als.errors import UsageError

CURVE_KEY_CHARACTERS = 40
_Z85 = frozenset(Z85CHARS)


@dataclass(frozen=True)
class Credentials:
    """Two lines of text, the second empty where nothing is encrypted.

    Parameters
    ----------
    job
        Secret of the cluster.
    server_key
        The master's public CURVE key (Z85), or nothing.
    """

    job: bytes
    server_key: bytes = b""

    @classmethod
    def read(cls, stream: TextIO) -> Credentials:
        """Take the next two lines of a stream.

        Raises
        ------
        UsageError
            Where they are something else.
        """
        try:
            job, server_key = (stream.readline().strip() for _ in range(2))
            credentials = cls(bytes.fromhex(job), server_key.encode("ascii"))
        except ValueError:  # UnicodeError is one
            raise _unlike("other characters") from None
        if not job:
            raise _unlike("no key")
        if server_key and not (len(server_key) == CURVE_KEY_CHARACTERS and set(credentials.server_key) <= _Z85):
            raise _unlike(f"a server key of {len(server_key)} characters")
        return credentials

    @property
    def password(self) -> bytes:
        """What admits a connection that is not encrypted."""
        return self.job.hex().encode()

    def text(self) -> str:
        """The two lines."""
        return f"{self.job.hex()}\n{self.server_key.decode()}\n"


def _unlike(got: str) -> UsageError:
    return UsageError(
        "a key file must have a line of hexadecimal digits and a line that is empty or a CURVE key of "
        f"{CURVE_KEY_CHARACTERS} characters; got {got}. Copy the file that the master wrote."
    )
