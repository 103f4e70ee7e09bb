"""The demo, at a size that takes a second: what it runs, what it reports, what it concludes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from coded_als.cli import demo as command
from coded_als.experiments import demonstration
from coded_als.experiments.demonstration import DemoResult, comparison

SIZES = {"ROWS": 60, "COLUMNS": 40, "RANK": 3, "DELAYS": "slow:n=1,delay=60ms"}
NAMES = ["uncoded", "two copies", "three copies", "coded, memory of two copies", "the paper's code and update"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SIZES.items():
        monkeypatch.setattr(demonstration, name, value)
        monkeypatch.setattr(command, name, value)


@pytest.mark.usefixtures("small")
def test_every_scheme_solves_the_same_problem_under_the_same_delays() -> None:
    result = CliRunner().invoke(command.command, ["--json"], catch_exceptions=False)
    document = json.loads(result.stdout)
    assert (document["workers"], document["delays"]) == (30, SIZES["DELAYS"])
    schemes = {scheme["scheme"]: scheme for scheme in document["schemes"]}
    assert list(schemes) == NAMES
    assert all(abs(scheme["relative_error"]) < 1e-7 for scheme in schemes.values())
    uncoded, copies, _, coded, paper = schemes.values()
    # everybody is waited for, so every round takes what the slow worker takes
    assert uncoded["responses"] == [30, 30]
    assert uncoded["seconds_per_iteration"] >= 0.06
    assert uncoded["seconds"] >= uncoded["rounds"] * 0.06
    assert coded["share"] == copies["share"] == 2 * uncoded["share"]
    assert (coded["responses"][0], coded["code"]) == (15, "systematic:p=15")
    assert (paper["responses"][0], paper["code"]) == (21, "entangled:h=6")
    assert all(scheme["responses"][1] < 30 for scheme in (coded, paper))
    assert paper["iterations"] > coded["iterations"]


@pytest.mark.usefixtures("small")
def test_the_table_names_every_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [outcome(name, seconds) for name, seconds in zip(NAMES, (9.0, 2.0, 1.5, 0.5, 1.0), strict=True)]
    monkeypatch.setattr(command, "run_demo", lambda seed, tell: outcomes)
    text = CliRunner().invoke(command.command, [], catch_exceptions=False).stdout
    assert all(name in text for name in NAMES)
    assert "15-17 of 30" in text
    sentence = "(6.7% of the matrix per worker) coding won a factor of 4.0 over two copies, and 18 over waiting"
    assert sentence in " ".join(text.split())


def outcome(name: str, seconds: float) -> DemoResult:
    return DemoResult(name, "systematic:p=15", 1 / 15, seconds, 7, 9, seconds / 9, (15, 17), 4e-10)


def test_the_verdict_admits_a_defeat() -> None:
    for copies, coded in ((2.0, 3.0), (10.0, 9.5)):
        outcomes = [outcome(n, s) for n, s in zip(NAMES, (9.0, copies, 3.0, coded, 1.0), strict=True)]
        assert "Coding did not win here" in comparison(outcomes)
