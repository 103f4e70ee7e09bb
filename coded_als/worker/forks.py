"""Workers that one process forks after it has imported their modules: a fleet at once, or those that its stdin names."""

from __future__ import annotations

import ctypes
import gc
import io
import os
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator

from coded_als.errors import UsageError
from coded_als.wire import CLOCK
from coded_als.worker.addresses import is_deserted, remove_address
from coded_als.worker.credentials import Credentials
from coded_als.worker.loop import NO_MASTER
from coded_als.worker.parts import PartFolder
from coded_als.worker.process import run_worker
from coded_als.worker.turns import AVAILABLE, Turns

# How long they may go without a look at whether the process in charge of them still lives.
LOOK_AFTER_MASTER_S = 1.0
# A worker that died is started again after the first of these, and later each time that it had lived for less than the last.
FIRST_RESTART_S, LAST_RESTART_S, GROWN_UP_S = 0.05, 5.0, 2.0
STDIN = 0
# The worker's number and the lines of its credentials.
_LINES = 4
# Exit code of a worker that has found no master for long, and of the forking process if each of its workers has done so.
MASTER_GONE = 3


class Forks:
    """Workers by number, children of this process; the process in charge holds the other end of its stdin.

    ``work``: the work of the worker of a number, in a process of its own; returns its exit code, 0 by default.
    """

    def __init__(self, work: Callable[[int], int | None]) -> None:
        gc.freeze()  # the children share the parent's pages, and a collection would copy them
        self._work = work
        self._master = os.getppid()
        self._died = _pipe_of_deaths()
        self._children: dict[int, int] = {}
        self._restarts: dict[int, Restarts] = {}

    def __len__(self) -> int:
        """How many there are, those included that are to be started again."""
        return len(self._children) + sum(plan.is_due for plan in self._restarts.values())

    def start(self, number: int) -> None:
        """Fork the worker of a number; `UsageError` where the system refuses."""
        parent = os.getpid()
        try:
            child = os.fork()
        except OSError as error:
            raise UsageError(
                f"the system must allow a process for each worker; it refused worker {number}: {error.strerror}. "
                "Lower workers or raise the limit (ulimit -u)."
            ) from None
        if child == 0:
            _be_a_worker(number, self._work, parent)
        self._children[child] = number

    def reap(self) -> list[tuple[int, int]]:
        """Take leave of those that have died: their numbers, with exit codes, negative for signals."""
        reaped = []
        for child in list(self._children):
            process_id, status = os.waitpid(child, os.WNOHANG)
            if process_id:
                reaped.append((self._children.pop(child), os.waitstatus_to_exitcode(status)))
        return reaped

    def restart(self, number: int) -> None:
        """Let one that died be started again when it is due."""
        self._restarts.setdefault(number, Restarts()).died(CLOCK.seconds())

    def start_due(self) -> float:
        """Start those that are due; seconds after which to look again."""
        patience_s = LOOK_AFTER_MASTER_S
        for number, plan in self._restarts.items():
            wait_s = plan.due_in(CLOCK.seconds())
            if wait_s <= 0:
                plan.started(CLOCK.seconds())
                self.start(number)
            patience_s = min(patience_s, max(wait_s, 0.0) or LOOK_AFTER_MASTER_S)
        return patience_s

    def said_on_stdin(self, patience_s: float) -> bytes | None:
        """The bytes that stdin gives within a while, none where a worker dies; None once it has ended, or its master is gone.

        A forked copy of the master holds stdin open, so its end alone would not tell.
        """
        ready, _, _ = select.select([STDIN, self._died], [], [], patience_s)
        if self._died in ready:
            os.read(self._died, 1 << 16)
        said = os.read(STDIN, 1 << 16) if STDIN in ready else b""
        return None if (STDIN in ready and not said) or os.getppid() != self._master else said

    def end(self) -> None:
        """Kill those that live, and take leave of all."""
        for child in self._children:  # not reaped yet, so no other process has its number
            os.kill(child, signal.SIGKILL)
        for child in self._children:
            os.waitpid(child, 0)


class Restarts:
    """When a worker that died is started again: soon, and later and later if it dies young."""

    def __init__(self) -> None:
        self._wait_s, self._started_s, self._due_s = FIRST_RESTART_S, 0.0, float("inf")

    @property
    def is_due(self) -> bool:
        """Whether it is dead and to be started, now or later."""
        return self._due_s < float("inf")

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


def _be_a_worker(number: int, work: Callable[[int], int | None], parent: int) -> None:
    """Everything that a forked worker does; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # not stdin: the parent alone must hold its end of the master's pipe
        os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
        if sys.platform == "linux":
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
            if os.getppid() != parent:  # it died before that
                os._exit(status)
        status = work(number) or 0
    except BaseException as error:
        print(f"worker {number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def enlisting(number: int, credentials: Credentials) -> bytes:
    """The order to start a worker."""
    return f"{number}\n{credentials.text()}".encode()


class Orders:
    """The orders that `enlisting` writes, read in pieces of any length."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, said: bytes) -> Iterator[tuple[int, Credentials]]:
        """The workers that are named with these bytes."""
        *lines, unfinished = (self._rest + said).split(b"\n")
        whole = len(lines) // _LINES * _LINES
        self._rest = b"\n".join([*lines[whole:], unfinished])
        for first in range(0, whole, _LINES):
            number, *text = (line.decode("ascii", "replace") for line in lines[first : first + _LINES])
            if not (number.isascii() and number.isdecimal()):
                raise UsageError(
                    f"an order must begin with a worker's number; got {number!r}. Write one, then its keys."
                )
            yield int(number), Credentials.read(io.StringIO("\n".join(text) + "\n"))


def run_fleet(workers: int, endpoint: str, restart: bool = False, memory: str = "") -> None:
    """Fork W workers and end them when the master closes its end of stdin, or dies; start again those that died, if asked to.

    Raises `UsageError` when stdin does not begin with credentials, or the system refuses so many processes.
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
        while forks.said_on_stdin(patience_s) is not None:
            for number, _ in forks.reap():
                if turns is not None:
                    turns.died(number)
                if restart:
                    forks.restart(number)
            patience_s = forks.start_due()
    finally:
        forks.end()
        remove_address(endpoint)


def run_enlisted(endpoint: str, parts: PartFolder | None, memory: str = "") -> int:
    """Fork workers as stdin names them (`Orders`), again those that a signal ended; return when all have ended by themselves.

    All end when the writer of stdin closes it or dies, for any reason. This process deletes the address and the parts
    that a killed master has left behind.

    Returns `MASTER_GONE` where each of them has found no master, else 0.

    Raises UsageError when stdin says something else, or the system refuses so many processes.
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
        while (said := forks.said_on_stdin(patience_s)) is not None:
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
