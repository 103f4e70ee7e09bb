"""Snapshots of a running fit as files: a line with the SHA-256, then a .npz of plain arrays and one JSON text.

A file is written whole or not at all, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.files import write_whole

MAGIC = b"coded-als checkpoint 1 "
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
    """

    iteration: int
    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


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
            raise ValueError("it is no checkpoint of this version")
        if hashlib.sha256(body).hexdigest().encode() != line.removeprefix(MAGIC):
            raise ValueError("its checksum is wrong")
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {name.removeprefix("array/"): archive[name] for name in archive.files if name.startswith("array/")}
            header = json.loads(str(archive["header"]))
        return Snapshot(int(header["iteration"]), arrays, header["facts"]), header["identity"]
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # zip, json and NumPy each have errors of their own for bytes that are not theirs
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    other = path.with_name(PREVIOUS)
    remedy = f"Delete it to go on from {PREVIOUS}" if path.name == LATEST and other.exists() else "Start again"
    raise UsageError(f"a checkpoint must be a complete file of this package; got {path}: {reason}. {remedy}.")


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
