"""The fleet: one process that forks the workers of this machine and outlives none of them."""

from __future__ import annotations

import os
import sys

from coded_als.worker.addresses import remove_address
from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import LOOK_AFTER_MASTER_S, Forks
from coded_als.worker.process import run_worker
from coded_als.worker.turns import AVAILABLE, Turns


def run_fleet(workers: int, endpoint: str, restart: bool = False, memory: str = "") -> None:
    """Fork W workers and end them when the master closes its end of stdin, or dies.

    Parameters
    ----------
    workers
        Number of workers W.
    endpoint
        Where the master listens.
    restart
        Whether a worker that died is started again.
    memory
        Where the memory is that the master shares (`SharedMemory.place`), if any.

    Raises
    ------
    UsageError
        When stdin does not begin with credentials, or the system refuses so many processes.
    """
    credentials = Credentials.read(sys.stdin)
    fleet = os.getpid()
    cores = len(os.sched_getaffinity(0))
    turns = Turns(workers, cores) if AVAILABLE and workers > cores else None

    def work(number: int) -> None:
        turn = None if turns is None else turns.of(number)
        run_worker(number, endpoint, credentials, parent_lives=lambda: os.getppid() == fleet, turn=turn, memory=memory)

    forks = Forks(work)
    try:
        for number in range(workers):
            forks.start(number)
        patience_s = LOOK_AFTER_MASTER_S
        while forks.told(patience_s) is not None:
            for number, _ in forks.reap():
                if turns is not None:
                    turns.died(number)
                if restart:
                    forks.restart(number)
            patience_s = forks.start_due()
    finally:
        forks.end()
        remove_address(endpoint)
