"""What is installed: pinned versions that pyproject allows, for each Python that it names, and its lower bounds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import dependencies

ROOT = Path(__file__).resolve().parents[1]
PROJECT = dependencies.project()["project"]
GROUPS = dependencies.project()["dependency-groups"]
NAMED = PROJECT["optional-dependencies"] | GROUPS
TRIED = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", text)]
DEVELOPERS = re.search(r"^DEV := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()  # type: ignore[index]
FILES = sorted((ROOT / "constraints").glob("*.txt"))


def pinned(path: Path) -> dict[str, str]:
    """The versions of a file, by name; nothing else may stand in it."""
    lines = path.read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.!]+", line) for line in lines), path
    return dict(line.split("==") for line in lines)


def wanted(*names: str) -> list[Requirement]:
    """What the project needs with some extras and groups, the extras that they name included."""
    found: list[Requirement] = []
    for requirement in map(Requirement, (text for name in names for text in NAMED[name])):
        found += wanted(*requirement.extras) if requirement.name == "coded-als" else [requirement]
    return found


def test_each_python_that_is_named_has_its_versions() -> None:
    assert [path.stem for path in FILES] == TRIED
    assert PROJECT["requires-python"] == f">={TRIED[0]}"
    readme = (ROOT / "README.md").read_text()
    assert f"Python {', '.join(TRIED[:-1])} and {TRIED[-1]}" in readme


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pinned_versions_are_what_the_project_allows(path: Path) -> None:
    versions = pinned(path)
    for requirement in [*map(Requirement, PROJECT["dependencies"]), *wanted(*DEVELOPERS, "docs")]:
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_lower_bounds_are_what_the_project_allows_and_no_less() -> None:
    bounds = dependencies.oldest(dependencies.project())
    every = [requirement for name in NAMED for requirement in wanted(name)]
    assert set(bounds) == {"setuptools", *(one.name for one in map(Requirement, PROJECT["dependencies"]))} | {
        one.name for one in every
    }
    for requirement in [*map(Requirement, PROJECT["dependencies"]), *every]:
        assert bounds[requirement.name] in requirement.specifier
        assert any(one.version == bounds[requirement.name] for one in requirement.specifier)


def test_the_highest_of_two_bounds_counts_and_one_without_is_an_error() -> None:
    described = {
        "build-system": {"requires": ["setuptools>=77"]},
        "project": {
            "dependencies": ["numpy>=2.9"],
            "optional-dependencies": {"one": ["numpy>=2.10", "coded-als[two]"], "two": ["mkdocs[a,b]>=1.6,<2"]},
        },
        "dependency-groups": {"three": ["ruff>=1"]},
    }
    assert dependencies.oldest(described) == {"setuptools": "77", "numpy": "2.10", "mkdocs": "1.6", "ruff": "1"}
    described["project"]["dependencies"].append("scipy")
    with pytest.raises(ValueError, match=r"must have a lower bound, like 'numpy>=2\.1'; got 'scipy'"):
        dependencies.oldest(described)


def test_groups_are_for_developers_and_extras_for_users() -> None:
    assert not set(GROUPS) & set(PROJECT["optional-dependencies"])
    table = (ROOT / "docs" / "install.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) >= set(PROJECT["optional-dependencies"])
    assert dependencies._targets(("report", "fuzz")) == [".[report]", *GROUPS["fuzz"]]
    assert dependencies._targets(("dev",)) == [".", *GROUPS["dev"]]
    # pip cannot resolve the project beside itself
    assert not any(requirement.startswith("coded-als") for group in GROUPS.values() for requirement in group)


def test_a_python_without_versions_gets_the_newest_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dependencies, "CONSTRAINTS", tmp_path / "9.9.txt")
    monkeypatch.setattr(dependencies, "PYTHON", "9.9")
    assert dependencies.constraints("pinned") == ""
    assert "No versions are pinned for Python 9.9: the newest are installed. `make update`" in capsys.readouterr().out
    (tmp_path / "9.9.txt").write_text("numpy==2.1\n")
    assert dependencies.constraints("pinned") == "numpy==2.1\n"
    assert dependencies.constraints("latest") == ""
    assert capsys.readouterr().out == ""


def test_what_is_installed_here_is_what_would_be_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "ROOT", tmp_path)
    monkeypatch.setattr(dependencies, "CONSTRAINTS", tmp_path / "constraints" / "9.9.txt")
    dependencies.freeze()
    versions = pinned(dependencies.CONSTRAINTS)
    assert "coded-als" not in versions
    run = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True)
    frozen = dict(line.split("==") for line in run.stdout.splitlines() if re.match(r"[\w.-]+==", line))
    assert {canonicalize_name(name): version for name, version in frozen.items()}.items() <= versions.items()


def test_the_command_line_says_how_it_is_used() -> None:
    script = ROOT / "tools" / "dependencies.py"
    run = subprocess.run([sys.executable, script, "install", "some"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "install pinned|latest|oldest NAME" in run.stdout
