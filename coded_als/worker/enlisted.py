"""Enlisted workers: one process forks those that its stdin names, now and later, each with credentials of its own."""

from __future__ import annotations

import os

from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import LOOK_AFTER_MASTER_S, Forks
from coded_als.worker.orders import Orders
from coded_als.worker.parts import PartFolder
from coded_als.worker.process import run_worker


def run_enlisted(endpoint: str, parts: PartFolder | None, memory: str = "") -> None:
    """Fork workers as stdin names them (`Orders`), again those that a signal ended; return when all have ended by themselves.

    All end when whoever writes to stdin closes it or dies, however that happens.

    Parameters
    ----------
    endpoint
        Where the master listens.
    parts
        Where arrays lie that were put on this machine for them.
    memory
        Where the memory is that the master shares (`SharedMemory.place`), if any.

    Raises
    ------
    UsageError
        When stdin says something else, or the system refuses so many processes.
    """
    known: dict[int, Credentials] = {}
    parent = os.getpid()

    def parent_lives() -> bool:
        return os.getppid() == parent

    def work(number: int) -> None:
        run_worker(number, endpoint, known[number], parent_lives, remote=True, parts=parts, memory=memory)

    forks, orders = Forks(work), Orders()
    patience_s = LOOK_AFTER_MASTER_S
    try:
        while (said := forks.told(patience_s)) is not None:
            for number, credentials in orders.read(said):
                if number not in known:
                    known[number] = credentials
                    forks.start(number)
            for number, exit_code in forks.reap():
                if exit_code < 0:
                    forks.restart(number)
            patience_s = forks.start_due()
            if known and not len(forks):
                return  # they were told to, or found no master
    finally:
        forks.end()
