"""A cluster of workers that are started by hand, on this and other machines."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

import zmq

from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError, UsageError
from coded_als.master.crew import Crew
from coded_als.master.link import Link
from coded_als.master.zeromq import ZmqCluster, delay_stream
from coded_als.worker.credentials import Credentials
from coded_als.worker.process import HEARTBEAT_MS

log = logging.getLogger(__name__)

# How long the farewell to the workers may take to leave this machine.
FAREWELL_S = 0.2
_ON_THIS_MACHINE = ("tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://")


class RemoteCluster(ZmqCluster):
    """W workers that join from anywhere.

    The master writes a key file, and each worker is started with a copy of it:
    ``python -m coded_als.worker --id N --endpoint tcp://MASTER:PORT --key-file FILE``, N = 0 ... W - 1.
    Whoever has the file may join. To be used from one thread.

    Parameters
    ----------
    bind
        Where to listen, as ``tcp://0.0.0.0:5555``.
    workers
        Number of workers W.
    key_file
        Where to write what admits workers; readable for its owner alone, removed with the cluster.
    delays, seed
        As of `coded_als.LocalCluster`.
    encrypted
        Whether to use CURVE; by default wherever others than this machine can connect.
    join_timeout_s
        How long to wait for the workers.

    Raises
    ------
    UsageError
        For parameters out of range, an address that cannot be bound, or a file that cannot be written.
    CodedALSError
        When not all workers have joined in time.
    """

    def __init__(
        self,
        bind: str,
        workers: int,
        key_file: str | os.PathLike[str],
        delays: str | DelayModel = "none",
        seed: int = 0,
        encrypted: bool | None = None,
        join_timeout_s: float = 60.0,
    ) -> None:
        stream = delay_stream(workers, delays, seed)
        if encrypted is None:
            encrypted = not bind.startswith(_ON_THIS_MACHINE)
        public, secret = zmq.curve_keypair() if encrypted else (b"", b"")
        credentials = Credentials(secrets.token_bytes(16), public)
        link = Link(bind, secret, HEARTBEAT_MS)
        super().__init__(link, credentials.job, workers, stream)
        self._end_with(_end, self._crew, link, None)
        try:
            _write(Path(key_file), credentials.text())
            # from here on the file is ours to remove
            self._end_with(_end, self._crew, link, Path(key_file))
            log.info("waiting for %d workers at %s with %s", workers, link.endpoint, key_file)
            if not self._crew.wait_for_all(join_timeout_s):
                raise CodedALSError(
                    f"{workers} workers must join within {join_timeout_s} s; {len(self._crew.members)} did. "
                    "Start the others or raise join_timeout_s."
                )
        except BaseException:
            self.close()
            raise


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        # whole or not at all, as a worker may be waiting for it; and never readable for others
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"key_file must be a path that can be written; got {path}: {error}. Choose another.") from None


def _end(crew: Crew, link: Link, key_file: Path | None) -> None:
    crew.dismiss()
    link.close(FAREWELL_S)
    if key_file is not None:
        with suppress(OSError):
            key_file.unlink()
