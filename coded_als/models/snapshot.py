"""Snapshots of a running fit as files: a line with the SHA-256, then a .npz of plain arrays and one JSON text.

A file is written whole or not at all, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UsageError
        When the file cannot be read, is damaged, or is no checkpoint of this version.
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

    Parameters
    ----------
    found
        By name.
    **wanted
        For each name an array of its type and shape, or the shape of one of float64; letters stand for sizes that are the
        same everywhere.

    Raises
    ------
    ValueError
        For other names, types, shapes, or numbers that are not finite.
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

    Parameters
    ----------
    kind
        Its class.
    entry
        A value for each field, with lists for tuples.

    Raises
    ------
    ValueError, TypeError
        Where a field is missing, unknown or of another type.
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

    Parameters
    ----------
    path
        The file.
    snapshot
        What it holds.
    identity
        Of its fit.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    body = _packed(snapshot, identity)
    write_whole(path, lambda file: _write(file, body))


def digest(*arrays: NDArray[Any]) -> str:
    """SHA-256 of arrays, their types and shapes included: the data's part of a fit's identity.

    Parameters
    ----------
    *arrays
        Of any shape.
    """
    state = hashlib.sha256()
    for array in arrays:
        state.update(f"{array.dtype.str}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def digest_of(matrix: Any) -> str:
    """`digest` of ratings, (m, n): an array, a csr array in canonical form, or part files that know theirs.

    Parameters
    ----------
    matrix
        The ratings.
    """
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
