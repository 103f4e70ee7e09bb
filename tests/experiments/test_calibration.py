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
from coded_als.errors import UsageError
from coded_als.experiments import calibration
from coded_als.experiments.calibration import Calibration, environment
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.timing import Workload

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
    loaded = Calibration.of(MEASURED, np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]] * 5), start_s=0.5)
    monkeypatch.setattr(calibration, "under_load", lambda columns, workers: loaded)
    arguments = [*ARGUMENTS, "--calibrate", "--bandwidth", "500MB/s", "--json"]
    result = CliRunner().invoke(plan.command, arguments, catch_exceptions=False)
    document = json.loads(result.stdout)
    found, seconds = document["calibration"], document["recommended"]["virtual_seconds_mean"]
    assert found["seconds_low"] < seconds < found["seconds_high"] < 2.01 * found["seconds_low"]
    assert (found["start_of_workers_seconds"], found["load_factor"]) == (0.5, 2.0)
    assert document["machine"] == {
        **vars(loaded.machine),
        "bytes_per_second": 5e8,
        "worker_speeds": [],
    }


@pytest.mark.parametrize(
    ("taken_s", "load", "first_s", "off"),
    [
        ([[1.0, 3.0]] * 5, 1.0, 0.0, 1.2),
        ([[1.5, 3.92]] * 3, 1.21, 0.29, 1.32),
        ([[2.0, 3.5]], 0.8, 1.2, 1.2),
        ([[0.7, 2.1], [1.0, 3.0], [1.4, 4.2]], 1.0, 0.0, 1.41),
        ([[2.5, 8.5]], 3.0, 0.0, 1.41),
    ],
)
def test_the_load_slows_all_of_the_machine_and_gives_an_interval_of_a_factor_of_two_at_most(
    taken_s: list[list[float]], load: float, first_s: float, off: float
) -> None:
    """Fits that take 1 and 3 s on a machine at rest."""
    found = Calibration.of(MEASURED, np.array([[1.0, 3.0]]), np.array(taken_s), start_s=1.0)
    assert (found.load, found.first_s, found.off) == (pytest.approx(load), pytest.approx(first_s), pytest.approx(off))
    for machine, factor in ((found.machine, load), (found.quick, load / off), (found.slow, load * off)):
        assert machine.computing_s(1e9) == pytest.approx(factor * MEASURED.computing_s(1e9))
        assert machine.giving_s(4, 1e6) == pytest.approx(factor * MEASURED.giving_s(4, 1e6))
        assert machine.sending_s(4, 1e6) == pytest.approx(factor * MEASURED.sending_s(4, 1e6))
    # delays are no matter of the machine: a fit that waits for nothing else has no interval
    waiting = Workload(Size(20, 10, 2), "slow:n=4,delay=100s", found.machine)
    low, high = found.interval_s(Scheme("uncoded", 4), waiting)
    assert high < 1.01 * low
    impossible = Workload(Size(20, 10, 2), "dead:n=1", found.machine)
    with pytest.raises(UsageError, match="must be able to run"):
        found.interval_s(Scheme("uncoded", 4), impossible)


def test_a_load_is_found_in_whole_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "calibrated", lambda columns: MEASURED)
    monkeypatch.setattr(calibration, "REFERENCES", (Size(60, 40, 5), Size(900, 600, 20)))
    monkeypatch.setattr(calibration, "REFERENCE_TURNS", 1)
    found = calibration.under_load(25, workers=3)
    assert found.load > 0
    assert 0 < found.start_s < 60
    assert found.quick.message_s < found.machine.message_s < found.slow.message_s


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
