"""Checkpoints of a running fit: a folder with the latest snapshot and the one before it.

A killed fit leaves the previous one readable, whenever that happens.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from coded_als.checks import require_whole
from coded_als.errors import UsageError
from coded_als.models.snapshot import LATEST, NEXT, PREVIOUS, Snapshot, read_snapshot, write_snapshot

# Locked by whoever writes; its content is nothing.
LOCK = "lock"
# What file systems say that have no locks: there nobody looks after who writes.
_LOCKLESS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)

# Descriptors of the locks that this process has.
_LOCKS: set[int] = set()

StateOf = Callable[[], tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]


class Checkpoint:
    """A folder that a fit writes snapshots to, and resumes from.

    Parameters
    ----------
    folder
        Made if it does not exist.
    every
        Iterations between two snapshots: what a killed fit can lose.
    resume
        Go on from what the folder holds. A folder that holds a checkpoint is refused otherwise.
    """

    def __init__(self, folder: str | Path, *, every: int = 1, resume: bool = False) -> None:
        self.folder, self.every, self.resume = Path(folder), every, resume
        require_whole("checkpoint_every", every, 1)
        self._identity: dict[str, Any] = {}
        self._held: tuple[int, StateOf] | None = None
        self._unlock: Callable[[], object] = _nothing
        self.iteration: int | None = None

    def begin(self, identity: Mapping[str, Any]) -> Snapshot | None:
        """The snapshot to go on from, or None for a fresh start.

        Parameters
        ----------
        identity
            What must be the same for a resumed fit to reach the same result: method, parameters, the data's digest.
            Values that JSON can say.

        Raises
        ------
        UsageError
            When the folder cannot be written, is in use by another fit, holds a checkpoint and ``resume`` is off, or
            holds a damaged checkpoint or one of another fit.
        """
        self._identity = json.loads(json.dumps(dict(identity)))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock()
        except OSError as error:
            raise self._unwritable(error) from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise self._unwritable(PermissionError(13, "Permission denied"))
        for left_by_a_killed_fit in (*self.folder.glob(f".{NEXT}.*.tmp"), self.folder / NEXT):
            left_by_a_killed_fit.unlink(missing_ok=True)
        found = next((path for path in self._files() if path.exists()), None)
        if found is None:
            return None
        if not self.resume:
            raise UsageError(
                f"a checkpoint must go to a folder without one; {self.folder} holds one. Add --resume "
                "(resume=True) to go on from it, or choose another folder."
            )
        return self._accepted(found)

    def note(self, iteration: int, state: StateOf, *, lasting: bool = True) -> None:
        """Write a snapshot when it is due.

        Parameters
        ----------
        iteration
            How many iterations are done.
        state
            Called for the arrays and facts of the snapshot only when one is written.
        lasting
            Whether it can still be called, for the same, when the next iteration has begun: an interruption then loses
            nothing, and goes back to the last snapshot otherwise.

        Raises
        ------
        UsageError
            When it cannot be written; the one before it is kept.
        """
        due = iteration % self.every == 0
        self._held = (iteration, state) if due or lasting else None
        if due:
            self.flush()

    def flush(self) -> None:
        """Write what was noted last, where that has not been done.

        Raises
        ------
        UsageError
            When it cannot be written; the one before it is kept.
        """
        if self._held is None:
            return
        iteration, state = self._held
        latest, previous = self._files()
        try:
            written = self.folder / NEXT
            write_snapshot(written, Snapshot(iteration, *state()), self._identity)
            if latest.exists():
                os.replace(latest, previous)
            os.replace(written, latest)
        except OSError as error:
            self._held = None
            raise self._unwritable(error) from None
        self._held, self.iteration = None, iteration

    def release(self) -> None:
        """Let other fits have the folder; the end of this process does the same, however it ends."""
        self._unlock()

    def _lock(self) -> None:
        """Keep other fits out: the lock is the system's, and goes with the process that has it."""
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _LOCKLESS:
                os.close(lock)
            if isinstance(error, BlockingIOError):
                raise UsageError(
                    f"a checkpoint must be written by one fit at a time; another one is writing to {self.folder}. "
                    "Wait until it has ended, or choose another folder."
                ) from None
            if error.errno not in _LOCKLESS:
                raise
        self._unlock = weakref.finalize(self, _unlock, lock)
        _LOCKS.add(lock)

    def _files(self) -> tuple[Path, Path]:
        return self.folder / LATEST, self.folder / PREVIOUS

    def _accepted(self, path: Path) -> Snapshot:
        snapshot, identity = read_snapshot(path)
        if identity != self._identity:
            names = ["method", *sorted({*identity, *self._identity})]
            other = next(name for name in names if identity.get(name) != self._identity.get(name))
            raise UsageError(
                f"a checkpoint must be of the same fit; the one in {self.folder} has {other} = {identity.get(other)!r} "
                f"where this fit has {self._identity.get(other)!r}. Resume with the same data and options, or choose "
                "another folder."
            )
        return snapshot

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            f"a checkpoint must go to a folder with write access and room; got {self.folder}: "
            f"{error.strerror or error}. Make room or choose another folder; the last good checkpoint is kept."
        )


@contextmanager
def flushed(checkpoint: Checkpoint | None) -> Iterator[None]:
    """What was noted last is written when the block ends, by an error or Ctrl-C as well; the folder is free then."""
    try:
        yield
    finally:
        if checkpoint is not None:
            try:
                checkpoint.flush()
            finally:
                checkpoint.release()


def _unlock(lock: int) -> None:
    if lock in _LOCKS:
        _LOCKS.remove(lock)
        os.close(lock)


def _let_go_of_locks() -> None:
    """A forked child would keep the lock of its parent, and others out after its end, as long as it lives itself."""
    for lock in _LOCKS:
        os.close(lock)
    _LOCKS.clear()


os.register_at_fork(after_in_child=_let_go_of_locks)


def _nothing() -> None:
    """What there is to do without a lock."""
