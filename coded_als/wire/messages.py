"""The messages between master and workers: a class for each kind, in one header frame and raw array frames.

The header is a msgpack list: version, kind, and the fields of the kind's class in their order. Every array follows in a
frame of its own, C order, little-endian: float64, or float32 or int32 (the places of sparse entries) where the array is one. An
array of numbers may lie in memory that both share instead, at an offset that the header says. Nothing is ever unpickled, and
`decode` looks at no array before version, kind and fields are right, and at no byte of an array before its type, shape
and byte count agree.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Annotated, Any, ClassVar, get_type_hints

import msgpack
import zmq
from numpy.typing import NDArray

from coded_als.wire.frames import Packed, WireError, packed, unpacked
from coded_als.wire.memory import SharedMemoryView

# The name of a stored array and its version.
Stamp = tuple[str, int]
# A whole number of at least 0.
Natural = Annotated[int, "natural"]

VERSION = 8
MOST_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Message:
    """A message in either direction."""

    code: ClassVar[int] = 0  # of the kind, in the header

    job: bytes  # secret of the cluster: a message without it is foreign
    worker: int  # number of the worker that it is for, or from; -1 where it has none


class FromMaster(Message):
    """A message that a master sends."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Store(FromMaster):
    """An array to keep under a name until it is replaced or not to be retained."""

    code: ClassVar[int] = 1

    name: str
    version: Natural
    arrays: tuple[NDArray[Any], ...]

    def __post_init__(self) -> None:
        if len(self.arrays) != 1:
            raise WireError(f"a store must bring one array; got {len(self.arrays)}.")


@dataclass(frozen=True, slots=True)
class Load(FromMaster):
    """A part (`coded_als.cluster.scope.Part`) that lies on the worker's machine, to keep like a stored array."""

    code: ClassVar[int] = 2

    name: str
    version: Natural
    part: Natural


@dataclass(frozen=True, slots=True)
class Retain(FromMaster):
    """The stored arrays that the worker may keep; it forgets all others."""

    code: ClassVar[int] = 3

    stored: tuple[Stamp, ...]


@dataclass(frozen=True, slots=True)
class Task(FromMaster):
    """A worker's part of a round."""

    code: ClassVar[int] = 4

    round_index: Natural
    attempt: Natural  # how often the round's task was sent to this worker before
    kernel: str  # a name in `coded_als.kernels.KERNELS`
    operands: tuple[Stamp, ...] = ()  # the stored arrays that the kernel takes, before ``arrays``
    keep: tuple[Stamp, ...] = ()  # names and versions under which the worker keeps the first of ``arrays``
    delay_s: float = 0.0  # seconds to wait before the work; may be infinite
    slowness: float = 1.0  # how many times as long as usual the work is to take
    # pieces of the response, and the one that comes first; the others follow in cyclic order. One: the whole response
    pieces: Natural = 1
    start: Natural = 0
    unasked: Natural = 0  # pieces that the worker does and answers before it is asked for more; 0: all
    # seconds after which the worker answers with its finished pieces, without a word before; infinite: when it is asked
    due_s: float = math.inf
    # float64 or int32, sent in C order; decoded ones are read-only views of the received frames, or of shared memory
    arrays: tuple[NDArray[Any], ...] = ()

    def __post_init__(self) -> None:
        if len(self.keep) > len(self.arrays):
            raise WireError(
                f"a task must bring the arrays to keep; got {len(self.keep)} names, {len(self.arrays)} arrays."
            )
        if not 0 <= self.start < self.pieces:
            raise WireError(f"a task must begin with one of its pieces; got {self.start} of {self.pieces}.")


@dataclass(frozen=True, slots=True)
class Cancel(FromMaster):
    """The response to this task is no longer needed."""

    code: ClassVar[int] = 5

    round_index: Natural
    attempt: Natural


@dataclass(frozen=True, slots=True)
class Ping(FromMaster):
    """The worker owes a sign of life."""

    code: ClassVar[int] = 6


@dataclass(frozen=True, slots=True)
class Welcome(FromMaster):
    """``worker`` is the number of a worker that had none."""

    code: ClassVar[int] = 7


@dataclass(frozen=True, slots=True)
class Stop(FromMaster):
    """The worker is to end."""

    code: ClassVar[int] = 8

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ask(FromMaster):
    """A request for the finished pieces of this task, as soon as there are so many; for 0, at once."""

    code: ClassVar[int] = 9

    round_index: Natural
    attempt: Natural
    pieces: Natural


class FromWorker(Message):
    """A message that a worker sends."""

    __slots__ = ()


# The number of a worker to which the master gives one.
ANY_NUMBER = -1


@dataclass(frozen=True, slots=True)
class Hello(FromWorker):
    """The introduction of a worker, once for each connection; the number `ANY_NUMBER` asks for any that is free."""

    code: ClassVar[int] = 16

    process_id: Natural  # of the worker, on its machine
    memory: str = ""  # name of the memory that the worker shares with the master, empty without any


@dataclass(frozen=True, slots=True)
class Alive(FromWorker):
    """A sign of life."""

    code: ClassVar[int] = 17


@dataclass(frozen=True, slots=True)
class Acknowledged(FromWorker):
    """An array has been stored or loaded."""

    code: ClassVar[int] = 18

    version: Natural


@dataclass(frozen=True, slots=True)
class Absent(FromWorker):
    """A part could not be loaded."""

    code: ClassVar[int] = 19

    version: Natural
    reason: str


@dataclass(frozen=True, slots=True)
class Reply(FromWorker):
    """The fate of a task, in the worker's words."""

    round_index: Natural
    attempt: Natural


@dataclass(frozen=True, slots=True)
class Response(Reply):
    """The result of a task, after so many seconds of waiting and of computing."""

    code: ClassVar[int] = 20

    waited_s: float = 0.0
    computed_s: float = 0.0
    arrays: tuple[NDArray[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Word(Reply):
    """So many pieces of a task are done; seconds as of an `Answer`."""

    code: ClassVar[int] = 24

    done: Natural
    waited_s: float = 0.0
    computed_s: float = 0.0
    begun_s: float = 0.0
    sent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer(Reply):
    """Pieces of a task, after so many seconds of waiting and of computing."""

    code: ClassVar[int] = 25

    done: Natural  # pieces, with these
    waited_s: float = 0.0  # of all its pieces until then, as the seconds of computing
    computed_s: float = 0.0
    # when the work began, and when this was sent, in seconds since the worker has had the task
    begun_s: float = 0.0
    sent_s: float = 0.0
    # one: the rows of the pieces that were done since the last answer, one after the other
    arrays: tuple[NDArray[Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Superseded(Reply):
    """The task was dropped, for a newer one or because it was cancelled."""

    code: ClassVar[int] = 21


@dataclass(frozen=True, slots=True)
class Refused(Reply):
    """The task cannot be carried out: operands of it are not there in their versions."""

    code: ClassVar[int] = 22

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure(Reply):
    """The kernel raised an exception."""

    code: ClassVar[int] = 23

    reason: str = ""


# every class above that has a code
MESSAGES: tuple[type[Message], ...] = tuple(
    kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Message) and kind.code
)


def encode(message: Message, arrays: Packed | None = None) -> list[bytes | zmq.Frame]:
    """The frames of a message."""
    layout = _LAYOUTS[message.code]
    header = [VERSION, message.code, *layout.values(message)]
    if not layout.has_arrays:
        return [msgpack.packb(header)]
    arrays = packed(header[-1]) if arrays is None else arrays
    header[-1] = arrays.described
    return [msgpack.packb(header), *arrays.frames]


def decode(frames: Sequence[Any], memory: SharedMemoryView | None = None) -> Message:
    """The message that these frames (buffers) carry; `WireError` for all that `encode` would not have written.

    ``memory``: that which is shared with the sender; arrays may lie there.
    """
    if not frames:
        raise WireError("a message must have a header; got no frame.")
    code, *values = _unpack(frames[0])
    layout = _LAYOUTS.get(code) if type(code) is int else None
    if layout is None:
        raise WireError(f"the kind of a message must be known; got {code!r}.")
    if len(values) != len(layout.readers) + layout.has_arrays:
        raise WireError(f"a header must have the fields of {layout.kind.__name__}; got {len(values)}.")
    read = [reader(value) for reader, value in zip(layout.readers, values, strict=False)]
    rest = iter(frames[1:])
    if layout.has_arrays:
        described = values[-1]
        if not isinstance(described, list):
            raise WireError("the header must describe all arrays.")
        read.append(tuple(unpacked(description, rest, memory) for description in described))
    if next(rest, None) is not None:
        raise WireError(f"the header must describe all {len(frames) - 1} array frames.")
    return layout.kind(*read)


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes | zmq.Frame]) -> None:
    """Hand a message to ZeroMQ without waiting."""
    for frame in frames[:-1]:
        socket.send(frame, _MORE, copy=False)
    socket.send(frames[-1], _LAST, copy=False)


def has_message(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received: cheaper than to try and fail."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _READABLE)


def next_event(monitor: zmq.Socket[bytes]) -> int:
    """The next event of a monitored socket, one of pyzmq's ``EVENT_`` numbers.

    pyzmq's own function imports asyncio, which would take a tenth of the start of a worker.
    """
    event, _ = monitor.recv_multipart()
    return int.from_bytes(event[:2], sys.byteorder)


# Plain numbers: arithmetic on pyzmq's enumerations costs more than a small message.
_LAST, _MORE, _READABLE = int(zmq.DONTWAIT), int(zmq.DONTWAIT | zmq.SNDMORE), int(zmq.POLLIN)


def _unpack(frame: Any) -> list[Any]:
    """The header's kind and fields."""
    data = memoryview(frame)
    if data.nbytes > MOST_HEADER_BYTES:
        raise WireError(f"a header must have at most {MOST_HEADER_BYTES} bytes; got {data.nbytes}.")
    try:
        header = msgpack.unpackb(data)
    except Exception as error:  # hostile bytes make msgpack raise half a dozen unrelated types
        raise WireError(f"a header must be msgpack; got {type(error).__name__}: {error}") from None
    if not isinstance(header, list) or len(header) < 2 or header[0] != VERSION or type(header[0]) is not int:
        raise WireError(f"a header must be a list of protocol version {VERSION}, with a kind.")
    return header[1:]


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise WireError(f"a secret must be bytes; got {type(value).__name__}.")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise WireError(f"a name or a reason must be text; got {type(value).__name__}.")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:  # True is none
        raise WireError(f"a number must be a whole number; got {type(value).__name__}.")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise WireError(f"an index, a version or a count must be a whole number of at least 0; got {value!r:.40}.")
    return value


def _seconds(value: Any) -> float:
    if type(value) is not float or not value >= 0:  # NaN is not, either
        raise WireError(f"times must be at least 0 seconds; got {value!r:.40}.")
    return value


def _stamps(value: Any) -> tuple[Stamp, ...]:
    if type(value) is not list:
        raise WireError(f"stored arrays must be a list; got {type(value).__name__}.")
    for stamp in value:
        match stamp:
            case [str(), int(version)] if type(version) is int and version >= 0:
                continue
        raise WireError("a stored array must be given by its name and its version.")
    return tuple((name, version) for name, version in value)


# How a field is checked, by its annotation; arrays follow the header, so they are read after the other fields.
_READERS: dict[Any, Callable[[Any], Any]] = {
    bytes: _bytes,
    str: _text,
    int: _whole,
    Natural: _natural,
    float: _seconds,
    tuple[Stamp, ...]: _stamps,
}
_ARRAYS = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class _Layout:
    """The fields of a kind in the header."""

    kind: type[Message]
    values: Callable[[Message], tuple[Any, ...]]
    readers: tuple[Callable[[Any], Any], ...]
    has_arrays: bool

    @classmethod
    def of(cls, kind: type[Message]) -> _Layout:
        names = [field.name for field in fields(kind)]
        hints = get_type_hints(kind, include_extras=True)
        has_arrays = hints[names[-1]] == _ARRAYS
        read = names[:-1] if has_arrays else names
        return cls(kind, attrgetter(*names), tuple(_READERS[hints[name]] for name in read), has_arrays)


_LAYOUTS = {kind.code: _Layout.of(kind) for kind in MESSAGES}
assert len(_LAYOUTS) == len(MESSAGES)
