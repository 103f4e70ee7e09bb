"""Enlisted workers: one process forks those that its stdin names, now and later, each with credentials of its own."""

from __future__ import annotations

import os
import shutil

from coded_als.worker.addresses import is_deserted, remove_address
from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import LOOK_AFTER_MASTER_S, Forks
from coded_als.worker.loop import NO_MASTER
from coded_als.worker.orders import MASTER_GONE, Orders
from coded_als.worker.parts import PartFolder
from coded_als.worker.process import run_worker


def run_enlisted(endpoint: str, parts: PartFolder | None, memory: str = "") -> int:
    """Fork workers as stdin names them (`Orders`), again those that a signal ended; return when all have ended by themselves.

    All end when whoever writes to stdin closes it or dies, however that happens. What a master has left behind that was
    killed is deleted: its address and the parts.

    Parameters
    ----------
    endpoint
        Where the master listens.
    parts
        Where arrays lie that were put on this machine for them.
    memory
        Where the memory is that the master shares (`SharedMemory.place`), if any.

    Returns
    -------
    `MASTER_GONE` where each of them has found no master, else 0.

    Raises
    ------
    UsageError
        When stdin says something else, or the system refuses so many processes.
    """
    known: dict[int, Credentials] = {}
    parent = os.getpid()

    def parent_lives() -> bool:
        return os.getppid() == parent

    def work(number: int) -> int:
        reason = run_worker(number, endpoint, known[number], parent_lives, remote=True, parts=parts, memory=memory)
        return MASTER_GONE if reason.startswith(NO_MASTER) else 0

    forks, orders = Forks(work), Orders()
    exit_codes: set[int] = set()
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
                else:
                    exit_codes.add(exit_code)
            patience_s = forks.start_due()
            if known and not len(forks):
                return MASTER_GONE if exit_codes == {MASTER_GONE} else 0
        return 0
    finally:
        forks.end()
        if is_deserted(endpoint):
            remove_address(endpoint)
            if parts is not None:
                shutil.rmtree(parts.path, ignore_errors=True)
