"""The checks in `on_devices`, in a process of their own: JAX counts its devices once, and its threads forbid forks."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECKS = Path(__file__).parent / "on_devices"


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed: pip install 'coded-als[jax]'")
def test_on_eight_virtual_devices() -> None:
    # most of the time goes into compiling, and half of that into making the code fast
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(CHECKS),
            "-p",
            "no:cacheprovider",
            "-o",
            "python_files=check_*",
            "-o",
            "python_functions=check_*",
        ],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
