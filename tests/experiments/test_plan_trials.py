"""Plans for a real cluster: the command they print, rows that are tried, other circumstances, and prices."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.cluster.machine import Machine
from coded_als.delays import Trace
from coded_als.experiments.plan_report import alternatives
from coded_als.planner.choice import make_plan
from coded_als.planner.schemes import Size
from coded_als.planner.timing import Workload

SIZE = ["--rows", "300", "--cols", "200", "--rank", "4", "--repeats", "200"]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Worker 2 of four begins half a second late; the others are quick."""
    path = tmp_path / "delays.csv"
    rows = [
        f"{worker},{index},{0.5 if worker == 2 else 0.001},0,{0.5 if worker == 2 else 0.001},1"
        for index in range(30)
        for worker in range(4)
    ]
    path.write_text("worker,round,seconds,censored,start,slowness\n" + "\n".join(rows) + "\n")
    return path


def plan(*words: object) -> dict[str, Any]:
    run = CliRunner().invoke(main, ["plan", *SIZE, "--json", *map(str, words)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    document: dict[str, Any] = json.loads(run.stdout)
    return document


@pytest.mark.parametrize(
    ("words", "carried", "injected"),
    [
        ([], [], False),
        (
            ["--listen", "tcp://0.0.0.0:5555", "--keys", "keys"],
            ["--listen", "tcp://0.0.0.0:5555", "--keys", "keys"],
            False,
        ),
        (["--scheduler", "tcp://h:8786"], ["--scheduler", "tcp://h:8786"], False),
        (["--cluster", "virtual"], ["--cluster", "virtual"], False),
    ],
)
def test_the_command_opens_the_cluster_and_injects_no_delay_twice(
    trace: Path, words: list[str], carried: list[str], injected: bool
) -> None:
    typed = shlex.split(plan("--workers", 4, "--delays", trace, *words)["command"])
    assert ("--delays" in typed) == injected
    assert " ".join(carried) in " ".join(typed)


def test_delays_of_a_model_are_injected_into_local_workers_alone() -> None:
    model = ["--workers", "4", "--delays", "exp:mean=5ms"]
    assert "--delays exp:mean=5ms" in plan(*model)["command"]
    assert "--delays" not in plan(*model, "--listen", "tcp://0.0.0.0:5555", "--keys", "keys")["command"]


def test_the_first_three_rows_are_tried_and_the_prediction_holds_on_the_virtual_clock() -> None:
    found = plan("--workers", 6, "--delays", "exp:mean=50ms", "--cluster", "virtual", "--try", "5")
    assert [row["runs"] for row in found["tried"]] == [5, 5, 5]
    assert found["tried"][0]["label"] == found["recommended"]["label"]
    assert all(0.6 < row["ratio"] < 1.6 for row in found["tried"])


def test_rows_are_tried_on_real_workers_and_told_beside_the_prediction() -> None:
    words = ["plan", *SIZE, "--workers", "3", "--delays", "exp:mean=5ms", "--try", "--price-per-hour", "2"]
    run = CliRunner().invoke(main, words, catch_exceptions=False)
    assert run.exit_code == 0
    assert "predicted [s]" in run.output
    assert "machine hours and costs" in run.output


def test_other_circumstances_are_planned_for(trace: Path) -> None:
    found = plan("--workers", 4, "--delays", trace, "--what-if")
    more, without, half = found["what_if"]
    assert (more["what_if"], more["workers"]) == ("1 more workers", 5)
    assert (without["what_if"], without["workers"]) == ("without worker 2", 3)
    assert without["verdict"] == "coding does not pay"
    assert half.get("worker_storage_bytes", 0) <= found["recommended"]["worker_storage_bytes"] / 2


def test_other_circumstances_are_told_in_lines() -> None:
    words = ["plan", *SIZE, "--workers", "1", "--delays", "none", "--what-if"]
    run = CliRunner().invoke(main, words, catch_exceptions=False)
    assert run.exit_code == 0
    assert "what if (workers)" in run.output
    assert "1 more workers (2)" in run.output


def test_the_slowest_worker_is_that_of_the_speeds_too() -> None:
    workload = Workload(Size(300, 200, 4), "none", Machine(worker_speeds=(1.0, 0.25, 1.0)))
    names = [other.name for other in alternatives(make_plan(3, workload, repeats=20), 3, workload, repeats=20)]
    assert names == ["1 more workers", "without worker 1", "half the memory"]
    slow = Trace(np.zeros((4, 3)), slowness=np.array([[1.0, 1.0, 3.0]] * 4))
    workload = Workload(Size(300, 200, 4), slow, Machine())
    assert alternatives(make_plan(3, workload), 3, workload)[1].name == "without worker 2"


def test_a_price_counts_all_machines_for_the_whole_fit(trace: Path) -> None:
    found = plan("--workers", 4, "--delays", trace, "--price-per-hour", "3.6")
    seconds = found["recommended"]["virtual_seconds_mean"]
    assert found["costs"]["recommended"] == pytest.approx(5 * seconds / 1000)
    assert found["costs"]["machine_hours"] == pytest.approx(5 * seconds / 3600)
