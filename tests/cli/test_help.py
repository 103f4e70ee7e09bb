"""Help texts: examples that run, headings, 80 columns, and all SPECs that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from coded_als.cli import COMMANDS, SECTIONS, main
from coded_als.cli.help import CODE_SPECS, DELAY_SPECS, HEADINGS, MANY, CommandWithExamples, heading_of, spelling
from coded_als.codes import parse_code
from coded_als.codes.family import CODES
from coded_als.delays import MEASURED, parse_delays
from coded_als.delays.spec import MODELS


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (module, _) in COMMANDS.items():
        command = import_module(module).command
        below = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        yield from ((f"{name} {inner}".strip(), one) for inner, one in below)


EVERY = dict(commands())
NAMES = list(EVERY)


def test_the_first_help_names_every_command_once() -> None:
    named = " ".join(SECTIONS.values()).split()
    assert sorted(named) == sorted(COMMANDS)
    shown = run("--help").output
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", NAMES)
def test_a_help_begins_with_examples_and_fits_80_columns(name: str) -> None:
    command = EVERY[name]
    assert isinstance(command, CommandWithExamples), name
    assert command.examples
    for option in ("--help", "--help-all") if len(command.params) > MANY else ("--help",):
        shown = run(*name.split(), option)
        assert shown.exit_code == 0
        assert max(map(len, shown.output.splitlines())) <= 80
        assert "Examples:\n  " in shown.output
        assert "RANGE]" not in shown.output.upper().replace("[RANGE]", "")
        assert not re.search(r"x[<>]=", shown.output)


def test_the_help_of_fit_fits_a_screen() -> None:
    assert len(run("fit", "--help").output.splitlines()) <= 60


@pytest.mark.parametrize("name", [name for name in NAMES if len(EVERY[name].params) > MANY])
def test_every_option_of_a_large_command_stands_under_a_heading(name: str) -> None:
    command = EVERY[name]
    without = [spelling(one) for one in command.params if isinstance(one, click.Option) and heading_of(one) == "Others"]
    assert not without
    shown = run(*name.split(), "--help-all").output
    assert all(
        f"--{spelling(one)}" in shown
        for one in command.params
        if isinstance(one, click.Option) and len(spelling(one)) > 1
    )


def test_headings_name_options_that_there_are() -> None:
    known = {spelling(option) for command in EVERY.values() for option in command.params} | {"help", "help-all"}
    assert {name for names in HEADINGS.values() for name in names.split()} <= known


@pytest.mark.parametrize("name", NAMES)
def test_the_options_in_examples_exist(name: str) -> None:
    for example in EVERY[name].examples:
        assert "coded-als" in example or name == "keys"
        options = set(re.findall(r"(?<= )(--?[a-z][-a-z]*)", example))
        known = {spelled for one in EVERY[name].params for spelled in one.opts}
        assert options <= known | {"--help"}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = [
        f"{user}\t{item}\t{rng.integers(1, 6)}\t{rng.integers(1000)}"
        for user in range(180, 240)
        for item in range(40)
        if rng.random() < 0.5
    ]
    Path("ratings.tsv").write_text("\n".join(lines) + "\n")
    Path("delays.csv").write_text(
        "round,worker,seconds\n" + "".join(f"{r},{w},{0.01 * w}\n" for r in range(9) for w in range(30))
    )
    for words in ("split ratings.tsv --out ml", "fit ml.train.tsv --rank 4 --cluster inline --out model.npz"):
        assert run(*words.split()).exit_code == 0
    return tmp_path


# examples that need other machines, or that tests of their own run
ELSEWHERE = ("demo", "keys", "worker", "doctor", "warm-up", "sweep", "report", "reproduce table1", "check-code")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSEWHERE])
def test_the_first_example_runs(desk: Path, name: str) -> None:
    program, *words = shlex.split(EVERY[name].examples[0])
    assert program == "coded-als"
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "Error" not in result.stderr
    assert result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_examples_of_this_machine_run(desk: Path, name: str) -> None:
    for example in EVERY[name].examples:
        program, *words = shlex.split(example)
        if program == "coded-als" and name not in ("worker", "report"):
            assert run(*words).exit_code == 0, example


def own(classes: dict[str, type]) -> dict[str, type]:
    """Those that no plugin brought."""
    return {name: one for name, one in classes.items() if one.__module__.startswith("coded_als.")}


@pytest.mark.parametrize(
    ("table", "parse", "classes"), [(DELAY_SPECS, parse_delays, MODELS), (CODE_SPECS, parse_code, CODES)]
)
def test_the_specs_in_the_help_are_all_there_are(table, parse, classes) -> None:  # type: ignore[no-untyped-def]
    for spec in table:
        assert spec == "trace:FILE" or parse(spec)
    assert {spec.partition(":")[0] for spec in table} - {"trace", "measured"} == set(own(classes))
    assert table is CODE_SPECS or {f"measured:{name}" for name in MEASURED} <= table.keys()
    named = {field for spec in table for field in re.findall(r"(\w+)=", spec)}
    assert named == {field.name for one in own(classes).values() for field in fields(one)}  # type: ignore[arg-type]


def test_help_shows_specs_and_commands() -> None:
    specs = run("help", "specs").output
    assert all(spec in specs for spec in [*DELAY_SPECS, *CODE_SPECS])
    assert max(map(len, specs.splitlines())) <= 80
    assert run("help", "fit").output == run("fit", "--help").output
    assert run("help").output == run("--help").output
    refused = run("help", "fti")
    assert refused.exit_code == 2
    assert "Did you mean fit?" in refused.stderr
