"""What is typed wrongly is one line: the rule, what was got, and the remedy."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from coded_als.cli import main
from tests.cli.test_commands import commands


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, prog_name="coded-als")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.endswith(".\n")
    return result.stderr


TYPED = [
    (name, option)
    for name, command in commands()
    for option in command.params
    if isinstance(option, click.Option)
    and isinstance(option.type, (click.Choice, click.IntRange, click.FloatRange, type(click.INT), type(click.FLOAT)))
]


@pytest.mark.parametrize(
    ("name", "option"), TYPED, ids=lambda one: one.opts[-1] if isinstance(one, click.Option) else one
)
def test_a_value_of_the_wrong_kind(name: str, option: click.Option) -> None:
    flag = max(option.opts, key=len)
    told = refused(*name.split(), flag, "moon")
    assert f"{flag} must be " in told
    assert f"; got 'moon'. See coded-als {name} --help." in told


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_an_option_that_is_not_there(name: str) -> None:
    assert "no such option: --moon. " in refused(*name.split(), "--moon", "3")


@pytest.mark.parametrize(
    "name", [n for n, c in commands() if any(p.required and isinstance(p, click.Argument) for p in c.params)]
)
def test_an_argument_that_is_left_out(name: str) -> None:
    assert f" must be given. See coded-als {name} --help." in refused(*name.split())


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["fit", "x", "--rnk", "3"], "no such option: --rnk. Did you mean --rank? See"),
        (["reproduse"], "no such command: coded-als reproduse. Did you mean reproduce? See"),
        (
            ["reproduce", "table9"],
            "no such command: coded-als reproduce table9. Did you mean table1?",
        ),
        (["--moon"], "no such option: --moon. See coded-als --help."),
        (["fit", "x", "y", "z"], "coded-als fit takes RATINGS; got also y z. Quote a name that has spaces. See"),
        (["doctor", "x"], "coded-als doctor takes no argument; got also x."),
        (["sweep", "--workers"], "--workers must have a value; got none."),
        (["fit", "x", "--json=3"], "--json must stand alone; got a value."),
        (["plan", "--rows", "30"], "--workers, --cols, --rank and --delays must be given. See"),
        (["plan", "--rows", "-3"], "--rows must be a whole number of at least 1; got -3."),
        (
            ["fit", "synthetic:m=20,n=15,d=3,noise=0.1", "--rank", "3", "--serve", "99999"],
            "--serve must be PORT or HOST:PORT, like 8080 or 0.0.0.0:8080; got '99999'.",
        ),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_other_mistakes(typed: list[str], told: str) -> None:
    assert told in refused(*typed)


@pytest.mark.parametrize("typed", [[], ["reproduce"]])
def test_a_group_alone_shows_its_help(typed: list[str]) -> None:
    result = CliRunner().invoke(main, typed)
    assert "--help" in result.output
    assert "Error" not in result.output


def test_a_folder_that_is_mistyped_starts_no_sweep_of_defaults(tmp_path: Path) -> None:
    told = refused("sweep", "--out", str(tmp_path / "mistyped"), "--resume")
    assert "--resume needs the folder of a sweep" in told
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize(
    "typed",
    [["sweep", "--config", "none.toml", "--out", "out"], ["report", "nowhere"], ["recommend", "none.npz", "--all"]],
)
def test_a_file_that_is_not_there_is_told_in_words(typed: list[str]) -> None:
    told = refused(*typed)
    assert "No such file or directory" in told
    assert "Errno" not in told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--rank", "0"], "Error: --rank must be a whole number of at least 1; got 0."),
        (["--protocol", "paper", "--solver", "lobpcg"], "Use --protocol fused or --solver als."),
        (["--decoding-tolerance", "-1"], "Error: --decoding-tolerance must be a number"),
        (["--code", "systemtic:p=6"], "got 'systemtic'. Did you mean systematic? See coded-als help specs."),
        (["--block", "many"], "--block must be auto or a whole number of at least 1; got 'many'."),
    ],
)
def test_an_error_of_the_library_names_what_was_typed(typed: list[str], told: str) -> None:
    assert told in refused("fit", "synthetic:m=20,n=15,d=3,noise=0.1", *typed) + "\n"
