"""Mistyped numbers and closed streams: one line at once, no traceback and no endless run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from coded_als.cli import main
from coded_als.codes import EntangledPolynomialCode, largest_partitions
from coded_als.errors import UsageError

SYNTHETIC = "synthetic:m=40,n=30,d=4,noise=0.1"
PLAN = ["plan", "--workers", "8", "--rows", "60", "--cols", "40", "--rank", "4", "--repeats", "2", "--delays", "none"]
SWEEP = ["sweep", "--rows", "60", "--cols", "40", "--rank", "3", "--repeats", "2"]
# An import and a refusal; what is refused here took minutes or all memory.
AT_ONCE_S = 5.0


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def refused_at_once(result: Result, started: float, message: str) -> None:
    assert time.perf_counter() - started < AT_ONCE_S
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "h", "threshold"),
    [(["--workers", 20_000], 199, 19_900), (["--partitions", 1000], 1000, 500_500), (["--partitions", 60], 60, 1830)],
)
def test_thresholds_of_codes_too_large_to_estimate(arguments: list[object], h: int, threshold: int) -> None:
    started = time.perf_counter()
    document = json.loads(run("threshold", *arguments, "--json").stdout)
    assert time.perf_counter() - started < AT_ONCE_S
    assert (document["code"], document["recovery_threshold"]) == (f"entangled:h={h}", threshold)
    assert document["error_estimate_all_workers"] is None
    assert "not estimated" in run("threshold", *arguments).stdout


def test_thresholds_of_usual_codes_have_an_estimate() -> None:
    document = json.loads(run("threshold", "--workers", 100, "--json").stdout)
    assert document["error_estimate_all_workers"] < 1e-12


@pytest.mark.parametrize(("h", "workers"), [(5000, 10), (5000, largest_partitions(10**8)), (300, 60_000)])
def test_codes_beyond_all_use_are_refused_before_they_are_built(h: int, workers: int) -> None:
    with pytest.raises(UsageError, match=r"recovery threshold|coefficients"):
        EntangledPolynomialCode(h, h, 1, workers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", SYNTHETIC, "--rank", 2, "--cluster", "inline", "--workers", 99_999_999], "from 1 to 100000"),
        (["fit", SYNTHETIC, "--rank", 2, "--cluster", "virtual", "--workers", 99_999_999], "from 1 to 100000"),
        (["fit", SYNTHETIC, "--rank", 2, "--cluster", "inline", "--tolerance", "nan"], "tolerance must be a number"),
        (["fit", SYNTHETIC, "--rank", 2, "--cluster", "inline", "--tolerance", -1], "tolerance must be a number"),
        ([*PLAN, "--workers", 99_999_999], "from 1 to 100000"),
        ([*PLAN, "--decoding-tolerance", "nan"], "tolerance must be a number"),
        ([*PLAN, "--decoding-tolerance", -1], "tolerance must be a number"),
        ([*PLAN, "--speed", "nan"], "speeds must be above 0"),
        ([*PLAN, "--latency", "inf"], "--latency must be a time with its unit, like 20ms or 1s; got 'inf'"),
        ([*PLAN, "--bandwidth", "1e9"], "--bandwidth must be a rate with its unit, like 1GB/s; got '1e9'"),
        ([*SWEEP, "--partitions", "2:100000000"], "partitions must be at most"),
        ([*SWEEP, "--partitions", "2:5000", "--workers", "10:5000"], "at most 10000 cells"),
        ([*SWEEP, "--workers", "99999999"], "from 1 to 100000"),
        ([*SWEEP, "--decoding-tolerance", "nan"], "tolerance must be a number"),
        ([*SWEEP, "--decoding-tolerance", -1], "tolerance must be a number"),
        ([*SWEEP, "--rank", 50], "rank must be at most"),
        ([*SWEEP, "--delays", "exp:mean=20"], "a time with its unit"),
    ],
)
def test_mistyped_numbers_are_refused_at_once(arguments: list[object], message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    started = time.perf_counter()
    result = run(*arguments, *(["--out", out] if arguments[0] in ("sweep", "fit") else []))
    refused_at_once(result, started, message)
    assert not out.exists()


def test_a_partition_number_far_beyond_the_workers_is_an_infeasible_cell(tmp_path: Path) -> None:
    started = time.perf_counter()
    result = run(*SWEEP, "--workers", "8", "--partitions", "2,90000", "--code", "entangled", "--out", tmp_path / "out")
    assert time.perf_counter() - started < AT_ONCE_S
    assert "1 infeasible" in result.stdout


def test_lists_longer_than_the_catalogue_are_as_long_as_it(tmp_path: Path) -> None:
    ratings, model = tmp_path / "ratings.txt", tmp_path / "model.npz"
    ratings.write_text("".join(f"{u} {i} {1 + (u * i) % 5}\n" for u in range(12) for i in range(8) if (u + i) % 3))
    assert run("fit", ratings, "--rank", 2, "--cluster", "inline", "--workers", 4, "--out", model).exit_code == 0
    whole, longer = (
        json.loads(run("evaluate", model, ratings, "-k", k, "--json").stdout)["ranking"] for k in (8, 10**9)
    )
    assert longer.pop("precision") == pytest.approx(whole.pop("precision") * 8 / 1e9)
    assert (whole.pop("k"), longer.pop("k")) == (8, 10**9)
    assert longer == whole
    assert len(run("recommend", model, "--user", 3, "-n", 10**9).stdout.splitlines()) <= 8


def in_shell(redirections: str) -> subprocess.CompletedProcess[str]:
    script = "from coded_als.cli import main; main()"
    command = f"exec '{sys.executable}' -c '{script}' threshold --partitions 2 {redirections}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True)


def test_a_closed_stdout_is_one_line() -> None:
    result = in_shell(">&-")
    assert result.returncode == 2
    assert result.stderr == "Error: stdout must be open; it is closed. Send it to a file, or to /dev/null.\n"


def test_nothing_else_needs_to_be_open() -> None:
    result = in_shell("<&- 2>&-")
    assert result.returncode == 0
    assert "3 of 3 workers are always enough" in result.stdout
