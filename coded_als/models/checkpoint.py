"""Checkpoints of a running fit: a folder with the latest snapshot and the one before it.

A snapshot is one file: a line with its SHA-256, then a .npz of plain arrays and one JSON text. It is written whole or
not at all, so a killed fit leaves the previous one readable; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.errors import UsageError
from coded_als.models.files import write_whole

MAGIC = b"coded-als checkpoint 1 "
SUFFIX = ".checkpoint"
LATEST, PREVIOUS = f"latest{SUFFIX}", f"previous{SUFFIX}"


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
        self._identity: dict[str, Any] = {}

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
            When the folder cannot be written, holds a checkpoint and ``resume`` is off, or holds a damaged checkpoint
            or one of another fit.
        """
        self._identity = json.loads(json.dumps(dict(identity)))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise self._unwritable(PermissionError(13, "Permission denied"))
        for left_by_a_killed_fit in self.folder.glob(f".*{SUFFIX}.*.tmp"):
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

    def note(self, iteration: int, state: Callable[[], tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]) -> None:
        """Write a snapshot when it is due.

        Parameters
        ----------
        iteration
            How many iterations are done.
        state
            Called for the arrays and facts of the snapshot only when one is written.

        Raises
        ------
        UsageError
            When it cannot be written; the one before it is kept.
        """
        if iteration % self.every:
            return
        arrays, facts = state()
        body = _packed(Snapshot(iteration, arrays, facts), self._identity)
        latest, previous = self._files()
        try:
            if latest.exists():
                os.replace(latest, previous)
            write_whole(latest, lambda file: _write(file, body))
        except OSError as error:
            raise self._unwritable(error) from None

    def _files(self) -> tuple[Path, Path]:
        return self.folder / LATEST, self.folder / PREVIOUS

    def _accepted(self, path: Path) -> Snapshot:
        snapshot, identity = read_snapshot(path)
        if identity != self._identity:
            names = sorted({*identity, *self._identity})
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


def _packed(snapshot: Snapshot, identity: Mapping[str, Any]) -> bytes:
    header = {"iteration": snapshot.iteration, "facts": dict(snapshot.facts), "identity": dict(identity)}
    buffer = io.BytesIO()
    members: dict[str, Any] = {f"array/{name}": array for name, array in snapshot.arrays.items()}
    np.savez(buffer, header=np.array(json.dumps(header)), **members)
    return buffer.getvalue()


def _write(file: IO[bytes], body: bytes) -> None:
    file.write(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n")
    file.write(body)
