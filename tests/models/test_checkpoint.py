"""Checkpoints: the latest snapshot, the one before it, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.errors import UsageError
from coded_als.models.checkpoint import MAGIC, Checkpoint, digest, flushed
from coded_als.models.checkpoint_store import LATEST, LOCK, PREVIOUS

IDENTITY = {"method": "ridge", "rank": 3, "data": "abc"}


def write(folder, iterations, **options):
    checkpoint = Checkpoint(folder, **options)
    checkpoint.begin(IDENTITY)
    for iteration in iterations:
        state = {"users": np.full((2, 3), float(iteration))}, {"history": [iteration]}
        checkpoint.note(iteration, lambda state=state: state)


def resumed(folder, identity=IDENTITY):
    return Checkpoint(folder, resume=True).begin(identity)


def test_a_fresh_folder_is_made_and_holds_nothing(tmp_path):
    assert Checkpoint(tmp_path / "a" / "b").begin(IDENTITY) is None
    assert resumed(tmp_path / "a" / "b") is None


def test_the_latest_snapshot_comes_back_and_the_one_before_it_is_kept(tmp_path):
    write(tmp_path, range(1, 8), every=2)
    snapshot = resumed(tmp_path)
    assert snapshot.iteration == 6
    assert np.array_equal(snapshot.arrays["users"], np.full((2, 3), 6.0))
    assert snapshot.facts == {"history": [6]}
    (tmp_path / LATEST).unlink()
    assert resumed(tmp_path).iteration == 4
    assert sorted(os.listdir(tmp_path)) == [LOCK, PREVIOUS]


def test_state_is_asked_for_only_when_it_is_written(tmp_path):
    checkpoint = Checkpoint(tmp_path, every=3)
    checkpoint.begin(IDENTITY)
    asked = []
    for iteration in range(1, 7):
        checkpoint.note(iteration, lambda i=iteration: (asked.append(i), ({}, {}))[1])
    assert asked == [3, 6]


def test_a_folder_with_a_checkpoint_is_not_overwritten(tmp_path):
    write(tmp_path, [1])
    with pytest.raises(UsageError, match="--resume"):
        Checkpoint(tmp_path).begin(IDENTITY)


@pytest.mark.parametrize("change", [{"rank": 4}, {"data": "abd"}, {"method": "implicit"}, {"more": 1}])
def test_another_fits_checkpoint_is_refused_by_the_first_difference(tmp_path, change):
    write(tmp_path, [1])
    with pytest.raises(UsageError, match=next(iter(change))):
        resumed(tmp_path, IDENTITY | change)
    assert resumed(tmp_path).iteration == 1


@given(place=st.floats(0, 1), bit=st.integers(0, 7))
@settings(max_examples=60)
def test_one_wrong_bit_anywhere_is_noticed(tmp_path_factory, place, bit):
    folder = tmp_path_factory.mktemp("damaged")
    write(folder, [1, 2])
    content = bytearray((folder / LATEST).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1 << bit
    (folder / LATEST).write_bytes(content)
    with pytest.raises(UsageError, match=f"Delete it to go on from {PREVIOUS}"):
        resumed(folder)
    (folder / LATEST).unlink()
    assert resumed(folder).iteration == 1


@pytest.mark.parametrize("content", [b"", b"coded-als", b"\x80\x04pickle", MAGIC + b"\n"])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content):
    (tmp_path / LATEST).write_bytes(content)
    with pytest.raises(UsageError, match="complete file") as raised:
        resumed(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    write(tmp_path, [1, 2])

    def full(*_):
        raise OSError(28, "No space left on device")

    checkpoint = Checkpoint(tmp_path, resume=True)
    checkpoint.begin(IDENTITY)
    monkeypatch.setattr("coded_als.models.files.os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        checkpoint.note(3, lambda: ({}, {}))
    monkeypatch.undo()
    checkpoint.release()
    assert resumed(tmp_path).iteration == 2
    assert sorted(os.listdir(tmp_path)) == [LATEST, LOCK, PREVIOUS]


def test_a_folder_that_cannot_be_is_refused_before_the_fit(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="write access"):
        Checkpoint(tmp_path / "file" / "inside").begin(IDENTITY)


def test_a_writer_killed_at_any_moment_leaves_a_readable_checkpoint(tmp_path):
    script = (
        "import sys, numpy as np\n"
        "from coded_als.models.checkpoint import Checkpoint\n"
        "c = Checkpoint(sys.argv[1], resume=True); s = c.begin({'a': 1}); i = s.iteration if s else 0\n"
        "def note():\n"
        "    global i\n"
        "    i += 1\n"
        "    c.note(i, lambda: ({'x': np.full(20000, float(i))}, {}))\n"
        "note()\n"
        "print('noted', flush=True)\n"
        "while True:\n"
        "    note()\n"
    )
    before = 0
    for pause in (0.01, 0.05, 0.02):
        with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"noted\n"
            time.sleep(pause)
            process.kill()
        snapshot = Checkpoint(tmp_path, resume=True).begin({"a": 1})
        assert snapshot.iteration > before
        assert np.array_equal(snapshot.arrays["x"], np.full(20000, float(snapshot.iteration)))
        assert not list(tmp_path.glob(".*"))
        before = snapshot.iteration


def test_two_fits_at_a_time_are_refused_until_the_first_has_ended(tmp_path):
    first = Checkpoint(tmp_path, resume=True)
    with flushed(first):
        first.begin(IDENTITY)
        first.note(1, lambda: ({}, {}))
        kept = (tmp_path / LATEST).read_bytes()
        for second in (Checkpoint(tmp_path, resume=True), Checkpoint(tmp_path), first):
            with pytest.raises(UsageError, match=r"one fit at a time; another one is writing .* Wait until") as raised:
                second.begin(IDENTITY)
            assert "\n" not in str(raised.value)
        assert (tmp_path / LATEST).read_bytes() == kept
    assert resumed(tmp_path).iteration == 1


def test_a_fit_that_is_refused_keeps_nobody_out(tmp_path):
    write(tmp_path, [1])
    checkpoint = Checkpoint(tmp_path, resume=True)
    with pytest.raises(UsageError, match="of the same fit"), flushed(checkpoint):
        checkpoint.begin({"method": "another"})
    assert resumed(tmp_path).iteration == 1


def test_who_writes_keeps_others_out_and_its_death_lets_them_in(tmp_path):
    script = (
        "import sys, time\n"
        "from coded_als.models.checkpoint import Checkpoint\n"
        "c = Checkpoint(sys.argv[1]); c.begin({'a': 1}); c.note(1, lambda: ({}, {}))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(UsageError, match="one fit at a time"):
            Checkpoint(tmp_path, resume=True).begin({"a": 1})
        process.kill()
    assert Checkpoint(tmp_path, resume=True).begin({"a": 1}).iteration == 1


@pytest.mark.parametrize("releases", [False, True])
def test_a_child_that_outlives_a_killed_fit_does_not_keep_others_out(tmp_path, releases):
    script = (
        "import os, sys, time\n"
        "from coded_als.models.checkpoint import Checkpoint\n"
        "c = Checkpoint(sys.argv[1]); c.begin({'a': 1}); c.note(1, lambda: ({}, {}))\n"
        "child = os.fork()\n"
        "if not child:\n"
        f"    {releases} and c.release()\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        try:
            # the fit itself has the lock still
            with pytest.raises(UsageError, match="one fit at a time"):
                Checkpoint(tmp_path, resume=True).begin({"a": 1})
            process.kill()
            process.wait()
            os.kill(child, 0)
            assert Checkpoint(tmp_path, resume=True).begin({"a": 1}).iteration == 1
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="write access"):
        Checkpoint(tmp_path).begin(IDENTITY)
    assert not (tmp_path / "elsewhere").exists()


def test_where_the_file_system_has_no_locks_a_fit_goes_on(tmp_path, monkeypatch):
    def lockless(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("coded_als.models.checkpoint_store.fcntl.flock", lockless)
    write(tmp_path, [1])
    assert resumed(tmp_path).iteration == 1


def test_the_digest_tells_types_shapes_and_values_apart():
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.ones(4), np.zeros(0)]
    assert len({digest(array) for array in arrays}) == len(arrays)
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.arange(6).reshape(2, 3).T.copy())
