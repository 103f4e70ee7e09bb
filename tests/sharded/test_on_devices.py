"""The checks in `on_devices`, in a process of their own: JAX counts its devices once, and its threads forbid forks."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.sharded.virtual_devices import virtual_devices

CHECKS = Path(__file__).parent / "on_devices"
OPTIONS = ("-p", "no:cacheprovider", "-o", "python_files=check_*", "-o", "python_functions=check_*", "--durations=10")


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed: pip install 'coded-als[jax]'")
def test_on_eight_virtual_devices(request: pytest.FixtureRequest) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(CHECKS), *OPTIONS],
        env=virtual_devices(request.config),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
