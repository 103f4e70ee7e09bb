"""A cluster of worker processes on this machine."""

from __future__ import annotations

import secrets
from typing import Any

from coded_als.delays import DelayModel
from coded_als.errors import CodedALSError
from coded_als.master.fleet import Fleet
from coded_als.master.link import Link
from coded_als.master.zeromq import ZmqCluster, delay_stream
from coded_als.worker.credentials import Credentials


class LocalCluster(ZmqCluster):
    """W worker processes on this machine, one core each.

    The workers end with the cluster: at `close`, at the end of a ``with`` block, when the cluster is
    forgotten, and when this process ends, however it ends. To be used from one thread.

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

    Raises
    ------
    UsageError
        For parameters out of range; nothing was started.
    CodedALSError
        When the workers do not start in time, with what they wrote to stderr.
    """

    def __init__(
        self,
        workers: int,
        delays: str | DelayModel = "none",
        seed: int = 0,
        startup_timeout_s: float = 30.0,
    ) -> None:
        stream = delay_stream(workers, delays, seed)
        credentials = Credentials(secrets.token_bytes(16))
        link = Link("tcp://127.0.0.1:*")
        super().__init__(link, credentials.job, workers, stream)
        self._end_with(link.close)
        try:
            fleet = Fleet(workers, link.endpoint, credentials)
            self._end_with(_end, fleet, link, _one_blas_thread())
            self._await_start(fleet, startup_timeout_s)
        except BaseException:
            self.close()
            raise

    def _await_start(self, fleet: Fleet, timeout_s: float) -> None:
        def check() -> None:
            if fleet.ended:
                raise CodedALSError(f"the workers must start; they ended: {fleet.said()}. Correct the cause.")

        if not self._crew.wait_for_all(timeout_s, check):
            raise CodedALSError(
                f"{self.size} workers must start within {timeout_s} s; {len(self._crew.members)} did. "
                f"Raise startup_timeout_s. {fleet.said()}".rstrip()
            )


def _one_blas_thread() -> Any:
    # a BLAS that is loaded later would not be limited, and the algorithm brings SciPy's
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")


def _end(fleet: Fleet, link: Link, limits: Any) -> None:
    fleet.end()
    link.close()
    limits.restore_original_limits()
