"""``coded-als codes``: table, JSON, figure and refusals."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.codes import CODES

SMALL = ["codes", "--workers", "8", "--cols", "64", "--rank", "4"]


def run(*arguments):
    return CliRunner().invoke(main, [*SMALL, *arguments])


def test_the_document_has_a_row_for_each_code():
    result = run("--code", "systematic:p=4", "--code", "replicated", "--delays", "exp:mean=5ms", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["workers"], document["delays"]) == (8, "exp:mean=5ms")
    systematic, replicated = document["codes"]
    assert systematic["code"] == "systematic:p=4"
    assert systematic["memory_bytes"] == replicated["memory_bytes"] == 8 * 64 * 64 / 4
    assert systematic["virtual_seconds_mean"] < replicated["virtual_seconds_mean"]
    assert systematic["virtual_seconds_p99"] < replicated["virtual_seconds_p99"]
    assert 0 < systematic["decoding_error_median"] <= systematic["decoding_error_p99"] < 1e-11
    assert systematic["decoding_error_contiguous"] < 1e-11


def test_the_table_shows_each_kind_of_code():
    result = run()
    assert result.exit_code == 0, result.output
    for name in ("uncoded", "replicated:copies=4", "systematic:p=4", "entangled:h=3", "entangled:p=8,r=1"):
        assert name in result.stdout


@pytest.mark.parametrize("memory", ["25%", "8.192kB"])
def test_no_code_takes_more_memory_than_there_is(memory):
    document = json.loads(run("--memory", memory, "--json").stdout)
    assert document["codes"]
    assert all(row["memory_bytes"] <= 8192 for row in document["codes"])
    assert "systematic:p=4" in {row["code"] for row in document["codes"]}


def test_all_shows_every_member_within_the_memory():
    rows = json.loads(run("--all", "--memory", "20%", "--json").stdout)["codes"]
    assert {f"systematic:p={p}" for p in (5, 6, 7, 8)} <= {row["code"] for row in rows}
    assert all(row["share"] <= 0.2 for row in rows)


def test_the_figure_is_written(tmp_path):
    path = tmp_path / "front.svg"
    assert run("--figure", str(path)).exit_code == 0
    assert "Pareto front" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory", "much"], "--memory must be like 500MB, 2GB or 10%; got 'much'"),
        (["--memory", "1%"], "memory must hold a share of some code on 8 workers"),
        (["--code", "systematic:p=9"], "workers must be at least 9"),
        (["--code", "fountain"], "code must be one of"),
        (["--delays", "exp:mean=20"], "mean must be a time with its unit"),
        (["--figure", "front.txt"], "--figure must end in svg, pdf, png"),
        (["--figure", "no/such/folder/front.svg"], "--figure must be writable"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_code_of_ones_own_is_among_them(monkeypatch, tmp_path):
    module = (
        "from coded_als.codes import Systematic, register_code\n@register_code('mine')\nclass Mine(Systematic): pass\n"
    )
    (tmp_path / "code_for_all.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CODED_ALS_PLUGINS", "code_for_all")
    try:
        rows = json.loads(run("--json").stdout)["codes"]
    finally:
        CODES.pop("mine", None)
    assert "mine:p=4" in {row["code"] for row in rows}


def test_a_module_that_cannot_be_found_is_refused(monkeypatch):
    monkeypatch.setenv("CODED_ALS_PLUGINS", "no_such_module_anywhere")
    result = run()
    assert result.exit_code == 2
    assert "CODED_ALS_PLUGINS must name modules that Python finds" in result.stderr


def test_sparse_rows_are_put_beside_the_codes():
    rows = json.loads(run("--entries", "200", "--code", "systematic:p=4", "--json").stdout)["codes"]
    assert [row["kind"] for row in rows] == ["systematic", *["sparse rows"] * 4]
    assert [row["threshold"] for row in rows[1:]] == [8, 4, 2, 2]
    # 200 entries of 12 bytes, and an end of 4 for each of 64 rows
    assert rows[1]["memory_bytes"] == (200 * 12 + 64 * 4) / 8
    assert "replicated:copies=3, sparse rows" in run("--entries", "200").stdout
