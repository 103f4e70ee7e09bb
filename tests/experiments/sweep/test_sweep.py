"""Sweeps: the same bytes however they are run, cut short or resumed, and the same stragglers for all schemes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.als import CodedALS
from coded_als.cli.sweep import command
from coded_als.cluster.machine import Machine
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.codes import Entangled, PointFamily
from coded_als.delays import DelayStream
from coded_als.errors import UsageError
from coded_als.experiments.sweep import runs as sweep_module
from coded_als.experiments.sweep.grids import Cell, SweepSpec, require_feasible
from coded_als.experiments.sweep.result_folder import append_times, finish_times, read_results, read_times, times_table
from coded_als.experiments.sweep.rows import SecondsColumns, SweepCell, SweepRow, canonical
from coded_als.experiments.sweep.runs import run_cell
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import typical_iterations
from coded_als.planner.statistics import mean_and_interval
from coded_als.planner.timing import Draws, Infeasible, Workload, iteration_seconds, repetition_seed
from tests.experiments.table1 import closed_forms

INSTANT = Machine(np.inf, np.inf, 0.0, 0.0)
SMALL = ["--rows", "60", "--cols", "40", "--rank", "3", "--workers", "12,20", "--partitions", "2:3", "--repeats", "4"]


def workload(delays: str = "exp:mean=1s", machine: Machine = INSTANT, tolerance: float | None = 1e-10) -> Workload:
    return Workload(Size(60, 40, 3), delays, machine, tolerance, typical_iterations(als=50, lobpcg=10))


def drawn_seconds(scheme: Scheme, workload: Workload, seed: int, repeats: int, most: int | None = None) -> np.ndarray:
    draws = Draws(workload.model, scheme.workers, seed, repeats)
    return iteration_seconds(scheme, workload, draws, most)


def spec(numerics: bool = False, machine: Machine = INSTANT, repeats: int = 3) -> SweepSpec:
    return SweepSpec(
        "virtual", numerics, Size(60, 40, 3), machine, None, typical_iterations(als=50, lobpcg=10), repeats, seed=0
    )


def sweep(out: Path, *options: str) -> str:
    result = CliRunner().invoke(command, [*SMALL, "--out", str(out), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def results(out: Path) -> tuple[bytes, ...]:
    return tuple((out / name).read_bytes() for name in ("results.jsonl", "results.csv", "times.jsonl", "examples.json"))


def test_the_interval_is_that_of_student_at_95_percent() -> None:
    mean, low, high = mean_and_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    # a table's t of 4 degrees of freedom: 2.776445; the standard error is sqrt(2.5 / 5)
    assert (mean, low, high) == pytest.approx((3.0, 3.0 - 2.776445 * np.sqrt(0.5), 3.0 + 2.776445 * np.sqrt(0.5)))
    assert mean_and_interval(np.array([7.0])) == (7.0, None, None)


def test_uncoded_workers_wait_for_the_slowest() -> None:
    seconds = drawn_seconds(Scheme("uncoded", 8), workload(), seed=3, repeats=40)
    expected = closed_forms.exponential_order_mean(8, 8, 1.0)
    mean, low, high = mean_and_interval(seconds.mean(axis=1))
    assert low is not None
    assert high is not None
    assert low - (high - low) < expected < high + (high - low)
    assert mean == pytest.approx(expected, rel=0.05)


def test_all_schemes_meet_the_same_stragglers() -> None:
    delays = DelayStream("exp:mean=1s", 13, repetition_seed(7, 1))
    table = np.sort([delays.next_round() for _ in range(10)], axis=1)
    real = drawn_seconds(Scheme("entangled:h=3,points=real", 13, solver="lobpcg"), workload(), seed=7, repeats=2)
    uncoded = drawn_seconds(Scheme("uncoded", 12, solver="lobpcg"), workload(), seed=7, repeats=2)
    np.testing.assert_allclose(real[1], table[:, 10])
    assert (uncoded[1] <= table[:, -1]).all()


@pytest.mark.parametrize(
    ("scheme", "delays", "said"),
    [
        (Scheme("entangled:h=3,points=real", 10), "none", "at least 11"),
        (Scheme("entangled:h=3,points=real", 12), "dead:n=2", "10 are alive"),
        (Scheme("uncoded", 12), "dead:n=1", "No copy is left"),
        (Scheme("entangled:h=6,points=real", 50), "exp:mean=1s", "decoding must be accurate"),
        (Scheme("replicated:copies=3", 2), "none", "at least 3 for code replicated:copies=3"),
    ],
)
def test_schemes_that_cannot_run_say_why(scheme: Scheme, delays: str, said: str) -> None:
    with pytest.raises(Infeasible, match=said):
        drawn_seconds(scheme, workload(delays), seed=0, repeats=2)


def test_a_cell_is_a_row_whatever_happens() -> None:
    done, infeasible = (
        run_cell(spec(), Cell(Scheme("entangled:h=3", workers), 0, "exp:mean=1s")) for workers in (10, 5)
    )
    assert done["status"] == "done"
    assert done["virtual_seconds_low95"] < done["virtual_seconds_mean"] < done["virtual_seconds_high95"]
    assert (infeasible["status"], infeasible["reason"][:20]) == ("infeasible", "workers must be at l")
    assert not any("wall" in name for name in done)


def test_numerics_run_the_algorithm_to_convergence() -> None:
    cell = Cell(Scheme("entangled:h=3", 10, solver="lobpcg"), 1, "exp:mean=1ms")
    row = run_cell(spec(numerics=True, machine=Machine(), repeats=2), cell)
    assert row["status"] == "done"
    assert row["converged"]
    assert row["history"][-1][1] == pytest.approx(row["objective"], rel=1e-6)
    assert row["largest_decoding_error_estimate"] <= Entangled().tolerance


def test_what_cannot_be_decoded_is_infeasible_with_and_without_numerics() -> None:
    cell = Cell(Scheme("entangled:h=6,points=real", 50, solver="lobpcg"), 0, "exp:mean=1s")
    rows = [run_cell(spec(numerics, repeats=1), cell) for numerics in (False, True)]
    assert [row["status"] for row in rows] == ["infeasible", "infeasible"]
    assert all("decoding must be accurate" in row["reason"] for row in rows)


def test_processes_resumption_and_repetition_give_the_same_bytes(tmp_path: Path) -> None:
    sweep(tmp_path / "one")
    sweep(tmp_path / "two", "-j", "2")
    assert results(tmp_path / "one") == results(tmp_path / "two")
    with pytest.raises(UsageError, match="Add --resume"):
        sweep(tmp_path / "one")
    sweep(tmp_path / "one", "--resume")
    assert results(tmp_path / "one") == results(tmp_path / "two")
    with pytest.raises(UsageError, match="holds another"):
        sweep(tmp_path / "one", "--resume", "--seed", "1")


def test_a_folder_holds_its_delays_in_their_order(tmp_path: Path) -> None:
    twice = ["--delays", "exp:mean=20ms", "--delays", "none"]
    sweep(tmp_path, *twice)
    rows = read_results(tmp_path)[1]
    assert [row["cell"]["delays"] for row in rows] == ["exp:mean=20ms"] * 14 + ["none"] * 14
    sweep(tmp_path, *twice, "--delays", "exp:mean=0.02s", "--resume")
    before = results(tmp_path)
    for others in (twice[:2], [*twice[2:], *twice[:2]]):
        sweep(tmp_path, *others, "--resume")
        assert results(tmp_path) == before


def test_all_delays_are_drawn_from_the_same_random_numbers() -> None:
    for scheme in (Scheme("uncoded", 12), Scheme("entangled:h=3", 12)):
        short, long = (run_cell(spec(), Cell(scheme, 0, f"exp:mean={mean}")) for mean in ("1s", "4s"))
        assert long["virtual_seconds_mean"] == pytest.approx(4 * short["virtual_seconds_mean"])


@pytest.mark.parametrize("points", ["circle", "real"])
def test_without_a_tolerance_the_rounds_are_those_of_the_estimator(points: PointFamily) -> None:
    scheme = Scheme(f"entangled:h=3,points={points}", 14, solver="als")
    unset = workload("exp:mean=1s", tolerance=None)
    model = CodedALS(3, code=scheme.code, solver="als", iterations=20, tolerance=0.0, precomputation="local")
    with SimulatedCluster(14, unset.delays, repetition_seed(0, 0), INSTANT) as cluster:
        model.fit(np.random.default_rng(0).standard_normal((60, 40)), cluster=cluster)
    drawn = drawn_seconds(scheme, unset, seed=0, repeats=1, most=20)
    np.testing.assert_allclose(
        [entry.seconds for entry in model.history_], drawn[0] - unset.master_s(scheme), rtol=1e-9
    )
    assert unset.tolerance_of(scheme) == Entangled(points=points).tolerance
    assert workload().tolerance_of(scheme) == 1e-10


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.slow
def test_a_killed_sweep_loses_no_finished_cell(tmp_path: Path, processes: str) -> None:
    options = [
        *SMALL,
        "--solver",
        "als",
        "--delays",
        "pareto:alpha=3,scale=5ms",
        "--out",
        str(tmp_path / "killed"),
    ]
    script = "from coded_als.cli.sweep import command; command()"
    arguments = [sys.executable, "-c", script, *options, "-j", processes]
    process = subprocess.Popen(arguments, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    journal = tmp_path / "killed" / "journal.jsonl"
    _wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = journal.read_bytes().count(b"\n") if journal.exists() else 14
    assert finished >= 3
    assert len(read_results(tmp_path / "killed")[1]) >= 3
    sweep(tmp_path / "killed", *options[len(SMALL) : -2], "--resume")
    sweep(tmp_path / "unbroken", *options[len(SMALL) : -2])
    assert results(tmp_path / "killed") == results(tmp_path / "unbroken")


def _wait_until(true: object, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    output = sweep(tmp_path / "out", "--dry-run")
    assert output.startswith("14 cells x 4 repetitions, virtual seconds; 0 cannot run; nothing was run")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "50:10"], "ascending"),
        (["--delays", "gauss:1"], "delays must be"),
        (["--code", "entangled:points=line"], "points must be"),
        (["--code", "fountain"], "code must be one of"),
        (["--cluster", "local", "-j", "2"], "-j must be 1"),
        (["--protocol", "paper", "--solver", "lobpcg"], "must have a cell"),
        (["--speed", "0"], "above 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path: Path, options: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        sweep(tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_hundred_cells_are_quick(tmp_path: Path) -> None:
    started = time.perf_counter()
    sweep(tmp_path / "out", "--workers", "10:50:5", "--partitions", "2:6", "--stragglers", "0,2", "--repeats", "20")
    assert len(read_results(tmp_path / "out")[1]) >= 200
    assert time.perf_counter() - started < 60


@pytest.mark.slow
def test_local_cells_are_measured_in_wall_seconds(tmp_path: Path) -> None:
    options = [
        "--cluster",
        "local",
        "--workers",
        "6",
        "--partitions",
        "2",
        "--repeats",
        "1",
        "--delays",
        "exp:mean=2ms",
    ]
    sweep(tmp_path / "out", *options)
    rows = read_results(tmp_path / "out")[1]
    assert all(row["status"] in ("done", "infeasible") for row in rows)
    assert all("wall_seconds_mean" in row for row in rows if row["status"] == "done")
    assert not any("virtual" in name for row in rows for name in row)


def test_resumption_needs_the_folder_alone(tmp_path: Path) -> None:
    options = ["--solver", "als", "--delays", "exp:mean=3ms", "--delays", "none", "--latency", "1ms", "--seed", "5"]
    sweep(tmp_path / "whole", *options)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    lines = (tmp_path / "cut" / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / "results.jsonl").write_text("".join(lines[:7]))
    arguments = ["--out", str(tmp_path / "cut"), "--resume"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_values_are_added_to_a_finished_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path / "grown")
    ran = []
    monkeypatch.setattr(sweep_module, "run_cell", lambda spec, cell: ran.append(cell) or run_cell(spec, cell))
    more = ["--out", str(tmp_path / "grown"), "--resume", "--partitions", "5", "--delays", "none", "--workers", "16"]
    assert CliRunner().invoke(command, more, catch_exceptions=False).exit_code == 0
    sweep(tmp_path / "direct", "--partitions", "2,3,5", "--workers", "12,16,20",
          "--delays", "exp:mean=20ms", "--delays", "none")  # fmt: skip
    assert results(tmp_path / "grown") == results(tmp_path / "direct")
    cells = read_results(tmp_path / "direct")[1]
    assert len(ran) == 2 * len(cells) - 14


def test_other_settings_are_refused_when_resumed(tmp_path: Path) -> None:
    sweep(tmp_path)
    for other in (["--rank", "4"], ["--repeats", "5"], ["--numerics"], ["--latency", "0.5s"]):
        with pytest.raises(UsageError, match="holds another"):
            CliRunner().invoke(command, ["--out", str(tmp_path), "--resume", *other], catch_exceptions=False)


def test_a_spec_file_stands_for_the_options_and_options_come_first(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        'rows = 60\ncols = 40\nrank = 3\nworkers = [12, 20]\npartitions = "2:3"\nrepeats = 4\n'
        'delays = ["exp:mean=20ms"]\nals-iterations = 20\ncode = ["uncoded", "entangled"]\n'
    )
    arguments = ["--config", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "file"), "--seed", "2"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    sweep(tmp_path / "line", "--seed", "2", "--als-iterations", "20", "--code", "uncoded", "--code", "entangled")
    assert results(tmp_path / "file") == results(tmp_path / "line")
    arguments = ["--config", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "file"), "--resume"]
    assert CliRunner().invoke(command, [*arguments, "--seed", "2"], catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 3", "got 'worker'"),
        ("out = 'x'", "got 'out'"),
        ("rows = ", "must be a TOML file"),
        ("[rows]\nx = 1", "got a table"),
    ],
)
def test_a_bad_spec_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        sweep(tmp_path / "out", "--config", str(tmp_path / "sweep.toml"))
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_which_cells_cannot_run_and_is_right(tmp_path: Path) -> None:
    codes = ("entangled", "replicated", "replicated:copies=3", "systematic")
    options = ["--partitions", "2,4", "--stragglers", "0,4", *(word for code in codes for word in ("--code", code))]
    planned = sweep(tmp_path / "out", *options, "--dry-run").splitlines()
    sweep(tmp_path / "out", *options)
    ran = [row["status"] for row in read_results(tmp_path / "out")[1]]
    assert ["cannot run" in line for line in planned[1:]] == [status == "infeasible" for status in ran]
    assert f"{ran.count('infeasible')} cannot run" in planned[0]
    assert {"done", "infeasible"} == set(ran)


def test_a_grid_of_which_no_cell_can_run_is_refused() -> None:
    def cells(workers: int, stragglers: int, partitions: int) -> list[Cell]:
        return [Cell(Scheme(f"entangled:h={partitions}", workers), stragglers, "none")]

    with pytest.raises(UsageError, match="none of 1 can"):
        require_feasible(spec(), cells(5, 0, 6))
    with pytest.raises(UsageError, match="2 are alive"):
        require_feasible(spec(), cells(5, 3, 2))
    require_feasible(spec(), cells(5, 0, 6) + cells(10, 0, 2))


def test_every_second_of_every_round_is_kept(tmp_path: Path) -> None:
    sweep(tmp_path, "--solver", "als", "--protocol", "fused,paper", "--als-iterations", "6")
    rows = {canonical(row["cell"]): row for row in read_results(tmp_path)[1] if row["status"] == "done"}
    times = list(read_times(tmp_path))
    assert [canonical(row["cell"]) for row in times] == list(rows)
    for kept in times:
        row, seconds = rows[canonical(kept["cell"])], np.array(kept["round_seconds"])
        assert seconds.shape == (4, 6, 3 if kept["cell"]["protocol"] == "paper" else 1)
        assert seconds.sum(axis=(1, 2)).mean() == pytest.approx(row["virtual_seconds_mean"], rel=1e-5)
        levels, quantiles = (row["virtual_iteration_seconds_quantiles"][name] for name in ("levels", "seconds"))
        assert quantiles[levels.index(1.0)] == pytest.approx(seconds.sum(axis=2).max(), rel=1e-5)
    table = times_table(tmp_path)
    assert len({len(column) for column in table.values()}) == 1
    assert sum(table["seconds"]) == pytest.approx(sum(np.sum(kept["round_seconds"]) for kept in times))
    assert max(table["round"]) == 2


def test_times_survive_a_torn_line(tmp_path: Path) -> None:
    append_times(tmp_path, {"h": 1}, [[[1.0]]])
    append_times(tmp_path, {"h": 2}, [[[2.0]]])
    whole = (tmp_path / "times.jsonl").read_bytes()
    (tmp_path / "times.jsonl").write_bytes(whole[:-9])
    append_times(tmp_path, {"h": 3}, [[[3.0]]])
    append_times(tmp_path, {"h": 2}, [[[2.0]]])
    assert [row["cell"]["h"] for row in read_times(tmp_path)] == [1, 3, 2]
    finish_times(tmp_path, [{"h": 1}, {"h": 2}, {"h": 3}, {"h": 4}], parquet=False)
    assert [row["round_seconds"] for row in read_times(tmp_path)] == [[[[1.0]]], [[[2.0]]], [[[3.0]]]]


def test_parquet_holds_results_and_times(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    sweep(tmp_path, "--parquet")
    assert parquet.read_table(tmp_path / "results.parquet").num_rows == 14
    table = parquet.read_table(tmp_path / "times.parquet").to_pydict()
    assert table == times_table(tmp_path)


@pytest.mark.parametrize("numerics", [False, True])
def test_a_row_has_the_columns_that_its_type_declares(numerics: bool) -> None:
    row = run_cell(spec(numerics, repeats=2), Cell(Scheme("systematic", 6), 0, "exp:mean=1s"))
    assert row["status"] == "done"
    assert row.keys() <= SweepRow.__annotations__.keys()
    clock = {name for name in SecondsColumns.__annotations__ if name.startswith("virtual_")}
    assert clock <= row.keys()
    assert row["cell"].keys() == SweepCell.__annotations__.keys()


def test_the_masters_seconds_are_a_column_and_the_sweep_ends_with_its_finding(tmp_path: Path) -> None:
    given = ["--workers", "6", "--partitions", "2", "--rows", "80", "--cols", "60", "--rank", "4", "--repeats", "3"]
    result = CliRunner().invoke(command, [*given, "--message", "2ms", "--speed", "1e6", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = [row for row in read_results(tmp_path)[1] if row["status"] == "done"]
    for row in rows:
        spec = SweepSpec(
            "virtual", False, Size(80, 60, 4), Machine(1e6, message_s=2e-3), None, typical_iterations(), 3, 0
        )
        master_s = spec.workload("none").master_s(Cell.of(row["cell"]).scheme)
        assert row["virtual_master_seconds"] == pytest.approx(row["iterations"] * master_s)
        assert 0 < row["virtual_master_seconds"] < row["virtual_seconds_mean"]
    assert "6 workers, solver krylov, delays exp:mean=20ms: " in result.output
    assert re.search(r"is fastest with .* virtual seconds.*; .* of them are the master's own work\.", result.output)
