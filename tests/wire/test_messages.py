"""The wire: what is encoded comes back, and hostile bytes raise nothing but `WireError`."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, get_type_hints

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from coded_als.wire import Message, Response, Store, Task, decode, encode
from coded_als.wire.frames import COPY_BELOW_BYTES, FLOAT, WireError, packed
from coded_als.wire.messages import MESSAGES, VERSION, Natural, Stamp
from tests.fuzz_wire import bytes_of_frames, frames_of_bytes, read, seeds, without_arrays

WHOLE = st.integers(0, 2**31)
STAMPS = st.lists(st.tuples(st.text(max_size=8), WHOLE), max_size=3).map(tuple)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = st.lists(hnp.arrays(np.float64, SHAPES) | hnp.arrays(np.int32, SHAPES), max_size=3).map(tuple)
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.binary(max_size=16),
    str: st.text(max_size=20),
    int: st.integers(-1, 2**31),
    Natural: WHOLE,
    float: st.floats(0, math.inf),
    tuple[Stamp, ...]: STAMPS,
    tuple[NDArray[Any], ...]: ARRAYS,
}


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """A message of any kind, from the annotations of its fields."""
    kind = draw(st.sampled_from(MESSAGES))
    values = {name: draw(FIELDS[hint]) for name, hint in hints_of(kind).items()}
    if kind is Store:
        values["arrays"] = (draw(hnp.arrays(np.float64, SHAPES)),)
    if kind is Task:
        values["keep"] = values["keep"][: len(values["arrays"])]
        values["pieces"] = max(1, values["pieces"])
        values["start"] %= values["pieces"]
    return kind(**values)


def hints_of(kind: type[Message]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


HEADER = Response(b"job", 3, 0, 0, arrays=(np.ones((2, 3)),))


def as_bytes(frames: list[bytes | zmq.Frame]) -> list[bytes]:
    return [bytes(frame) for frame in frames]


@settings(max_examples=100)
@given(messages())
def test_a_message_comes_back(message: Message) -> None:
    decoded = decode(as_bytes(encode(message)))
    assert without_arrays(decoded) == without_arrays(message)
    for got, sent in zip(getattr(decoded, "arrays", ()), getattr(message, "arrays", ()), strict=True):
        np.testing.assert_array_equal(got, sent)
        assert (got.shape, got.dtype) == (sent.shape, sent.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, ">i4", ">f8", bool])
def test_other_types_travel_as_float64(dtype: Any) -> None:
    (got,) = decode(as_bytes(encode(Response(b"", 0, 0, 0, arrays=(np.array([0, 1], dtype=dtype),))))).arrays
    assert (got.dtype, got.tolist()) == (FLOAT, [0.0, 1.0])


@pytest.mark.parametrize("array", [np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::3]])
def test_other_memory_orders_are_sent_in_c_order(array: np.ndarray) -> None:
    (got,) = decode(as_bytes(encode(Response(b"", 0, 0, 0, arrays=(array,))))).arrays
    np.testing.assert_array_equal(got, array)


def test_received_arrays_are_aligned_and_read_only() -> None:
    frames = as_bytes(encode(HEADER))
    shifted = memoryview(b"x" + frames[1])[1:]
    (array,) = decode([frames[0], shifted]).arrays
    assert array.flags.aligned
    (array,) = decode(frames).arrays
    assert not array.flags.writeable


def test_small_arrays_are_copied_and_large_ones_are_not() -> None:
    small, large = np.zeros(10), np.zeros(COPY_BELOW_BYTES // 8)
    frames = packed((small, large)).frames
    small[:], large[:] = 1.0, 1.0
    assert [np.frombuffer(frame, dtype=FLOAT).sum() > 0 for frame in frames] == [False, True]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=64), max_size=4))
def test_random_bytes_raise_only_wire_errors(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(frames)


JSONISH: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=4)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=8,
)


@settings(max_examples=300)
@given(messages(), st.integers(0, 9), JSONISH, st.booleans())
def test_no_forged_field_raises_anything_else(message: Message, index: int, value: Any, extra: bool) -> None:
    frames = as_bytes(encode(message))
    header = msgpack.unpackb(frames[0])
    header[index % len(header)] = value
    if extra:
        header.append(value)
    try:
        decoded = decode([msgpack.packb(header), *frames[1:]])
    except WireError:
        return
    # what is accepted has fields of the right types: it is written and read again as the same
    assert without_arrays(decode(as_bytes(encode(decoded)))) == without_arrays(decoded)


SAID_WRONG: dict[Any, list[Any]] = {
    bytes: ["text", 1, None],
    str: [b"bytes", 1, None, ["a"]],
    int: [1.0, True, "1", None],
    Natural: [-1, -(2**63), 1.0, True, "1", None],
    float: [-1.0, math.nan, -math.inf, 1, True, "1s", None],
    tuple[Stamp, ...]: [
        "a",
        {"a": 1},
        [["a"]],
        [["a", -1]],
        [["a", True]],
        [[1, "a"]],
        [["a", 1, 2]],
        [["a", 1.0]],
        None,
    ],
    tuple[NDArray[Any], ...]: [None, {}, 1, "<f8", [1], [["<f4", [1]]]],
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_field_of_every_kind_is_checked(kind: type[Message]) -> None:
    seed = next(seed for seed in seeds() if isinstance(decode(frames_of_bytes(seed)), kind))
    header, *frames = frames_of_bytes(seed)
    for place, hint in enumerate(hints_of(kind).values(), start=2):
        for wrong in SAID_WRONG[hint]:
            forged = msgpack.unpackb(header)
            forged[place] = wrong
            with pytest.raises(WireError):
                decode([msgpack.packb(forged), *frames])
    for forged in (msgpack.unpackb(header)[:-1], [*msgpack.unpackb(header), 0]):
        with pytest.raises(WireError):
            decode([msgpack.packb(forged), *frames])
    with pytest.raises(WireError):
        decode([header, *frames, b""])


def test_what_is_stored_is_one_array_and_a_task_brings_what_is_kept() -> None:
    for wrong in ((), (np.ones(1), np.ones(1))):
        with pytest.raises(WireError, match="must bring one array"):
            Store(b"", 0, "name", 1, wrong)
    header = msgpack.unpackb(as_bytes(encode(Task(b"", 0, 0, 0, "product", keep=(("a", 1),), arrays=(np.ones(1),))))[0])
    header[-1] = []
    with pytest.raises(WireError, match="must bring the arrays to keep"):
        decode([msgpack.packb(header)])


@settings(max_examples=200)
@given(st.sampled_from(["<f8", "<i4"]), JSONISH)
def test_no_forged_array_description_raises_anything_else(dtype: str, value: Any) -> None:
    frames = as_bytes(encode(HEADER))
    header = msgpack.unpackb(frames[0])
    header[-1] = [[dtype, value]]
    for data in (frames[1], b""):
        try:
            (array,) = decode([msgpack.packb(header), data]).arrays
        except WireError:
            continue
        assert array.nbytes == len(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.__setitem__(0, VERSION + 1), "version"),
        (lambda header: header.__setitem__(1, 99), "kind"),
        (lambda header: header.__setitem__(6, math.nan), "times must be"),
        (lambda header: header.__setitem__(7, -1.0), "times must be"),
        (lambda header: header.__setitem__(4, -1), "at least 0"),
        (lambda header: header.__setitem__(-1, [["<f4", [2, 3]]]), "described"),
        (lambda header: header.__setitem__(-1, [["|O", [2, 3]]]), "described"),
        (lambda header: header.__setitem__(-1, [["<f8", [2, 4]]]), "bytes"),
        (lambda header: header.__setitem__(-1, [["<i4", [2, 3]]]), "bytes"),
        (lambda header: header.__setitem__(-1, []), "describe all"),
        (lambda header: header.pop(), "fields of Response"),
    ],
)
def test_a_message_that_is_not_ours_is_refused(change: Any, message: str) -> None:
    frames = as_bytes(encode(HEADER))
    header = msgpack.unpackb(frames[0])
    change(header)
    with pytest.raises(WireError, match=message):
        decode([msgpack.packb(header), frames[1]])


def test_long_headers_are_refused_unread() -> None:
    with pytest.raises(WireError, match="at most"):
        decode([bytes(1 << 20)])


@given(data=st.binary(max_size=300))
def test_the_fuzzers_reading_of_random_bytes_is_a_refusal(data: bytes) -> None:
    read(data)


def test_what_the_fuzzer_starts_from_are_messages_of_every_kind() -> None:
    kinds = set()
    for seed in seeds():
        frames = frames_of_bytes(seed)
        assert bytes_of_frames(frames) == seed
        kinds.add(type(decode(frames)))
        read(seed)
    assert kinds == set(MESSAGES)
