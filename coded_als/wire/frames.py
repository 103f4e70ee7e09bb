"""Arrays in messages: each in a frame of its own, or in memory that sender and receiver share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from coded_als.errors import CodedALSError
from coded_als.wire.memory import SharedMemory, SharedMemoryView

FLOAT, SHORT, WHOLE = np.dtype("<f8"), np.dtype("<f4"), np.dtype("<i4")
DTYPES = {dtype.str: dtype for dtype in (FLOAT, SHORT, WHOLE)}
# Below this size a copy is cheaper than telling Python that ZeroMQ has let go of an array (measured on loopback).
COPY_BELOW_BYTES = 1 << 18
MOST_DIMENSIONS = 8


class WireError(CodedALSError):
    """A message is not one of ours."""


@dataclass(frozen=True)
class Packed:
    """Arrays on their way.

    Parameters
    ----------
    described
        For the header: type and shape of each, and its offset in bytes where it lies in shared memory.
    frames
        The others.
    """

    described: tuple[tuple[Any, ...], ...]
    frames: tuple[zmq.Frame, ...]


def packed(
    arrays: Sequence[NDArray[Any]], memory: SharedMemory | None = None, dtype: np.dtype[Any] | None = None
) -> Packed:
    """Arrays, to be sent to any number of workers; ``dtype``: of all numbers but places, by default float32 stays."""
    described: list[tuple[Any, ...]] = []
    frames = []
    for array in arrays:
        numbers = (SHORT if array.dtype == SHORT else FLOAT) if dtype is None else dtype.newbyteorder("<")
        own = WHOLE if array.dtype == WHOLE else numbers
        place = memory.put(array, own) if memory is not None and own != WHOLE else None
        if place is None:
            frames.append(_frame(array, own))
        described.append((own.str, array.shape) if place is None else (own.str, array.shape, place))
    return Packed(tuple(described), tuple(frames))


def _frame(array: NDArray[Any], dtype: np.dtype[Any]) -> zmq.Frame:
    contiguous = np.ascontiguousarray(array, dtype=dtype)
    # a flat view, because ZeroMQ takes no buffer with a zero among its dimensions
    return zmq.Frame(contiguous.reshape(-1).data, copy=contiguous.nbytes < COPY_BELOW_BYTES)


def unpacked(description: Any, frames: Iterator[Any], memory: SharedMemoryView | None) -> NDArray[Any]:
    """A read-only array (of its description's shape) in its own frame or in shared memory, once sizes agree."""
    match description:
        case [str(name), [*shape], *place] if name in DTYPES and len(shape) <= MOST_DIMENSIONS and len(place) <= 1:
            dtype = DTYPES[name]
        case _:
            raise WireError(f"an array must be described by one of {', '.join(DTYPES)} and a shape.")
    if any(type(length) is not int or length < 0 for length in (*shape, *place)):
        raise WireError("a shape and an offset must hold whole numbers >= 0.")
    data = _bytes_of(dtype, shape, frames, memory, *place)
    try:
        array = np.frombuffer(data, dtype=dtype) if data.nbytes else np.empty(0, dtype)
        array = array.reshape(shape)
    except ValueError:  # an empty array with axes longer than NumPy can count
        raise WireError(f"an array must be one that NumPy can hold; got shape {tuple(shape)}.") from None
    # small frames may lie anywhere in ZeroMQ's receive buffer, and BLAS wants alignment
    return array if array.flags.aligned else array.copy()


def _bytes_of(
    dtype: np.dtype[Any],
    shape: Sequence[int],
    frames: Iterator[Any],
    memory: SharedMemoryView | None,
    offset: int | None = None,
) -> memoryview:
    """The bytes of an array, which must be as many as its shape says."""
    size_bytes = dtype.itemsize * math.prod(shape)
    if offset is None:
        frame = next(frames, None)
        if frame is None:
            raise WireError("every array must have its frame; there are fewer frames than arrays.")
        data = memoryview(frame)
    elif memory is None or dtype == WHOLE:
        raise WireError("an array must have a frame of its own where no memory is shared, and places anywhere.")
    else:
        data = memory.read(offset, size_bytes)
    if data.nbytes != size_bytes:
        raise WireError(f"an array must have its size in bytes, {size_bytes}; got {data.nbytes}.")
    return data
