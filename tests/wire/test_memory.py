"""Memory that a master shares: what is put there is read as it was, by those who may, and written by nobody else."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coded_als.cluster import Round, all_of
from coded_als.master.local import LocalCluster
from coded_als.wire import (
    SharedMemory,
    SharedMemoryView,
    Task,
    WireError,
    decode,
    encode,
    packed,
    shared_memory,
)
from coded_als.wire.frames import FLOAT
from tests.wire.availability import needs_shared_memory

pytestmark = needs_shared_memory
ROOM = 4096
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
ARRAYS = st.lists(hnp.arrays(np.float64, SHAPES) | hnp.arrays(np.int32, SHAPES), max_size=6)


@pytest.fixture(scope="module")
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory(ROOM)
    yield memory
    memory.close()


@pytest.fixture(scope="module")
def view(memory: SharedMemory) -> SharedMemoryView:
    view = SharedMemoryView.open(memory.place)
    assert view is not None
    return view


def path_of(memory: SharedMemory) -> str:
    process_id, descriptor, _ = memory.place.split(":")
    return f"/proc/{process_id}/fd/{descriptor}"


@settings(max_examples=200)
@given(arrays=ARRAYS, turned=st.booleans())
def test_what_is_decoded_is_what_was_encoded_wherever_there_was_room(
    memory: SharedMemory, view: SharedMemoryView, arrays: list[np.ndarray], turned: bool
) -> None:
    sent = tuple(array.T if turned else array for array in arrays)
    memory.clear()
    message = Task(b"job", 1, 0, 0, "product", arrays=sent)
    frames = [bytes(frame) for frame in encode(message, packed(sent, memory))]
    for array, got in zip(sent, decode(frames, view).arrays, strict=True):
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)
        assert not got.flags.writeable or not got.size


def test_float64_alone_lies_there_and_what_has_no_room_is_sent(memory: SharedMemory) -> None:
    memory.clear()
    floats, places, more = np.ones(ROOM // 16), np.ones(3, np.int32), np.ones(ROOM // 8)
    together = packed((floats, places, more, floats), memory)
    assert [len(described) for described in together.described] == [3, 2, 2, 3]
    assert len(together.frames) == 2


def test_another_process_reads_it(memory: SharedMemory) -> None:
    memory.clear()
    offset = memory.put(np.arange(5.0), FLOAT)
    program = (
        "import sys; from coded_als.wire import SharedMemoryView as View; "
        f"print(bytes(View.open({memory.place!r}).read({offset}, 40)).hex())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == np.arange(5.0).tobytes().hex()


def test_nobody_else_writes_to_it_or_takes_any_of_it_away(memory: SharedMemory) -> None:
    descriptor = os.open(path_of(memory), os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"lie", 0)
        with pytest.raises(PermissionError):
            mmap.mmap(descriptor, ROOM)
        for length in (0, 2 * ROOM):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, length)
    finally:
        os.close(descriptor)


def test_what_is_not_this_memory_is_not_opened(memory: SharedMemory, tmp_path: Any) -> None:
    process_id, descriptor, name = memory.place.split(":")
    other = tmp_path / f"memfd:{name} "
    other.write_bytes(bytes(64))
    with other.open("rb") as file:
        for place in (
            f"{process_id}:{descriptor}:coded-als-0000000000000000",
            f"{process_id}:{file.fileno()}:{name}",
            f"{process_id}:999999:{name}",
            f"999999999:{descriptor}:{name}",
        ):
            assert SharedMemoryView.open(place) is None


def test_a_system_that_has_none_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError("no")

    before = os.listdir("/dev/fd")
    monkeypatch.setattr("fcntl.fcntl", refuse)  # an old kernel without this seal
    assert shared_memory() is None
    monkeypatch.setattr("os.memfd_create", refuse)
    assert shared_memory() is None
    assert len(os.listdir("/dev/fd")) == len(before)


HOSTILE: st.SearchStrategy[Any] = st.integers(-(2**63), 2**64 - 1) | st.none() | st.floats() | st.text(max_size=2)


@settings(max_examples=200)
@given(dtype=st.sampled_from(["<f8", "<i4"]), shape=st.lists(HOSTILE, max_size=3), place=HOSTILE, shared=st.booleans())
def test_no_forged_offset_raises_anything_else(
    view: SharedMemoryView, dtype: str, shape: list[Any], place: Any, shared: bool
) -> None:
    header = msgpack.unpackb(bytes(encode(Task(b"job", 1, 0, 0, "product"))[0]))
    header[-1] = [[dtype, shape, place]]
    try:
        (array,) = decode([msgpack.packb(header)], view if shared else None).arrays
    except WireError:
        return
    assert shared
    assert dtype == "<f8"
    assert array.nbytes <= ROOM


def of_memory() -> tuple[int, int]:
    """Descriptors and mappings of shared memory that this process has."""
    descriptors = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the folder itself
            descriptors += os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:coded-als-")
    with open("/proc/self/maps") as maps:
        return descriptors, sum("/memfd:coded-als-" in line for line in maps)


def test_closed_memory_is_given_back_at_once() -> None:
    before = of_memory()
    gc.disable()
    try:
        kept = [SharedMemory(1 << 20) for _ in range(5)]
        assert of_memory() == (before[0] + 10, before[1] + 5)
        for memory in kept:
            memory.put(np.ones(1000), np.dtype(np.float64))
            memory.close()
        assert of_memory() == before
    finally:
        gc.enable()


def test_closed_clusters_keep_no_memory() -> None:
    before = of_memory()
    gc.disable()
    try:
        for _ in range(2):
            with LocalCluster(2) as cluster:
                round = Round("inner_product", (), [(np.ones((1, 9, 1)),)] * 2, response_shapes=((1, 1, 1),))
                cluster.run(round, all_of(2))
        assert of_memory() == before
    finally:
        gc.enable()
