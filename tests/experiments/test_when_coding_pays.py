"""When coding pays: the comparison with the methods of engineers, its verdicts and its command."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als import CodedOperator, SimulatedCluster
from coded_als.cli import main
from coded_als.codes import parse_code
from coded_als.experiments.when_coding_pays import (
    LOSES,
    MACHINE,
    PAYS,
    RANK,
    UNTOLD,
    PayCase,
    PayOutcome,
    compared_specs,
    outcome_of,
    verdict_lines,
)
from coded_als.master import LocalCluster
from coded_als.planner.schemes import Scheme
from coded_als.planner.solvers import GUARD_VECTORS, SOLVERS, default_solver
from coded_als.planner.statistics import Estimate

# of a fit with the default solver
ROUNDS = SOLVERS[default_solver()].iterations


@pytest.mark.parametrize("workers", [2, 3, 10, 31, 100])
def test_no_scheme_keeps_more_than_two_copies(workers: int) -> None:
    for specs in compared_specs(workers).values():
        for spec in specs:
            assert parse_code(spec).share(workers) <= 1 / (workers // 2) + 1e-12


@pytest.mark.parametrize("work_s", [0.001, 1.0])
def test_a_task_takes_the_seconds_that_it_is_said_to(work_s: float) -> None:
    setting = PayCase("none", work_s, 10)
    found = outcome_of(setting, 2)
    round_s = work_s + 2 * 10 * MACHINE.message_s + 2 * MACHINE.latency_s
    master_s = setting.workload().master_s(Scheme("uncoded", 10, solver=default_solver()))
    assert found.seconds["uncoded"] == pytest.approx(ROUNDS * (round_s + master_s), rel=0.02)
    assert found.seconds["uncoded"] == pytest.approx(found.seconds["hedged"], rel=0.01)


def test_where_nobody_is_late_a_code_does_not_pay() -> None:
    found = outcome_of(PayCase("none", 1.0, 10), 5)
    assert found.ratio.value < 1
    assert found.verdict == LOSES


def test_where_some_are_late_by_far_a_code_pays_and_the_interval_says_so() -> None:
    found = outcome_of(PayCase("bimodal:p=0.15,fast=5ms,slow=1s", 0.001, 30), 200)
    assert found.verdict == PAYS
    assert found.ratio.low is not None
    assert found.ratio.low > 2
    assert found.rounds == 1


def test_intervals_hold_the_ratio_of_many_runs() -> None:
    """Of twenty seeds at most three intervals miss the mean of all."""
    setting = PayCase("exp:mean=20ms", 0.01, 10)
    found = [outcome_of(setting, 40, seed) for seed in range(20)]
    truth = np.mean([one.ratio.value for one in found])
    inside = [one.ratio.low <= truth <= one.ratio.high for one in found if one.ratio.low is not None]
    assert len(inside) == 20
    assert sum(inside) >= 17


@cache
def drawn_outcome(setting: PayCase) -> PayOutcome:
    return outcome_of(setting, 100)


@pytest.mark.parametrize("kind", ["uncoded", "hedged", "speculative", "copies", "coded, whole", "coded, pieces"])
def test_the_virtual_cluster_takes_the_seconds_of_the_table(kind: str) -> None:
    """Products of the operator on the simulated cluster beside the drawn ones."""
    setting = PayCase("exp:mean=5ms", 0.0005, 10)
    found, columns = drawn_outcome(setting), RANK + GUARD_VECTORS
    scheme = Scheme(found.codes[kind], 10, solver=default_solver())
    encoding_s = found.encoding_s if kind == found.code else measure_encoding(scheme, setting)
    drawn_s = (found.seconds[kind] - encoding_s) / ROUNDS - setting.workload().master_s(scheme)
    length = setting.size.length
    matrix, block = np.eye(length), np.ones((length, columns))
    with SimulatedCluster(10, setting.delays, 4, machine=MACHINE) as cluster:
        operator = CodedOperator(matrix, cluster, code=found.codes[kind])
        for _ in range(60):
            assert np.allclose(operator @ block, block)
        taken_s = np.mean([record.elapsed_s for record in operator.rounds])
    assert taken_s == pytest.approx(drawn_s, rel=0.1)


def measure_encoding(scheme: Scheme, setting: PayCase) -> float:
    planes = scheme.product(setting.size).encoded_planes[0]
    return MACHINE.computing_s(planes * setting.size.length**2)


def test_words_say_first_where_coding_loses() -> None:
    def outcome(low: float | None, value: float) -> PayOutcome:
        ratio = Estimate(value, low, None if low is None else 2 * value - low)
        return PayOutcome(PayCase("none", 1.0, 10), {}, {}, 1.0, "hedged", "coded, whole", ratio, 40)

    lines = verdict_lines([outcome(1.1, 1.2), outcome(None, 1.5), outcome(0.5, 0.6)])
    assert [line.split(" in ")[0] for line in lines[:3]] == [LOSES, UNTOLD, PAYS]
    assert "from 40 rounds on" in lines[3]


def test_the_command_writes_table_results_and_figure(tmp_path: Path) -> None:
    given = [
        "reproduce",
        "when-coding-pays",
        "--workers",
        "4,6",
        "--work",
        "10ms",
        "--runs",
        "3",
        "--out",
        str(tmp_path),
    ]
    result = CliRunner().invoke(main, [*given, "--delays", "none", "--delays", "measured:lambda"])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [(row["setting"]["delays"], row["setting"]["workers"]) for row in rows] == [
        (spec, count) for spec in ("none", "measured:lambda") for count in (4, 6)
    ]
    assert all(row["verdict"] in (PAYS, LOSES, UNTOLD) for row in rows)
    assert (tmp_path / "table.md").read_text().count("\n| ") == 5
    assert (tmp_path / "when-coding-pays.svg").stat().st_size > 1000
    assert (tmp_path / "when-coding-pays.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.parametrize("code", ["uncoded", "speculative", "systematic:p=4,pieces=1"])
@pytest.mark.parametrize(
    "delays",
    ["measured:lambda", "exp:mean=100ms", "bimodal:p=0.15,fast=50ms,slow=1s", "pareto:scale=50ms,alpha=1.5"],
)
def test_real_workers_take_the_seconds_of_the_virtual_clock(delays: str, code: str) -> None:
    """The same delays on both: twelve cells, within 15 %."""
    matrix, block = np.random.default_rng(0).normal(size=(240, 240)), np.ones((240, 5))
    seconds = {}
    for kind in (SimulatedCluster, LocalCluster):
        with kind(8, delays, 3) as cluster:
            operator = CodedOperator(matrix, cluster, code=code)
            for _ in range(10):
                np.testing.assert_allclose(operator @ block, matrix @ block, atol=1e-9)
            seconds[kind] = sum(record.elapsed_s for record in operator.rounds)
    assert seconds[LocalCluster] == pytest.approx(seconds[SimulatedCluster], rel=0.15)
