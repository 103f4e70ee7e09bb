"""The place of checkpoints: a store of four functions, and the folder as one."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from coded_als.models.files import write_whole

SUFFIX = ".checkpoint"
PART = ".checkpoint-part"
LATEST, PREVIOUS, NEXT = f"latest{SUFFIX}", f"previous{SUFFIX}", f"next{SUFFIX}"


class CheckpointStore(Protocol):
    """Keeps the latest snapshot of one fit and the one before it; its text is its place, for messages.

    All four functions raise OSError where the place does not do as asked.
    """

    def read(self, name: str) -> bytes:
        """The snapshot under a name, `LATEST` or `PREVIOUS`."""
        ...

    def write(self, content: bytes) -> None:
        """Keep a snapshot as the latest, whole or not at all; the one that was the latest becomes the previous one.

        Whenever this is interrupted, one of the two names has a whole snapshot.
        """
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a snapshot under a name."""
        ...

    def lock(self) -> Callable[[], object]:
        """Make the place ready to write to, and keep other fits out until the function returned is called.

        Raises BlockingIOError where another fit has it. The end of the process must unlock it, however it ends.
        """
        ...


@runtime_checkable
class PartStore(CheckpointStore, Protocol):
    """A store that also keeps parts of snapshots by name, each written once: a growing state is not written as a whole.

    A store without these functions is given the parts within the snapshots.
    """

    def has_part(self, name: str) -> bool:
        """Whether there is a part under a name."""
        ...

    def read_part(self, name: str) -> bytes:
        """The part under a name."""
        ...

    def write_part(self, name: str, content: bytes) -> None:
        """Keep a part, whole or not at all."""
        ...

    def drop_parts(self, kept: Set[str]) -> None:
        """Forget the parts that were not kept in this call nor in the one before: no snapshot names them any more."""
        ...


# Locked while a fit writes; its content is nothing.
LOCK = "lock"
# Errors of file systems that have no locks: a second fit is not noticed there.
_LOCKLESS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
# Descriptors of the locks that this process has.
_LOCKS: set[int] = set()


class FolderStore:
    """A folder with one file for each snapshot; a killed writer leaves at least one of them whole.

    ``folder``: made if it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._kept: Set[str] | None = None

    def __str__(self) -> str:
        return str(self._folder)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, content: bytes) -> None:
        latest, written = self._folder / LATEST, self._folder / NEXT
        write_whole(written, lambda file: file.write(content))
        if latest.exists():
            os.replace(latest, self._folder / PREVIOUS)
        os.replace(written, latest)

    def exists(self, name: str) -> bool:
        return (self._folder / name).exists()

    def has_part(self, name: str) -> bool:
        return (self._folder / f"{name}{PART}").exists()

    def read_part(self, name: str) -> bytes:
        return (self._folder / f"{name}{PART}").read_bytes()

    def write_part(self, name: str, content: bytes) -> None:
        write_whole(self._folder / f"{name}{PART}", lambda file: file.write(content))

    def drop_parts(self, kept: Set[str]) -> None:
        # before the second snapshot of this process, one of another process may name any of them
        if self._kept is not None:
            for path in self._folder.glob(f"*{PART}"):
                if path.name.removesuffix(PART) not in kept | self._kept:
                    path.unlink(missing_ok=True)
        self._kept = kept

    def lock(self) -> Callable[[], object]:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlock = partial(_unlock, _locked(self._folder / LOCK))
        unfinished = (*self._folder.glob(f".{NEXT}.*.tmp"), *self._folder.glob(f".*{PART}.*.tmp"))
        for left_by_a_killed_fit in (*unfinished, self._folder / NEXT):
            left_by_a_killed_fit.unlink(missing_ok=True)
        return unlock


def _locked(path: Path) -> int:
    """The descriptor of a file, locked: the lock is the system's, and goes with the process that has it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _LOCKLESS:
            os.close(lock)
            raise
    _LOCKS.add(lock)
    return lock


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
