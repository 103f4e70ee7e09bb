"""The fleet: one process that forks the workers of this machine and outlives none of them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
from collections.abc import Iterable

from coded_als.errors import UsageError
from coded_als.worker.credentials import Credentials
from coded_als.worker.process import run_worker
from coded_als.worker.turns import AVAILABLE, Turn, Turns

# How long the fleet may go without a look at whether its master still lives.
LOOK_AFTER_MASTER_S = 1.0
# A worker that died is started again after the first of these, and later each time that it had lived for less than the last.
FIRST_RESTART_S, LAST_RESTART_S, GROWN_UP_S = 0.05, 5.0, 2.0
_STDIN = 0


def run_fleet(workers: int, endpoint: str, restart: bool = False) -> None:
    """Fork W workers and end them when the master closes its end of stdin, or dies.

    Parameters
    ----------
    workers
        Number of workers W.
    endpoint
        Where the master listens.
    restart
        Whether a worker that died is started again.

    Raises
    ------
    UsageError
        When stdin does not begin with credentials, or the system refuses so many processes.
    """
    master = os.getppid()
    credentials = Credentials.read(sys.stdin)
    gc.freeze()  # the children share the parent's pages, and a collection would copy them
    children: dict[int, int] = {}
    restarts = [Restarts() for _ in range(workers)]
    died = _pipe_of_deaths()
    cores = len(os.sched_getaffinity(0))
    turns = Turns(workers, cores) if AVAILABLE and workers > cores else None
    try:
        for worker in range(workers):
            children[_fork_worker(worker, endpoint, credentials, turns)] = worker
        patience_s = LOOK_AFTER_MASTER_S
        while _master_lives(master, died, patience_s):
            for worker in _reap(children):
                restarts[worker].died(time.monotonic())
                if turns is not None:
                    turns.died(worker)
            patience_s = LOOK_AFTER_MASTER_S
            for worker, plan in enumerate(restarts if restart else ()):
                wait_s = plan.due_in(time.monotonic())
                if wait_s <= 0:
                    plan.started(time.monotonic())
                    children[_fork_worker(worker, endpoint, credentials, turns)] = worker
                patience_s = min(patience_s, max(wait_s, 0.0) or LOOK_AFTER_MASTER_S)
    finally:
        _end(children)
        _remove_address(endpoint)


class Restarts:
    """When a worker that died is started again: soon, and later and later if it dies young."""

    def __init__(self) -> None:
        self._wait_s, self._started_s, self._due_s = FIRST_RESTART_S, 0.0, float("inf")

    def died(self, now_s: float) -> None:
        """Plan its next start."""
        young = now_s - self._started_s < GROWN_UP_S
        self._wait_s = min(2 * self._wait_s, LAST_RESTART_S) if young else FIRST_RESTART_S
        self._due_s = now_s + self._wait_s

    def started(self, now_s: float) -> None:
        """It has been started again."""
        self._started_s, self._due_s = now_s, float("inf")

    def due_in(self, now_s: float) -> float:
        """Seconds until it is to be started; infinite while it lives."""
        return self._due_s - now_s


def _pipe_of_deaths() -> int:
    """The readable end of a pipe that gets a byte when a child dies.

    A handler that reaps would be interrupted by itself when children die together.
    """
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    return readable


def _master_lives(master: int, died: int, patience_s: float) -> bool:
    """Wait for a death or a while; False once stdin has ended or the master is gone.

    A forked copy of the master holds stdin open, so its end alone would not tell.
    """
    ready, _, _ = select.select([_STDIN, died], [], [], patience_s)
    if died in ready:
        os.read(died, 1 << 16)
    return not (_STDIN in ready and not os.read(_STDIN, 1 << 16)) and os.getppid() == master


def _reap(children: dict[int, int]) -> list[int]:
    """Take leave of the children that have died; the workers that they were."""
    return [children.pop(child) for child in list(children) if os.waitpid(child, os.WNOHANG)[0]]


def _end(children: Iterable[int]) -> None:
    """Kill the children that live, and take leave of all."""
    for child in children:  # not reaped yet, so nobody else has its number
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)


def _remove_address(endpoint: str) -> None:
    """Remove the socket of a master that was killed, and the folder that it made for it."""
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        with contextlib.suppress(OSError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))


def _fork_worker(worker: int, endpoint: str, credentials: Credentials, turns: Turns | None) -> int:
    """Start a worker; its process id."""
    fleet = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        raise UsageError(
            f"the system must allow a process for each worker; it refused worker {worker}: {error.strerror}. "
            "Lower workers or raise the limit (ulimit -u)."
        ) from None
    if child == 0:
        _be_a_worker(fleet, worker, endpoint, credentials, None if turns is None else turns.of(worker))
    return child


def _be_a_worker(fleet: int, worker: int, endpoint: str, credentials: Credentials, turn: Turn | None) -> None:
    """Everything that a forked worker does; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # not stdin: the fleet alone must hold its end of the master's pipe
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
        if sys.platform == "linux":
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        run_worker(worker, endpoint, credentials, parent_lives=lambda: os.getppid() == fleet, turn=turn)
        status = 0
    except BaseException as error:
        print(f"worker {worker}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)
