"""A cluster of worker processes on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack

from coded_als.blas import one_blas_thread
from coded_als.checks import RNG, require_number, seed_from
from coded_als.cluster.machine import this_machine
from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError, UsageError
from coded_als.master.link import Link
from coded_als.master.zeromq import ROUND_TIMEOUT_S, ZmqCluster, delay_stream
from coded_als.wire import SharedMemory
from coded_als.worker.addresses import private_address
from coded_als.worker.blas_threads import ONE_BLAS_THREAD
from coded_als.worker.credentials import Credentials

log = logging.getLogger(__name__)

# A worker keeps the memory of its last result for the next one: to give it back to the system, and to be given it again
# page by page, takes up to a third of the time of a sparse product.
KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
# The fleet ends its workers and itself within milliseconds; past this it is made to.
END_WITHIN_S = 1.0


class Fleet:
    """W workers on this machine.

    ``workers``: how many; ``endpoint``: where the master listens; ``credentials``: the keys that admit them;
    ``restart``: whether one that died is started again; ``memory``: memory that they share with this process, if any.
    """

    def __init__(
        self,
        workers: int,
        endpoint: str,
        credentials: Credentials,
        restart: bool = False,
        memory: SharedMemory | None = None,
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        command = [sys.executable, "-P", "-m", "coded_als.worker", "--fleet", str(workers), "--endpoint", endpoint]
        self._process = subprocess.Popen(
            command + ["--restart"] * restart + ([] if memory is None else ["--memory", memory.place]),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the master, and one signal reaches all workers
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the wait for the workers will say so
            self._process.stdin.write(credentials.text().encode())
            self._process.stdin.flush()

    @property
    def process_id(self) -> int:
        """Number of the process that has the workers as its children."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the fleet is gone."""
        return self._process.poll() is not None

    def said(self) -> str:
        """The text that the fleet and its workers wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def end(self) -> None:
        """End the workers at once, in the middle of any work."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if said := self.said():
            log.warning("the workers wrote: %s", said)
        self._errors.close()


def _environment() -> dict[str, str]:
    """The environment of this process, with its own module search path, one BLAS thread and memory that is kept."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**KEPT_MEMORY, **os.environ, **ONE_BLAS_THREAD, "PYTHONPATH": path}


# File descriptors of a link beside one for each worker: some 15 measured.
SPARE_DESCRIPTORS = 32
# A worker that died is back within tenths of a second; one that dies again and again is started later and later.
RETURN_WITHIN_S = 2.0


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
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
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
        When the workers do not start in time, with the text that they wrote to stderr.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, LocalCluster
    >>> ratings = np.random.default_rng(0).standard_normal((60, 20))
    >>> with LocalCluster(3, delays="dead:n=1") as cluster:
    ...     CodedALS(rank=3, code="systematic:p=2").fit(ratings, cluster).converged_
    True
    """

    def __init__(
        self,
        workers: int,
        delays: str | DelayModel = "none",
        seed: int | None = None,
        startup_timeout_s: float = 30.0,
        round_timeout_s: float = ROUND_TIMEOUT_S,
        restart: bool = True,
        *,
        rng: RNG = None,
    ) -> None:
        stream = delay_stream(workers, delays, seed_from(seed, rng), round_timeout_s)
        require_number("startup_timeout_s", startup_timeout_s)
        _require_descriptors(workers)
        credentials = Credentials(secrets.token_bytes(16))
        with ExitStack() as resources:
            link = Link(private_address(resources), credentials.password, shares_memory=True)
            resources.callback(link.close)
            resources.enter_context(one_blas_thread())
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
        self.machine = this_machine()
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
