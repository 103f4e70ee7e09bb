"""The messages between master and workers: one header frame and raw array frames.

The header is a msgpack list; every array follows in a frame of its own, C order, little-endian: float64, or int32
where the array is one (the places of sparse entries). A float64 array may lie in memory that both share instead, at an
offset that the header says. Nothing is ever unpickled, and `decode` looks at no array before version, types, shapes and
byte counts agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import msgpack
import zmq
from numpy.typing import NDArray

from coded_als.wire.arrays import Packed, WireError, packed, unpacked
from coded_als.wire.memory import SharedMemoryView

Stamp = tuple[str, int]

VERSION = 4
MOST_HEADER_BYTES = 1 << 16


class Kind(IntEnum):
    """What a message is about; those from 16 on are a worker's."""

    STORE = 1
    TASK = 2
    STOP = 4
    PING = 5
    RETAIN = 6
    WELCOME = 7
    LOAD = 8
    CANCEL = 9
    HELLO = 16
    STORED = 17
    RESULT = 18
    SUPERSEDED = 19
    REFUSED = 20
    ERROR = 21
    ALIVE = 22
    ABSENT = 23


@dataclass(frozen=True, slots=True)
class Message:
    """One message in either direction; a kind uses the fields that it needs.

    Parameters
    ----------
    kind
        What it is about.
    job
        Secret of the cluster: what does not carry it is foreign.
    worker
        Who it is for, or from.
    round_index, attempt
        The task that it belongs to.
    kernel
        A name in `coded_als.kernels.KERNELS`.
    operands
        Name and version of the stored arrays that the task needs; RETAIN: of all that the worker may still hold.
    keep
        Name and version under which the worker keeps the first arrays of this message.
    delay_s
        Seconds to wait before the work; may be infinite.
    waited_s, computed_s
        Seconds that the worker spent on the task.
    number
        HELLO: the process id; LOAD: which part that lies on the worker's machine it is to keep.
    text
        ERROR, REFUSED, STOP, ABSENT: why; HELLO: the name of the memory that the worker shares with the master, if any.
    arrays
        Float64 or int32, sent in C order. Decoded ones are read-only views of the received frames, or of shared memory.
    """

    kind: Kind
    job: bytes
    worker: int
    round_index: int = 0
    attempt: int = 0
    kernel: str = ""
    operands: tuple[Stamp, ...] = ()
    keep: tuple[Stamp, ...] = ()
    delay_s: float = 0.0
    waited_s: float = 0.0
    computed_s: float = 0.0
    number: int = 0
    text: str = ""
    arrays: tuple[NDArray[Any], ...] = ()


def encode(message: Message, arrays: Packed | None = None) -> list[bytes | zmq.Frame]:
    """The frames of a message.

    Parameters
    ----------
    message
        What to say. Its large arrays are not copied: they must not change until they are sent.
    arrays
        ``message.arrays``, where they have been packed already.
    """
    arrays = packed(message.arrays) if arrays is None else arrays
    header = msgpack.packb(
        (
            VERSION,
            message.kind,
            message.job,
            message.worker,
            message.round_index,
            message.attempt,
            message.kernel,
            message.operands,
            message.keep,
            message.delay_s,
            message.waited_s,
            message.computed_s,
            message.number,
            message.text,
            arrays.described,
        )
    )
    return [header, *arrays.frames]


def decode(frames: Sequence[Any], memory: SharedMemoryView | None = None) -> Message:
    """The message that these frames (buffers) carry.

    Parameters
    ----------
    frames
        A header and what follows.
    memory
        What is shared with the sender.

    Raises
    ------
    WireError
        For whatever `encode` would not have written.
    """
    if not frames:
        raise WireError("a message must have a header; got no frame.")
    header = _unpack(frames[0])
    described = header.pop()
    if not isinstance(described, list):
        raise WireError("the header must describe all arrays.")
    rest = iter(frames[1:])
    arrays = tuple(unpacked(description, rest, memory) for description in described)
    if next(rest, None) is not None:
        raise WireError(f"the header must describe all {len(frames) - 1} array frames.")
    types = tuple(map(type, header))
    if types != _TYPES:
        raise WireError(f"the header fields must be of the types {_TYPES}; got {types}.")
    return _message(*header, arrays)


def _message(
    kind: int,
    job: bytes,
    worker: int,
    round_index: int,
    attempt: int,
    kernel: str,
    operands: list[Any],
    keep: list[Any],
    delay_s: float,
    waited_s: float,
    computed_s: float,
    *rest: Any,
) -> Message:
    """The message, once its fields have the right types."""
    try:
        known = Kind(kind)
    except ValueError:
        raise WireError(f"the kind of a message must be known; got {kind}.") from None
    seconds = delay_s, waited_s, computed_s
    if not all(value >= 0 for value in seconds):  # NaN is not, either
        raise WireError(f"times must be at least 0 seconds; got {seconds}.")
    stamps = _stamps(operands), _stamps(keep)
    return Message(known, job, worker, round_index, attempt, kernel, *stamps, *seconds, *rest)


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes | zmq.Frame]) -> None:
    """Hand a message to ZeroMQ without waiting.

    Parameters
    ----------
    socket
        A socket that has room.
    frames
        The message.
    """
    for frame in frames[:-1]:
        socket.send(frame, _MORE, copy=False)
    socket.send(frames[-1], _LAST, copy=False)


def has_message(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received: cheaper than to try and fail."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _READABLE)


# Plain numbers: arithmetic on pyzmq's enumerations costs more than a small message.
_LAST, _MORE, _READABLE = int(zmq.DONTWAIT), int(zmq.DONTWAIT | zmq.SNDMORE), int(zmq.POLLIN)

# Python's types of the header fields after the version and before the array descriptions.
_TYPES = (int, bytes, int, int, int, str, list, list, float, float, float, int, str)
assert len(_TYPES) == len(fields(Message)) - 1


def _unpack(frame: Any) -> list[Any]:
    """The header's fields without the version."""
    data = memoryview(frame)
    if data.nbytes > MOST_HEADER_BYTES:
        raise WireError(f"a header must have at most {MOST_HEADER_BYTES} bytes; got {data.nbytes}.")
    try:
        header = msgpack.unpackb(data)
    except Exception as error:  # hostile bytes make msgpack raise half a dozen unrelated types
        raise WireError(f"a header must be msgpack; got {type(error).__name__}: {error}") from None
    if not isinstance(header, list) or not header or header[0] != VERSION or type(header[0]) is not int:
        raise WireError(f"a header must be a list of protocol version {VERSION}.")
    if len(header) != len(_TYPES) + 2:
        raise WireError(f"a header must have {len(_TYPES) + 2} fields; got {len(header)}.")
    return header[1:]


def _stamps(value: list[Any]) -> tuple[Stamp, ...]:
    """Names with their versions."""
    for stamp in value:
        match stamp:
            case [str(), int()]:
                continue
        raise WireError("a stored array must be given by its name and its version.")
    return tuple((name, version) for name, version in value)
