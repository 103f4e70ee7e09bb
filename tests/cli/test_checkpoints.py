"""`fit --checkpoint` and `--resume` on the command line, Ctrl-C included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from coded_als.cli import main
from coded_als.errors import UsageError
from coded_als.models.checkpoint import Checkpoint, flushed, read_snapshot
from coded_als.models.checkpoint_store import LATEST, PREVIOUS, FolderStore
from coded_als.models.persistence import load_model
from tests.master.processes import all_end_within, children

RATINGS = "synthetic:m=60,n=40,d=20,noise=0.5,seed=1"
SPARSE = "synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1"
METHODS = {
    "coded": ["--rank", 3, "--solver", "als", "--cluster", "inline", "--workers", 4],
    "ridge": ["--method", "ridge", "--rank", 3],
    "shards": ["--method", "ridge", "--rank", 3, "--policy", "wait", "--cluster", "inline", "--workers", 3],
    "warp": ["--method", "warp", "--rank", 3],
}


def fit(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["fit", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_goes_on_to_the_same_model(tmp_path: Path, method: str) -> None:
    ratings = RATINGS if method == "coded" else SPARSE
    for name, options in {
        "whole": ["--iterations", 6],
        "first": ["--iterations", 4, "--checkpoint", tmp_path / "kept"],
        "second": ["--iterations", 6, "--checkpoint", tmp_path / "kept", "--resume", "--checkpoint-every", 3],
    }.items():
        result = fit(ratings, *METHODS[method], *options, "--out", tmp_path / f"{name}.npz")
        assert result.exit_code == 0, result.output
    whole, second = load_model(tmp_path / "whole.npz"), load_model(tmp_path / "second.npz")
    assert np.array_equal(whole.user_factors_, second.user_factors_)
    assert np.array_equal(whole.item_factors_, second.item_factors_)
    assert len(second.history_) == 6
    snapshot, _ = read_snapshot(FolderStore(tmp_path / "kept"), LATEST)
    assert snapshot.iteration >= 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume"], "--resume must come with --checkpoint FOLDER"),
        (["--checkpoint-every", 2], "--checkpoint-every must come with --checkpoint FOLDER"),
        (["--checkpoint", "kept", "--checkpoint-every", 0], "--checkpoint-every must be a whole number"),
        (["--checkpoint", "kept"], "holds one. Add --resume"),
        (["--checkpoint", "kept", "--resume", "--rank", 2], "has rank = 3 where this fit has 2"),
        (["--checkpoint", "kept", "--resume", "--seed", 1], "has seed = 0 where this fit has 1"),
        (["--checkpoint", "/proc/kept"], "write access"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = fit(RATINGS, *METHODS["coded"], "--checkpoint", "kept", "--iterations", 2)
    assert before.exit_code == 0, before.output
    kept = (tmp_path / "kept" / LATEST).read_bytes()
    result = fit(RATINGS, *METHODS["coded"], "--iterations", 2, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "kept" / LATEST).read_bytes() == kept


def test_two_fits_into_one_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    kept, options = tmp_path / "kept", [*METHODS["ridge"], "--iterations", 2]
    checkpoint = Checkpoint(kept)
    with flushed(checkpoint):
        checkpoint.begin({"method": "a fit that goes on"})
        result = fit(SPARSE, *options, "--checkpoint", kept, "--resume")
    assert result.exit_code == 2
    assert "one fit at a time" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert fit(SPARSE, *options, "--checkpoint", kept).exit_code == 0


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/shm"), reason="mounts a small disk, as root does")
def test_a_full_disk_is_one_line_and_costs_no_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    try:
        first = fit(RATINGS, *METHODS["coded"], "--checkpoint", disk, "--iterations", 2)
        assert first.exit_code == 0, first.output
        good = (disk / LATEST).read_bytes()
        (disk / "other").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
        result = fit(RATINGS, *METHODS["coded"], "--checkpoint", disk, "--resume", "--iterations", 8)
        assert result.exit_code == 2
        assert "No space left on device" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert (disk / LATEST).read_bytes() == good
        (disk / "other").unlink()
        again = fit(RATINGS, *METHODS["coded"], "--checkpoint", disk, "--resume", "--iterations", 8)
        assert again.exit_code == 0, again.output
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_killed_master_goes_on(tmp_path: Path) -> None:
    kept, out = tmp_path / "kept", tmp_path / "model.npz"
    options = [RATINGS, "--rank", 3, "--solver", "als", "--tolerance", 0, "--iterations", 150]
    whole = fit(*options, "--workers", 3, "--cluster", "inline", "--out", out)
    assert whole.exit_code == 0, whole.output
    expected = load_model(out).item_factors_
    options += ["--workers", 3, "--code", "systematic:p=2", "--checkpoint", kept, "--resume", "--out", out]
    command = list(map(str, [sys.executable, "-m", "coded_als", "fit", *options, "--delays", "exp:mean=2ms"]))
    done = -1
    for kill in range(2):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if (kept / LATEST).exists() and iteration(kept) > done + 20 + 7 * kill:
                    break
                time.sleep(0.003)
            process.kill()
        assert iteration(kept) > done
        done = iteration(kept)
    result = fit(*options)
    assert result.exit_code == 0, result.output
    assert np.allclose(load_model(out).item_factors_, expected, rtol=0, atol=1e-8)


def iteration(kept: Path) -> int:
    """How far the latest checkpoint is, or the one before it in the moment in which they change places."""
    for name in (LATEST, PREVIOUS, LATEST):
        if (kept / name).exists():
            try:
                return read_snapshot(FolderStore(kept), name)[0].iteration
            except UsageError:  # it has just been moved
                continue
    return -1


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that are started can be interrupted, even where these tests run in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("whom", ["the master alone", "the whole group, as a terminal does"])
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path, whom: str) -> None:
    kept = tmp_path / "kept"
    options = ["--rank", 3, "--solver", "als", "--workers", 3, "--code", "systematic:p=2", "--tolerance", 0]
    command = [sys.executable, "-m", "coded_als", "fit", RATINGS, *options, "--iterations", 100000]
    # its 190 iterations take ten seconds, of which a busy machine may lose some before the signal is sent
    command += ["--checkpoint", kept, "--checkpoint-every", 1000, "--delays", "exp:mean=60ms"]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (kept / LATEST).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        workers = children(process.pid)
        time.sleep(0.5)
        (os.kill if whom == "the master alone" else os.killpg)(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert len(workers) >= 3
    assert all_end_within(workers, 5)
    snapshot, _ = read_snapshot(FolderStore(kept), LATEST)
    assert 0 < snapshot.iteration < 1000
    assert said.splitlines() == [
        f"Interrupted after iteration {snapshot.iteration}; the factors so far are in {kept / LATEST}. Run the same with "
        f"--resume to go on; --iterations {snapshot.iteration} makes a model of the factors so far."
    ]
    result = fit(RATINGS, *options, "--iterations", snapshot.iteration, "--checkpoint", kept, "--resume")
    assert result.exit_code == 0, result.output
