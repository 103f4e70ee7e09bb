"""A cluster of workers that are started by hand, on this and other machines."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import zmq

from coded_als.checks import require_number
from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError, UsageError
from coded_als.master.link import Link
from coded_als.master.zeromq import ROUND_TIMEOUT_S, ZmqCluster, checked_delays
from coded_als.worker.credentials import Credentials
from coded_als.worker.process import HEARTBEAT_MS

log = logging.getLogger(__name__)

# How long the farewell to the workers may take to leave this machine.
FAREWELL_S = 0.2


class RemoteCluster(ZmqCluster):
    """W workers that join from anywhere.

    The master writes a key file, and each worker is started with a copy of it:
    ``python -m coded_als.worker --id N --endpoint tcp://MASTER:PORT --key-file FILE``, N = 0 ... W - 1.
    Whoever has the file may join. To be used from one thread at a time.

    Parameters
    ----------
    bind
        Where to listen, as ``tcp://0.0.0.0:5555``.
    workers
        Number of workers W.
    key_file
        Where to write what admits workers: a path at which nothing is. Readable for its owner alone, removed with
        the cluster.
    delays, seed, round_timeout_s
        As of `coded_als.LocalCluster`.
    encrypted
        Whether to use CURVE; by default wherever others than this machine can connect.
    join_timeout_s
        How long to wait for the workers.

    Raises
    ------
    UsageError
        For parameters out of range, an address that cannot be bound, or a file that exists or cannot be written.
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
        round_timeout_s: float = ROUND_TIMEOUT_S,
    ) -> None:
        stream = checked_delays(workers, delays, seed, round_timeout_s)
        require_number("join_timeout_s", join_timeout_s)
        if encrypted is None:
            encrypted = not is_on_this_machine(bind)
        public, secret = zmq.curve_keypair() if encrypted else (b"", b"")
        credentials = Credentials(secrets.token_bytes(16), public)
        with ExitStack() as resources:
            link = Link(bind, credentials.password, secret, HEARTBEAT_MS)
            resources.callback(link.close, FAREWELL_S)
            resources.callback(write_key_file(Path(key_file), credentials.text()))
            super().__init__(link, credentials.job, workers, stream, resources.pop_all(), round_timeout_s)
        self._resources.callback(self._membership.dismiss)
        try:
            log.info("waiting for %d workers at %s with %s", workers, link.endpoint, key_file)
            if not self._membership.wait_for_all(join_timeout_s):
                raise CodedALSError(
                    f"{workers} workers must join within {join_timeout_s} s; {len(self._membership.workers)} did. "
                    "Start the others or raise join_timeout_s."
                )
        except BaseException:
            self.close()
            raise


def is_on_this_machine(bind: str) -> bool:
    """Whether only processes of this machine can connect to an address."""
    transport, _, rest = bind.partition("://")
    if transport == "ipc":
        return True
    host = rest.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, an interface or a star
        return False


def write_key_file(path: Path, text: str) -> Callable[[], None]:
    """Write a file that only its owner can read, where there is none; what removes it again.

    Raises
    ------
    UsageError
        When there is a file, or it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        # whole or not at all, as a worker may be waiting for it; and never over another file, as a rename would be
        os.link(partial, path)
    except FileExistsError:
        raise UsageError(
            f"key_file must be a path at which nothing is; got {path}. Choose another, or remove it if its master "
            "is gone."
        ) from None
    except OSError as error:
        raise UsageError(f"key_file must be a path that can be written; got {path}: {error}. Choose another.") from None
    finally:
        partial.unlink(missing_ok=True)
    return lambda: _remove(path, text)


def _remove(path: Path, text: str) -> None:
    """Remove our file, unless another one has taken its place."""
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text:
            path.unlink()
