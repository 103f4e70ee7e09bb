"""What admits a worker to a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO


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
        """Take the next two lines of a stream; `ValueError` where they are something else."""
        job, server_key = (stream.readline().strip() for _ in range(2))
        if not job:
            raise ValueError("no key")
        return cls(bytes.fromhex(job), server_key.encode())

    def text(self) -> str:
        """The two lines."""
        return f"{self.job.hex()}\n{self.server_key.decode()}\n"
