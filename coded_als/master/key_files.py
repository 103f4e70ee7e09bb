"""Key files: the master's, with the list of workers that it admits, and one for each worker."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zmq

from coded_als.checks import require_whole
from coded_als.errors import UsageError
from coded_als.worker.credentials import CURVE_KEY_CHARACTERS, Credentials, is_curve_key

MASTER_FILE, WORKER_FILE = "master.key", "worker-{}.key"


@dataclass(frozen=True)
class MasterKeys:
    """Secrets and public keys by which the master admits workers."""

    job: bytes  # secret of the cluster
    secret_key: bytes  # the master's secret CURVE key (Z85)
    allowed: Mapping[bytes, int]  # the number of each worker, by its public CURVE key (Z85)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> MasterKeys:
        """The keys that `make_keys` wrote."""
        path = Path(folder) / MASTER_FILE
        try:
            if path.stat().st_mode & 0o077:
                raise UsageError(f"keys must be readable for their owner alone; got {path}. Run chmod 600 {path}.")
            job, secret, *workers, end = path.read_text().split("\n")
            allowed = {key.encode(): int(number) for number, key in (line.split(" ") for line in workers)}
            keys = cls(bytes.fromhex(job), secret.encode("ascii"), allowed)
        except OSError as error:
            raise UsageError(
                f"keys must be a folder that coded-als keys wrote; got {folder}: {error.strerror}. Run coded-als keys."
            ) from None
        except ValueError as error:
            if isinstance(error, UsageError):
                raise
            raise _damaged(path) from None
        if end or not (
            keys.job and all(map(is_curve_key, (keys.secret_key, *allowed))) and len(allowed) == len(workers)
        ):
            raise _damaged(path)
        return keys

    def require(self, workers: int, folder: str | os.PathLike[str]) -> None:
        """`UsageError` unless each of W workers has a key."""
        missing = set(range(workers)) - set(self.allowed.values())
        if missing:
            raise UsageError(
                f"keys must be there for each of {workers} workers; got none for {min(missing)} in {folder}. Make others "
                "with coded-als keys, or lower workers."
            )


def make_keys(folder: str | os.PathLike[str], workers: int) -> list[Path]:
    """Write keys for a master and W workers, readable for their owner alone.

    Returns the files: the master's, and one to copy to each worker.
    """
    require_whole("workers", workers, 1)
    job = secrets.token_bytes(16)
    (public, secret), pairs = zmq.curve_keypair(), [zmq.curve_keypair() for _ in range(workers)]
    lines = [job.hex(), secret.decode(), *(f"{number} {pair[0].decode()}" for number, pair in enumerate(pairs))]
    texts = {MASTER_FILE: "\n".join(lines) + "\n"}
    for number, pair in enumerate(pairs):
        texts[WORKER_FILE.format(number)] = Credentials(job, public, pair[1]).text()
    written: list[Path] = []
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name, text in texts.items():
            path = Path(folder) / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise UsageError(
            f"keys must go to a folder that holds none and can be written; got {folder}: {error.strerror}. "
            "Choose another."
        ) from None
    return written


def _damaged(path: Path) -> UsageError:
    return UsageError(
        f"the master's keys must be a hexadecimal line, a CURVE key of {CURVE_KEY_CHARACTERS} characters, and a number and "
        f"a key of each worker; got something else in {path}. Run coded-als keys, with another folder."
    )
