"""The wire: what is encoded comes back, and hostile bytes raise nothing but `WireError`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coded_als.wire import Kind, Message, decode, encode
from coded_als.wire.arrays import COPY_BELOW_BYTES, FLOAT, WireError, packed
from coded_als.wire.messages import VERSION
from tests.fuzz_wire import bytes_of_frames, frames_of_bytes, read, seeds

WHOLE = st.integers(0, 2**31)
SECONDS = st.floats(0, math.inf)
STAMPS = st.lists(st.tuples(st.text(max_size=8), WHOLE), max_size=3).map(tuple)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = st.lists(hnp.arrays(np.float64, SHAPES) | hnp.arrays(np.int32, SHAPES), max_size=3).map(tuple)
MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    job=st.binary(max_size=16),
    worker=WHOLE,
    round_index=WHOLE,
    attempt=WHOLE,
    kernel=st.text(max_size=8),
    operands=STAMPS,
    keep=STAMPS,
    delay_s=SECONDS,
    waited_s=SECONDS,
    computed_s=SECONDS,
    number=WHOLE,
    text=st.text(max_size=20),
    arrays=ARRAYS,
)
HEADER = Message(Kind.RESULT, b"job", 3, arrays=(np.ones((2, 3)),))


def as_bytes(frames: list[bytes | zmq.Frame]) -> list[bytes]:
    return [bytes(frame) for frame in frames]


@settings(max_examples=100, deadline=None)
@given(MESSAGES)
def test_a_message_comes_back(message: Message) -> None:
    decoded = decode(as_bytes(encode(message)))
    assert replace(decoded, arrays=()) == replace(message, arrays=())
    assert len(decoded.arrays) == len(message.arrays)
    for got, sent in zip(decoded.arrays, message.arrays, strict=True):
        np.testing.assert_array_equal(got, sent)
        assert (got.shape, got.dtype) == (sent.shape, sent.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, ">i4", ">f8", bool])
def test_other_types_travel_as_float64(dtype: Any) -> None:
    (got,) = decode(as_bytes(encode(Message(Kind.TASK, b"", 0, arrays=(np.array([0, 1], dtype=dtype),))))).arrays
    assert (got.dtype, got.tolist()) == (FLOAT, [0.0, 1.0])


@pytest.mark.parametrize("array", [np.arange(12.0).reshape(3, 4).T, np.arange(12.0)[::3]])
def test_other_memory_orders_are_sent_in_c_order(array: np.ndarray) -> None:
    (got,) = decode(as_bytes(encode(Message(Kind.TASK, b"", 0, arrays=(array,))))).arrays
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


@settings(max_examples=200, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 14), JSONISH, st.booleans())
def test_no_forged_field_raises_anything_else(index: int, value: Any, extra: bool) -> None:
    frames = as_bytes(encode(HEADER))
    header = msgpack.unpackb(frames[0])
    header[index] = value
    if extra:
        header.append(value)
    try:
        decode([msgpack.packb(header), frames[1]])
    except WireError:
        pass
    else:
        assert not extra


@settings(max_examples=200, deadline=None)
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
        (lambda header: header.__setitem__(9, math.nan), "times must be"),
        (lambda header: header.__setitem__(10, -1.0), "times must be"),
        (lambda header: header.__setitem__(11, math.nan), "times must be"),
        (lambda header: header.__setitem__(-1, [["<f4", [2, 3]]]), "described"),
        (lambda header: header.__setitem__(-1, [["|O", [2, 3]]]), "described"),
        (lambda header: header.__setitem__(-1, [["<f8", [2, 4]]]), "bytes"),
        (lambda header: header.__setitem__(-1, [["<i4", [2, 3]]]), "bytes"),
        (lambda header: header.__setitem__(-1, []), "describe all"),
        (lambda header: header.__setitem__(7, [["name"]]), "version"),
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
        kinds.add(decode(frames).kind)
        read(seed)
    assert kinds == set(Kind)
