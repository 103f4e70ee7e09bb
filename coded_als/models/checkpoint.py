"""Checkpoints of a running fit: a folder with the latest snapshot and the one before it.

A killed fit leaves the previous one readable, whenever that happens.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coded_als.checks import require_whole
from coded_als.errors import UsageError
from coded_als.models.files import write_whole

VERSION = b"1"
_NAME = b"coded-als checkpoint "
MAGIC = _NAME + VERSION + b" "
SUFFIX = ".checkpoint"
LATEST, PREVIOUS, NEXT = f"latest{SUFFIX}", f"previous{SUFFIX}", f"next{SUFFIX}"


@runtime_checkable
class Digested(Protocol):
    """Ratings that this process does not hold."""

    @property
    def digest(self) -> str:
        """Of all that a fit on them depends on."""
        ...


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a fit between two iterations.

    Parameters
    ----------
    iteration
        How many iterations are done.
    arrays
        The solver's arrays by name.
    facts
        What JSON can say: the history so far, the state of random generators.
    path
        The file that it comes from.
    """

    iteration: int
    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """Refuse the file, in one line, where the block finds something else in it than its fit would have written."""
        try:
            yield
        except Exception as error:  # there are as many kinds of them as ways to be something else
            raise _refused(self.path or Path(LATEST), _reason(error)) from None


def read_snapshot(path: Path) -> tuple[Snapshot, dict[str, Any]]:
    """A snapshot and the identity of its fit.

    Raises UsageError when the file cannot be read, is damaged, or is no checkpoint of this version.
    """
    try:
        content = path.read_bytes()
        line, _, body = content.partition(b"\n")
        if not line.startswith(MAGIC):
            version = line.removeprefix(_NAME).partition(b" ")[0].decode("ascii", "replace")
            other = f"a checkpoint of version {version}" if line.startswith(_NAME) else "no checkpoint"
            raise ValueError(f"it is {other}, and this coded-als reads version {VERSION.decode()}")
        if hashlib.sha256(body).hexdigest().encode() != line.removeprefix(MAGIC):
            raise ValueError("its checksum is wrong")
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {name.removeprefix("array/"): archive[name] for name in archive.files if name.startswith("array/")}
            header = json.loads(str(archive["header"]))
        iteration, facts, identity = header["iteration"], header["facts"], header["identity"]
        if type(iteration) is not int or iteration < 0 or not (isinstance(facts, dict) and isinstance(identity, dict)):
            raise ValueError("its header is of another form")
        return Snapshot(iteration, arrays, facts, path), identity
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None
    except Exception as error:  # zip, json and NumPy each have errors of their own for bytes that are not theirs
        raise _refused(path, _reason(error)) from None


def _refused(path: Path, reason: str) -> UsageError:
    other = path.with_name(PREVIOUS)
    remedy = f"Delete it to go on from {PREVIOUS}" if path.name == LATEST and other.exists() else "Start again"
    return UsageError(f"a checkpoint must be a complete file of this package; got {path}: {reason}. {remedy}.")


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is not there"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def arrays_like(
    found: Mapping[str, NDArray[Any]], /, **wanted: NDArray[Any] | tuple[int | str, ...]
) -> dict[str, NDArray[Any]]:
    """The arrays of a snapshot by name, finite, with their squares, and of the shapes (rows, columns) that a fit would have written.

    Raises ValueError for other names, types, shapes, or numbers that are not finite.
    """
    if set(found) != set(wanted):
        raise ValueError(f"it holds {', '.join(sorted(found)) or 'nothing'} in place of {', '.join(sorted(wanted))}")
    sizes: dict[str, int] = {}
    for name, like in wanted.items():
        array = found[name]
        dtype, shape = (np.dtype(np.float64), like) if isinstance(like, tuple) else (like.dtype, like.shape)
        fits = len(shape) == array.ndim and all(
            (sizes.setdefault(size, there) if isinstance(size, str) else size) == there
            for size, there in zip(shape, array.shape, strict=True)
        )
        if array.dtype != dtype or not fits or not _is_bounded(array):
            raise ValueError(
                f"{name} must be finite numbers, {dtype} of shape {shape}; it is {array.dtype} of {array.shape}"
            )
    return dict(found)


def _is_bounded(array: NDArray[Any]) -> bool:
    """Whether all numbers and their squares are finite, as those of every fit that has not diverged are."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.square(array) if array.dtype.kind == "f" else array).all())


Record = TypeVar("Record")


def record_of(kind: type[Record], entry: Any) -> Record:
    """A dataclass from what JSON made of one.

    Raises ValueError, TypeError where a field is missing, unknown or of another type.
    """
    hints = get_type_hints(kind)
    if not isinstance(entry, dict) or not all(_is_of(value, hints.get(name)) for name, value in entry.items()):
        raise ValueError(f"{str(entry)[:80]} is no {kind.__name__}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()})


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value that JSON has read is of a type: a number, text, one of some words, or a tuple of one type."""
    if get_origin(hint) is tuple:
        return isinstance(value, list) and all(_is_of(one, get_args(hint)[0]) for one in value)
    if get_args(hint):
        return value in get_args(hint)
    return type(value) in ((int, float) if hint is float else (hint,))


def write_snapshot(path: Path, snapshot: Snapshot, identity: Mapping[str, Any]) -> None:
    """Write a snapshot, whole or not at all.

    Raises OSError when it cannot be written.
    """
    body = _packed(snapshot, identity)
    write_whole(path, lambda file: _write(file, body))


def digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays, their types and shapes included: the data's part of a fit's identity."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(f"{array.dtype.str}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def digest_of(matrix: Any) -> str:
    """`digest` of ratings, (m, n): an array, a csr array in canonical form, or part files that know theirs."""
    if isinstance(matrix, Digested):
        return matrix.digest
    if isinstance(matrix, np.ndarray):
        return digest(matrix)
    return digest(np.array(matrix.shape), matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)


def _packed(snapshot: Snapshot, identity: Mapping[str, Any]) -> bytes:
    header = {"iteration": snapshot.iteration, "facts": dict(snapshot.facts), "identity": dict(identity)}
    buffer = io.BytesIO()
    members: dict[str, Any] = {f"array/{name}": array for name, array in snapshot.arrays.items()}
    np.savez(buffer, header=np.array(json.dumps(header)), **members)
    return buffer.getvalue()


def _write(file: IO[bytes], body: bytes) -> None:
    file.write(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
    file.write(body)


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
