"""Machines without /proc, as some sandboxes are: all works, or one line says why not."""

from __future__ import annotations

import builtins
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coded_als.errors import UsageError
from coded_als.master import local
from coded_als.worker import process

# hides /proc from the command alone: the mount is in a namespace of its own
HIDDEN = 'mount -t tmpfs none /proc && exec "$0" "$@"'


def test_open_descriptors_are_counted_where_the_system_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local._open_descriptors() > 2

    def absent(path: str) -> list[str]:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(local.os, "listdir", absent)
    assert local._open_descriptors() == 0
    local._require_descriptors(4)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is read from /proc")
def test_a_limit_of_memory_that_cannot_be_counted_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: str, *_: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(process, "open", absent, raising=False)
    monkeypatch.setattr(process.gc, "start", lambda: None)  # in this process it may have been started already
    assert builtins.open is not absent
    with pytest.raises(UsageError, match=r"/proc/self/statm cannot be read .* without --memory-limit"):
        process.limit_memory(1 << 40)


@pytest.mark.parametrize("method", [["coded"], ["implicit", "--policy", "wait"]], ids=["coded", "implicit"])
def test_a_fit_on_processes_needs_no_proc(method: list[str], tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", HIDDEN, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of its own can be had here")
    source = "synthetic:m=40,n=30,d=4,noise=0.1,density=0.5"
    options = ["--method", *method, "--rank", "2", "--workers", "3", "--out", str(tmp_path / "m.npz")]
    command = [unshare, "-m", "sh", "-c", HIDDEN, sys.executable, "-m", "coded_als", "fit", source, *options]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "m.npz").is_file()
