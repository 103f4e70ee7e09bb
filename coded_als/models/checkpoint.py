"""Checkpoints of a running fit: snapshots of its state, and when they are written to a store."""

from __future__ import annotations

import hashlib
import io
import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coded_als.checks import require_whole
from coded_als.errors import UsageError
from coded_als.models.checkpoint_store import LATEST, PREVIOUS, CheckpointStore, FolderStore, PartStore

VERSION = b"1"
_NAME = b"coded-als checkpoint "
MAGIC = _NAME + VERSION + b" "


@runtime_checkable
class Digested(Protocol):
    """Ratings that this process does not hold."""

    @property
    def digest(self) -> str:
        """Of all that a fit on them depends on."""
        ...


@dataclass(frozen=True, eq=False)
class Settled:
    """An array of a fit that will not change any more: a store that keeps parts is given it once."""

    array: NDArray[Any]  # of any shape

    @cached_property
    def name(self) -> str:
        """Of the part: the digest of its numbers."""
        return digest(self.array)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a fit between two iterations."""

    iteration: int  # how many iterations are done
    arrays: Mapping[str, Any]  # the solver's arrays by name; those that are written may be `Settled`
    # values that JSON can express: the history so far, the state of random generators
    facts: Mapping[str, Any] = field(default_factory=dict)
    origin: tuple[CheckpointStore, str] | None = None  # the store that it comes from, and its name there

    @contextmanager
    def being_read(self) -> Iterator[None]:
        """Refuse the file, in one line, where the block finds something else in it than its fit would have written."""
        try:
            yield
        except Exception as error:  # there are as many kinds of them as ways to be something else
            raise _refused(self.origin, _reason(error)) from None


def read_snapshot(store: CheckpointStore, name: str) -> tuple[Snapshot, dict[str, Any]]:
    """A snapshot and the identity of its fit.

    Raises UsageError when it cannot be read, is damaged, or is no checkpoint of this version.
    """
    origin = store, name
    try:
        return _unpacked(store.read(name), origin)
    except OSError as error:
        raise _refused(origin, error.strerror or str(error)) from None
    except Exception as error:  # zip, json and NumPy each have errors of their own for bytes that are not theirs
        raise _refused(origin, _reason(error)) from None


def _unpacked(content: bytes, origin: tuple[CheckpointStore, str]) -> tuple[Snapshot, dict[str, Any]]:
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
    arrays |= {name: _part(origin[0], part) for name, part in header.get("parts", {}).items()}
    iteration, facts, identity = header["iteration"], header["facts"], header["identity"]
    if type(iteration) is not int or iteration < 0 or not (isinstance(facts, dict) and isinstance(identity, dict)):
        raise ValueError("its header is of another form")
    return Snapshot(iteration, arrays, facts, origin), identity


def _part(store: CheckpointStore, name: str) -> NDArray[Any]:
    if not isinstance(store, PartStore):
        raise ValueError("it has parts, and this store keeps none")
    array: NDArray[Any] = np.load(io.BytesIO(store.read_part(name)), allow_pickle=False)
    if digest(array) != name:
        raise ValueError(f"the checksum of its part {name[:8]} is wrong")
    return array


def _refused(origin: tuple[CheckpointStore, str] | None, reason: str) -> UsageError:
    remedy = "Start again"
    if origin is not None and origin[1] == LATEST and origin[0].exists(PREVIOUS):
        remedy = f"Delete it to go on from {PREVIOUS}"
    place = LATEST if origin is None else "{}/{}".format(*origin)
    return UsageError(f"a checkpoint must be a complete file of this package; got {place}: {reason}. {remedy}.")


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
    """A dataclass from the mapping that JSON made of one."""
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


def snapshot_bytes(snapshot: Snapshot, identity: Mapping[str, Any], *, apart: bool = False) -> bytes:
    """A snapshot and the identity of its fit as `read_snapshot` reads them; ``apart``: settled arrays are named only."""
    header = {"iteration": snapshot.iteration, "facts": dict(snapshot.facts), "identity": dict(identity)}
    parts = {name: part.name for name, part in _settled(snapshot).items()} if apart else {}
    buffer = io.BytesIO()
    members: dict[str, Any] = {
        f"array/{name}": array.array if isinstance(array, Settled) else array
        for name, array in snapshot.arrays.items()
        if name not in parts
    }
    np.savez(buffer, header=np.array(json.dumps(header | {"parts": parts})), **members)
    body = buffer.getvalue()
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _settled(snapshot: Snapshot) -> dict[str, Settled]:
    return {name: array for name, array in snapshot.arrays.items() if isinstance(array, Settled)}


def _write(store: CheckpointStore, snapshot: Snapshot, identity: Mapping[str, Any]) -> None:
    """Keep a snapshot; of its settled arrays only the new ones, where the store keeps parts."""
    if not isinstance(store, PartStore):
        store.write(snapshot_bytes(snapshot, identity))
        return
    parts = {part.name: part.array for part in _settled(snapshot).values()}
    for name, array in parts.items():
        if not store.has_part(name):
            buffer = io.BytesIO()
            np.save(buffer, array)
            store.write_part(name, buffer.getvalue())
    store.write(snapshot_bytes(snapshot, identity, apart=True))
    store.drop_parts(set(parts))


StateOf = Callable[[], tuple[Mapping[str, Any], Mapping[str, Any]]]


class Checkpoint:
    """A place that a fit writes snapshots to, and resumes from.

    Parameters
    ----------
    folder
        A folder, made if it does not exist, or a store of another kind (`coded_als.models.checkpoint_store`).
    every
        Number of iterations between two snapshots: a killed fit can lose so many.
    resume
        Whether to go on from the checkpoint in the folder. Otherwise a folder that holds a checkpoint is refused.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from coded_als import Checkpoint, CodedALS
    >>> ratings = np.random.default_rng(0).standard_normal((60, 20))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = CodedALS(rank=3, iterations=2).fit(ratings, checkpoint=Checkpoint(folder))
    ...     second = CodedALS(rank=3, iterations=50).fit(ratings, checkpoint=Checkpoint(folder, resume=True))
    >>> second.converged_
    True
    """

    def __init__(self, folder: str | Path | CheckpointStore, *, every: int = 1, resume: bool = False) -> None:
        self.store: CheckpointStore = FolderStore(folder) if isinstance(folder, (str, Path)) else folder
        self.every, self.resume = every, resume
        require_whole("checkpoint_every", every, 1)
        self._identity: dict[str, Any] = {}
        self._held: tuple[int, StateOf] | None = None
        self._unlock: Callable[[], object] = _nothing
        self.iteration: int | None = None

    def begin(self, identity: Mapping[str, Any]) -> Snapshot | None:
        """Return the snapshot to go on from, or None for a fresh start.

        Parameters
        ----------
        identity
            Facts that must be equal for a resumed fit to reach the same result: method, parameters, digest of the data.
            Values that JSON can express.

        Raises
        ------
        UsageError
            When the folder cannot be written, is in use by another fit, holds a checkpoint and ``resume`` is off, or
            holds a damaged checkpoint or one of another fit.
        """
        self._identity = json.loads(json.dumps(dict(identity)))
        try:
            # a checkpoint that is gone must not keep others out
            self._unlock = weakref.finalize(self, self.store.lock())
        except BlockingIOError:
            raise UsageError(
                f"a checkpoint must be written by one fit at a time; another one is writing to {self.store}. "
                "Wait until it has ended, or choose another folder."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        found = next((name for name in (LATEST, PREVIOUS) if self.store.exists(name)), None)
        if found is None:
            return None
        if not self.resume:
            raise UsageError(
                f"a checkpoint must go to a folder without one; {self.store} holds one. Add --resume "
                "(resume=True) to go on from it, or choose another folder."
            )
        return self._accepted(found)

    def note(self, iteration: int, state: StateOf, *, lasting: bool = True) -> None:
        """Write a snapshot when it is due.

        Parameters
        ----------
        iteration
            Number of iterations that are done.
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
        """Write the state noted last, if it has not been written yet.

        Raises
        ------
        UsageError
            When it cannot be written; the one before it is kept.
        """
        if self._held is None:
            return
        iteration, state = self._held
        try:
            _write(self.store, Snapshot(iteration, *state()), self._identity)
        except OSError as error:
            self._held = None
            raise self._unwritable(error) from None
        self._held, self.iteration = None, iteration

    def release(self) -> None:
        """Let other fits have the folder; the end of this process does the same, however it ends."""
        self._unlock()

    def _accepted(self, name: str) -> Snapshot:
        snapshot, identity = read_snapshot(self.store, name)
        if identity != self._identity:
            names = ["method", *sorted({*identity, *self._identity})]
            other = next(name for name in names if identity.get(name) != self._identity.get(name))
            raise UsageError(
                f"a checkpoint must be of the same fit; the one in {self.store} has {other} = {identity.get(other)!r} "
                f"where this fit has {self._identity.get(other)!r}. Resume with the same data and options, or choose "
                "another folder."
            )
        return snapshot

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            f"a checkpoint must go to a folder with write access and room; got {self.store}: "
            f"{error.strerror or error}. Make room or choose another folder; the last good checkpoint is kept."
        )


@contextmanager
def flushed(checkpoint: Checkpoint | None) -> Iterator[None]:
    """Write the state noted last when the block ends, also by an error or Ctrl-C, and then release the folder."""
    try:
        yield
    finally:
        if checkpoint is not None:
            try:
                checkpoint.flush()
            finally:
                checkpoint.release()


def _nothing() -> None:
    """Do nothing: there is no lock to release."""
