"""Damaged result folders: one line or a whole report, never a traceback; a resumed sweep repairs what it can."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coded_als.cli import main

OPTIONS = ["--rows", "30", "--cols", "20", "--rank", "2", "--workers", "6", "--partitions", "2", "--code", "uncoded"]
OPTIONS += ["--code", "entangled", "--repeats", "2", "--lobpcg-iterations", "2"]
FILES = ["spec.json", "results.jsonl", "environments.jsonl", "examples.json"]
damage_settings = settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def sweep(folder: Path, *options: str) -> Result:
    return run("sweep", *OPTIONS, "--out", folder, *options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    assert sweep(folder).exit_code == 0
    return folder


def copy_of(whole: Path, place: Path) -> Path:
    shutil.rmtree(place / "copy", ignore_errors=True)
    return Path(shutil.copytree(whole, place / "copy"))


def is_one_line_or_done(result: Result) -> None:
    assert result.exit_code in (0, 2), result.output
    assert result.exit_code == 0 or len(result.stderr.splitlines()) == 1


PIECES = st.sampled_from([b"", b"\n", b"{", b"null", b"[]", b"NaN", b"1e999", b'"', b"\xff", b"\0", b"[" * 3000, b"-1"])


@damage_settings
@given(st.sampled_from(FILES), st.floats(0, 1), st.integers(0, 40), PIECES)
def test_whatever_is_damaged_is_one_line(
    whole: Path, tmp_path: Path, name: str, place: float, length: int, piece: bytes
) -> None:
    folder = copy_of(whole, tmp_path)
    content = (folder / name).read_bytes()
    start = int(place * len(content))
    (folder / name).write_bytes(content[:start] + piece + content[start + length :])
    is_one_line_or_done(run("report", folder))
    if name == "results.jsonl":  # the others only stop it, or are written again
        is_one_line_or_done(sweep(folder, "--resume"))


def test_damaged_cells_run_again(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path)
    results = folder / "results.jsonl"
    first, second = results.read_bytes().splitlines(keepends=True)
    for damaged in (
        first.replace(b"seconds_high95", b"seconds_hig95"),
        first[:50] + b"\n",
        b'{"cell": 3}\n',
        first.replace(b"virtual_seconds_mean", b"v"),
        b"\xff\n",
    ):
        results.write_bytes(damaged + second)
        assert sweep(folder, "--resume").exit_code == 0
        assert results.read_bytes() == first + second


def test_a_damaged_spec_is_no_other_spec(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path)
    (folder / "spec.json").write_text("{")
    result = sweep(folder, "--resume")
    assert result.exit_code == 2
    assert "spec.json is damaged" in result.stderr


def test_damaged_wall_times_are_one_line(tmp_path: Path) -> None:
    from coded_als.errors import UsageError
    from coded_als.experiments.table1.paper_table import WALL_FILE, read_wall

    for damaged in ("{\n", '{"cell": 1}\n', '{"cell": {}, "wall_seconds_per_round_mean": null}\n', "[" * 10_000 + "\n"):
        (tmp_path / WALL_FILE).write_text(damaged)
        with pytest.raises(UsageError, match="is damaged"):
            read_wall(tmp_path)
