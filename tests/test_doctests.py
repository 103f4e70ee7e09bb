"""Every example of a docstring is true, and every name of the reference has one."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import coded_als
from coded_als.cli import main
from coded_als.codes import CODES
from coded_als.delays import MODELS

PACKAGE = Path(coded_als.__file__).parent
MODULES = [
    ".".join(("coded_als", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in path.read_text()
]
# libraries of extras, by the start of the name of the modules that need them
NEEDS = {
    "baselines": "numba", "dask": "distributed", "experiments.report": "matplotlib", "sharded": "jax",
    "sklearn": "sklearn", "pca": "sklearn", "testing": "hypothesis",
}  # fmt: skip
SWEEP = "sweep --rows 60 --cols 40 --rank 3 --workers 6,8 --partitions 2 --repeats 2 --out out/sweep"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which examples write their files."""
    monkeypatch.chdir(tmp_path)
    # an example registers a code, another one delays
    codes, models = CODES.copy(), MODELS.copy()
    yield tmp_path
    for registry, known in ((CODES, codes), (MODELS, models)):
        for name in set(registry) - set(known):
            del registry[name]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str, folder: Path) -> None:
    for start, library in NEEDS.items():
        if name.startswith(f"coded_als.{start}"):
            pytest.importorskip(library)
    if name.startswith("coded_als.experiments.report."):
        assert CliRunner().invoke(main, SWEEP.split(), catch_exceptions=False).exit_code == 0
    found = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed


def in_the_reference() -> Iterator[tuple[str, Any]]:
    """The classes and functions that the pages of the reference show, and those of `coded_als`."""
    yield from ((name, getattr(coded_als, name)) for name in coded_als.__all__)
    for page in sorted((PACKAGE.parent / "docs" / "api").glob("*.md")):
        for path, members in re.findall(
            r"^::: (\S+)(?:\n +options:\n +members: \[(.*)\])?", page.read_text(), re.MULTILINE
        ):
            if members or path == "coded_als.sklearn":
                module = import_module(path)
                names = members.split(", ") if members else ["Factorization", "rating_score", "ranking_score"]
                yield from ((name, getattr(module, name)) for name in names)
            else:
                home, _, last = path.rpartition(".")
                yield path, getattr(import_module(home), last)


def test_every_name_of_the_reference_has_an_example() -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("distributed")
    shown = [
        (name, found)
        for name, found in in_the_reference()
        if (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__.startswith("coded_als")
    ]
    assert len(shown) > 90
    assert [name for name, found in shown if ">>>" not in (found.__doc__ or "")] == []
