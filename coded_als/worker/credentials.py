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
    """Three lines of text, the last two empty where nothing is encrypted."""

    job: bytes  # secret of the cluster
    server_key: bytes = b""  # the master's public CURVE key (Z85), or nothing
    # this worker's secret CURVE key (Z85), by which the master knows it; without one it makes one up
    secret_key: bytes = b""

    @classmethod
    def read(cls, stream: TextIO) -> Credentials:
        """Take the next three lines of a stream; `UsageError` where they are something else."""
        try:
            job, *keys = (stream.readline().strip() for _ in range(3))
            credentials = cls(bytes.fromhex(job), *(key.encode("ascii") for key in keys))
        except ValueError:  # UnicodeError is one
            raise _unlike("other characters") from None
        if not job:
            raise _unlike("no key")
        for key in keys:
            if key and not is_curve_key(key.encode()):
                raise _unlike(f"a key of {len(key)} characters")
        return credentials

    @property
    def password(self) -> bytes:
        """The password that admits a connection without encryption."""
        return self.job.hex().encode()

    def text(self) -> str:
        """The three lines."""
        return f"{self.job.hex()}\n{self.server_key.decode()}\n{self.secret_key.decode()}\n"


def is_curve_key(key: bytes) -> bool:
    """Whether these are the characters of a CURVE key (Z85)."""
    return len(key) == CURVE_KEY_CHARACTERS and set(key) <= _Z85


def _unlike(got: str) -> UsageError:
    return UsageError(
        "a key file must have a line of hexadecimal digits and two lines that are empty or a CURVE key of "
        f"{CURVE_KEY_CHARACTERS} characters; got {got}. Copy the file that the master wrote."
    )
