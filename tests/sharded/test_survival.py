"""Fits that are killed in an epoch and go on with other devices, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from coded_als import load_model
from tests.sharded.virtual_devices import virtual_devices

SCRIPT = """
import os, signal, sys
import numpy as np
from scipy import sparse
from coded_als import ShardedALS
from coded_als.models.checkpoint import Checkpoint

folder, devices, last, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
ratings = sparse.random_array((60, 40), density=0.2, rng=np.random.default_rng(0), format="csr")

def kill(entry):
    if entry.index == last:
        os.kill(os.getpid(), signal.SIGKILL)

model = ShardedALS(4, iterations=5, devices=devices, solver=kind, batch_pieces=16, piece_length=4)
model.fit(ratings, callback=kill, checkpoint=Checkpoint(folder, resume=True)).save(folder + "/model.npz")
"""


def run(environment: dict[str, str], folder: Path, devices: int, last: int, solver: str) -> int:
    command = [sys.executable, "-c", SCRIPT, str(folder), str(devices), str(last), solver]
    return subprocess.run(command, env=environment, check=False, timeout=200).returncode


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed: pip install 'coded-als[jax]'")
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_killed_in_any_epoch_a_fit_goes_on_with_other_devices(
    request: pytest.FixtureRequest, tmp_path: Path, solver: str
) -> None:
    environment = virtual_devices(request.config)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    # an epoch is killed before its snapshot is written, and done again
    for devices, last in ((8, 1), (2, 2), (1, 3), (8, 4), (2, 5)):
        assert run(environment, killed, devices, last, solver) == -signal.SIGKILL
    assert run(environment, killed, 4, 0, solver) == run(environment, whole, 1, 0, solver) == 0
    model, expected = load_model(killed / "model.npz"), load_model(whole / "model.npz")
    assert len(model.history_) == len(expected.history_) == 5
    for name in ("user_factors_", "item_factors_"):
        assert np.abs(getattr(model, name) - getattr(expected, name)).max() < 1e-5
