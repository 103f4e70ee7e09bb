"""A cluster of worker processes on this machine."""

from __future__ import annotations

import os
import resource
import secrets
import shutil
import tempfile
from contextlib import ExitStack

from coded_als.checks import require_number
from coded_als.cluster.machine import Machine
from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError, UsageError
from coded_als.master.blas import give_blas_its_threads_back, keep_blas_to_one_thread
from coded_als.master.fleet import Fleet
from coded_als.master.link import Link
from coded_als.master.zeromq import ROUND_TIMEOUT_S, ZmqCluster, delay_stream
from coded_als.worker.credentials import Credentials

# File descriptors of a link beside one for each worker: some 15 measured.
SPARE_DESCRIPTORS = 32
# A worker that died is back within tenths of a second; one that dies again and again is started later and later.
RETURN_WITHIN_S = 2.0
# The longest path that a Unix socket may have, on the systems that allow least.
MOST_PATH_CHARACTERS = 100


class LocalCluster(ZmqCluster):
    """W worker processes on this machine, one core each.

    The workers end with the cluster: at `close`, at the end of a ``with`` block, when the cluster is
    forgotten, and when this process ends, however it ends. To be used from one thread at a time.

    While it is open, BLAS in this process keeps to one thread: the workers have the other cores, and BLAS threads that
    spin for a core which a worker has make the master slower by an order of magnitude.

    Parameters
    ----------
    workers
        Number of workers W.
    delays
        A delay SPEC (`coded_als.delays.parse_delays`) or a model: seconds that workers wait before they work.
    seed
        Seed of the delays.
    startup_timeout_s
        How long the workers may take to start.
    round_timeout_s
        How long a round may take before it is an error: the workers that it needs may be stopped.
    restart
        Whether a worker that died is started again. It is given its shares and takes part as soon as it has them; a
        round that cannot end without it waits for it.

    Raises
    ------
    UsageError
        For parameters out of range, and for more workers than file descriptors; nothing was started.
    CodedALSError
        When the workers do not start in time, with what they wrote to stderr.
    """

    def __init__(
        self,
        workers: int,
        delays: str | DelayModel = "none",
        seed: int = 0,
        startup_timeout_s: float = 30.0,
        round_timeout_s: float = ROUND_TIMEOUT_S,
        restart: bool = True,
    ) -> None:
        stream = delay_stream(workers, delays, seed, round_timeout_s)
        require_number("startup_timeout_s", startup_timeout_s)
        _require_descriptors(workers)
        credentials = Credentials(secrets.token_bytes(16))
        with ExitStack() as resources:
            link = Link(private_address(resources), credentials.password, shares_memory=True)
            resources.callback(link.close)
            keep_blas_to_one_thread()
            resources.callback(give_blas_its_threads_back)
            self._fleet = Fleet(workers, link.endpoint, credentials, restart, link.memory)
            resources.callback(self._fleet.end)
            super().__init__(
                link,
                credentials.job,
                workers,
                stream,
                resources.pop_all(),
                round_timeout_s,
                RETURN_WITHIN_S if restart else 0.0,
            )
        self.machine = Machine(cores=len(os.sched_getaffinity(0)))
        self._await_workers(
            startup_timeout_s, lambda: f"Raise startup_timeout_s. {self._fleet.said()}", self._require_fleet
        )

    def _require_fleet(self) -> None:
        if self._fleet.ended:
            raise CodedALSError(f"the workers must start; they ended: {self._fleet.said()}")


def _require_descriptors(workers: int) -> None:
    """`UsageError` where the system would refuse connections, which ZeroMQ does not tell."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = limit - _open_descriptors()
    if limit != resource.RLIM_INFINITY and free < workers + SPARE_DESCRIPTORS:
        raise UsageError(
            f"{workers} workers must have {workers + SPARE_DESCRIPTORS} file descriptors; {free} of {limit} are free. "
            f"Lower workers or raise the limit (ulimit -n {limit - free + workers + SPARE_DESCRIPTORS})."
        )


def _open_descriptors() -> int:
    """How many this process has; 0 where the system does not tell, as without /proc."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def private_address(resources: ExitStack) -> str:
    """A Unix socket in a folder that nobody else may enter, so that other users cannot even connect."""
    folder = tempfile.mkdtemp(prefix="coded-als-")
    resources.callback(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "master")
    return f"ipc://{path}" if len(path) <= MOST_PATH_CHARACTERS else "tcp://127.0.0.1:*"
