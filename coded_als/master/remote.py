"""A cluster of workers that are started by hand, on this and other machines."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from coded_als.checks import RNG, require_number, seed_from
from coded_als.delays import DelayModel
from coded_als.errors import UsageError
from coded_als.master.key_files import MasterKeys
from coded_als.master.link import FAREWELL_S, Link
from coded_als.master.membership import workers_in_words
from coded_als.master.zeromq import ROUND_TIMEOUT_S, ZmqCluster, delay_stream
from coded_als.worker.addresses import is_on_this_machine
from coded_als.worker.credentials import Credentials

log = logging.getLogger(__name__)

# Workers with broken connections connect again by themselves within a second. A supervisor starts one that died again
# within seconds, and a machine that restarts has it back within a minute.
REJOIN_TIMEOUT_S = 60.0
# How often a master that waits for workers names those that are missing.
NAMED_EVERY_S = 10.0


class RemoteCluster(ZmqCluster):
    """W workers that join from anywhere: ``coded-als worker --connect tcp://MASTER:PORT --key-file FILE``.

    With ``keys`` (of ``coded-als keys``) everything is encrypted, and a worker is admitted, under the number of its key,
    that has one of its key files. Without, on this machine alone, the master writes ``key_file``, and a worker that has it
    may join. To be used from one thread at a time.

    Parameters
    ----------
    bind
        Address to listen on, as ``tcp://0.0.0.0:5555``.
    workers
        Number of workers W.
    key_file
        Path of the file to write, which admits workers; nothing may be there yet. Readable for its owner alone, removed
        with the cluster.
    delays
        Delays to inject, a SPEC or a model; none by default.
    seed
        Seed of the delays.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    round_timeout_s
        Seconds after which a round without enough responses ends with an error.
    keys
        The folder of the keys, in place of ``key_file``.
    join_timeout_s
        How long to wait for the workers at first. The log names those that are missing.
    rejoin_timeout_s
        How long a round waits for workers that were lost, if it cannot end without them.

    Raises
    ------
    UsageError
        For parameters out of range, an address that cannot be bound or that others than this machine can reach without
        keys, and files that exist or cannot be read or written.
    CodedALSError
        When not all workers have joined in time.

    Examples
    --------
    ``coded-als keys keys/ --workers 20`` makes the keys; on machine N runs ``coded-als worker --connect
    tcp://MASTER:5555 --key-file worker-N.key``.

    >>> from coded_als import CodedALS
    >>> from coded_als.master import RemoteCluster
    >>> with RemoteCluster("tcp://0.0.0.0:5555", 20, keys="keys/") as cluster:  # doctest: +SKIP
    ...     model = CodedALS(rank=20, code="systematic:p=15").fit(ratings, cluster)
    """

    def __init__(
        self,
        bind: str,
        workers: int,
        key_file: str | os.PathLike[str] | None = None,
        delays: str | DelayModel = "none",
        seed: int | None = None,
        join_timeout_s: float = 60.0,
        round_timeout_s: float = ROUND_TIMEOUT_S,
        *,
        keys: str | os.PathLike[str] | None = None,
        rejoin_timeout_s: float = REJOIN_TIMEOUT_S,
        rng: RNG = None,
    ) -> None:
        stream = delay_stream(workers, delays, seed_from(seed, rng), round_timeout_s)
        require_number("join_timeout_s", join_timeout_s)
        require_number("rejoin_timeout_s", rejoin_timeout_s)
        with ExitStack() as resources:
            link, job = _link(bind, workers, key_file, keys, resources)
            super().__init__(link, job, workers, stream, resources.pop_all(), round_timeout_s, rejoin_timeout_s)
        self._resources.callback(self._membership.dismiss)
        log.info("waiting for %d workers at %s with %s", workers, link.endpoint, key_file or keys)
        remedy = "Start them, see their logs, or raise join_timeout_s."
        self._await_workers(join_timeout_s, lambda: remedy, self._name_the_missing(link.endpoint))

    def _name_the_missing(self, endpoint: str) -> Callable[[], None]:
        """A function that warns, now and then, of the workers that are missing."""
        told_s = self._clock.seconds()

        def tell() -> None:
            nonlocal told_s
            if self._clock.seconds() - told_s >= NAMED_EVERY_S:
                told_s = self._clock.seconds()
                log.warning("waiting at %s for %s", endpoint, workers_in_words(self._membership.missing))

        return tell


def _link(
    bind: str,
    workers: int,
    key_file: str | os.PathLike[str] | None,
    keys: str | os.PathLike[str] | None,
    resources: ExitStack,
) -> tuple[Link, bytes]:
    """A link that admits the workers that have a key, and the secret of its cluster."""
    if (keys is None) == (key_file is None):
        raise UsageError(f"either keys or key_file must be given; got {keys} and {key_file}. Give one of them.")
    if keys is not None:
        known = MasterKeys.read(keys)
        known.require(workers, keys)
        link = Link(bind, b"", known.secret_key, known.allowed)
        resources.callback(link.close, FAREWELL_S)
        return link, known.job
    assert key_file is not None
    if not is_on_this_machine(bind):
        raise UsageError(
            f"keys must be given where others than this machine can connect; got bind={bind!r} without. Make them with "
            "coded-als keys, or bind to tcp://127.0.0.1:PORT."
        )
    credentials = Credentials(secrets.token_bytes(16))
    link = Link(bind, credentials.password)
    resources.callback(link.close, FAREWELL_S)
    resources.callback(write_key_file(Path(key_file), credentials.text()))
    return link, credentials.job


def write_key_file(path: Path, text: str) -> Callable[[], None]:
    """Write a file that only its owner can read, where there is none; returns the function that removes it again."""
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
