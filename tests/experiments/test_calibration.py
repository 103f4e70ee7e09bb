"""The measured machine: plausible, and what plans are made with."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli import doctor as system_checks
from coded_als.cli import plan
from coded_als.cluster.machine import Machine
from coded_als.experiments import calibration
from coded_als.experiments.calibration import environment

ARGUMENTS = [
    "--workers",
    "6",
    "--rows",
    "60",
    "--cols",
    "40",
    "--rank",
    "4",
    "--repeats",
    "3",
    "--delays",
    "exp:mean=5ms",
]
MEASURED = Machine(3e9, 4e8, 2e-4, 7e-5, 2, 1e8)


def test_this_machine_is_measured() -> None:
    machine = calibration.calibrated()
    assert machine.cores == len(os.sched_getaffinity(0))
    assert 1e7 < machine.multiplications_per_second < 1e12
    assert 1e6 < machine.bytes_per_second < 1e14
    assert machine.given_bytes_per_second is not None
    assert 1e6 < machine.given_bytes_per_second < 1e14
    assert 0 < machine.latency_s < 1
    assert 0 < machine.message_s < 0.1


def test_round_times_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """From round times that the model itself gives, the machine comes back."""
    carried = 2 * 8 * calibration.LARGE_ROWS * calibration.COLUMNS

    def round_seconds(workers: int) -> tuple[float, float, float]:
        small_s = 2 * workers * MEASURED.message_s + 2 * MEASURED.latency_s
        assert MEASURED.given_bytes_per_second
        given_s = workers * 8 * calibration.GIVEN / MEASURED.given_bytes_per_second
        return small_s, small_s + workers * carried / MEASURED.bytes_per_second, small_s + given_s

    monkeypatch.setattr(calibration, "_round_seconds", round_seconds)
    found = calibration.calibrated()
    names = ("bytes_per_second", "latency_s", "message_s", "given_bytes_per_second")
    measured, true = ([getattr(machine, name) for name in names] for machine in (found, MEASURED))
    np.testing.assert_allclose(measured, true, rtol=1e-9)


def test_no_speed_is_beyond_that_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where noise, or a coarse clock, hides what large arrays take."""
    monkeypatch.setattr(calibration, "_round_seconds", lambda workers: (1e-3 * workers,) * 3)
    machine = calibration.calibrated()
    numbers = np.ones(1 << 22)
    copying_s = min(calibration._seconds(numbers.copy) for _ in range(5))
    assert machine.given_bytes_per_second
    for speed in (machine.bytes_per_second, machine.given_bytes_per_second):
        # copying within caches is faster than copying much
        assert 1e6 < speed < 100 * numbers.nbytes / copying_s


def test_a_plan_is_made_with_it_and_options_still_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "calibrated", lambda columns: MEASURED)
    arguments = [*ARGUMENTS, "--calibrate", "--bandwidth", "500MB/s", "--json"]
    result = CliRunner().invoke(plan.command, arguments, catch_exceptions=False)
    assert json.loads(result.stdout)["machine"] == {
        **vars(MEASURED),
        "bytes_per_second": 5e8,
        "worker_speeds": [],
    }


def test_doctor_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "calibrated", lambda: MEASURED)
    found = {finding.name: finding.found for finding in system_checks._speeds()}
    assert found["speed"] == "3e+09 multiplications/s of one core"
    assert found["cost of a round"].startswith("1.1 ms of the master for a round of 8 workers")


def test_the_environment_is_that_of_this_process() -> None:
    found = environment()
    assert found["usable_processors"] == len(os.sched_getaffinity(0))
    assert all(threads >= 1 for threads in found["blas_threads"])
    assert not found["command"].startswith("/")
