"""Memory of a master that workers of its machine read: a payload lies there once, and need not be sent to each of them.

The next round overwrites the memory. A straggler that still computes on the old payload then gets a wrong response, which
is late and never counts. So the master puts no array there that outlives a round, and no places of sparse entries, which
compiled loops follow unseen.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
import sys
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Of all payloads of a round together; larger ones are sent. Pages that no process has written to cost nothing.
MOST_BYTES = 64 << 20
_ALIGNMENT = 64
# Linux: not shorter, not longer, no other seals, and no mapping but the first one writes (which Python does not name).
_SEALS = 0x1 | 0x2 | 0x4 | 0x10


class SharedMemory:
    """The master's side: it alone writes.

    Parameters
    ----------
    size_bytes
        How much there is.

    Raises
    ------
    OSError
        Where the system refuses memory, or to keep others from writing to it.
    """

    def __init__(self, size_bytes: int = MOST_BYTES) -> None:
        if sys.platform != "linux":
            raise OSError("memory without a file must be available; this system has none")
        self.name = f"coded-als-{secrets.token_hex(8)}"
        self._map: mmap.mmap | None = None
        self._descriptor = os.memfd_create(self.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._descriptor, size_bytes)
            self._map = mmap.mmap(self._descriptor, size_bytes)
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            self.close()
            raise
        self._used, self._size = 0, size_bytes

    @property
    def place(self) -> str:
        """Where processes of this user on this machine find it."""
        return f"{os.getpid()}:{self._descriptor}:{self.name}"

    def clear(self) -> None:
        """Forget the arrays that lie there."""
        self._used = 0

    def put(self, array: NDArray[Any], dtype: np.dtype[Any]) -> int | None:
        """Copy an array there, C order; its offset in bytes, or None where it has no room."""
        offset, size_bytes = self._used, dtype.itemsize * array.size
        if size_bytes > self._size - offset:
            return None
        assert self._map is not None
        np.frombuffer(self._map, dtype, array.size, offset).reshape(array.shape)[...] = array
        self._used = offset + -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
        return offset

    def close(self) -> None:
        """Let go of it, and of the descriptor that the mapping has besides; processes that have opened it keep it."""
        os.close(self._descriptor)
        if self._map is not None:
            with contextlib.suppress(BufferError):  # an exception still shows an array there
                self._map.close()


class SharedMemoryView:
    """A worker's side: it reads.

    Parameters
    ----------
    descriptor
        File descriptor of the memory.
    name
        The master's name for it.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._map = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)

    @classmethod
    def open(cls, place: str) -> Self | None:
        """The memory at a `SharedMemory.place`, or None where this process cannot see it: on another machine, for one."""
        process_id, descriptor, name = place.split(":")
        path = f"/proc/{int(process_id)}/fd/{int(descriptor)}"
        try:
            # no other memory has this name: another file with those numbers on another machine is not opened
            if not os.readlink(path).startswith(f"/memfd:{name} "):
                return None
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return cls(opened, name)
        except (OSError, ValueError):
            return None
        finally:
            os.close(opened)

    def read(self, offset: int, size_bytes: int) -> memoryview:
        """Some bytes; fewer where it has no more."""
        return memoryview(self._map)[offset : offset + size_bytes]


def shared_memory() -> SharedMemory | None:
    """Memory to share with workers of this machine, where the system has it."""
    try:
        return SharedMemory()
    except OSError:
        return None
