"""A folder of numbered arrays that were put on this machine for its workers."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Smaller files are read at once: a mapping costs more than they do.
MAP_FROM_BYTES = 1 << 20


class PartFolder:
    """Arrays by number; large ones are mapped, so that pages without room in memory stay on disk.

    ``path``: the folder, from the process that started this one; nothing from the network enters a path but a number.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def file_of(self, number: int) -> str:
        """Where the array of this number lies."""
        if number < 0:
            raise ValueError(f"a part must have a number of at least 0; got {number}.")
        return os.path.join(self.path, f"{number:d}.npy")

    def read(self, number: int) -> NDArray[Any]:
        """The array of this number, of the shape that it was written in (any), read-only; `OSError` where there is none."""
        file = self.file_of(number)
        large = os.path.getsize(file) >= MAP_FROM_BYTES
        return np.asarray(np.load(file, mmap_mode="r" if large else None, allow_pickle=False))

    def write(self, number: int, array: NDArray[Any]) -> None:
        """Put an array there, whole or not at all."""
        file = self.file_of(number)
        # a task that is begun again may meet its predecessor, in a thread of the same process
        unfinished = f"{file}.{secrets.token_hex(4)}"
        try:
            with open(unfinished, "wb") as stream:
                np.save(stream, array, allow_pickle=False)
            os.replace(unfinished, file)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(unfinished)
            raise

    def has(self, number: int) -> bool:
        """Whether it is there."""
        return os.path.isfile(self.file_of(number))

    def remove(self, number: int) -> None:
        """Delete it, if it is there; a process that has mapped it goes on."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.file_of(number))
