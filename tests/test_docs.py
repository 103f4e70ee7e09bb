"""The documentation is true: its code runs, its links lead somewhere, and it names every command and every column."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions, version
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import coded_als
from coded_als import __version__
from coded_als.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
FENCE = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def steps(page: Path) -> Iterator[tuple[str, str]]:
    """The page's blocks of Python, and its commands."""
    for kind, text in FENCE.findall(page.read_text()):
        if kind == "python":
            yield kind, text
            continue
        yield from ((kind, line.removeprefix("$ ")) for line in text.splitlines() if line.startswith("$ coded-als "))


def as_script(page: Path) -> str:
    """The page as one program: later blocks see the names of earlier ones."""
    lines = ["from coded_als.cli import main as run_command"]
    for kind, text in steps(page):
        arguments = shlex.split(text)[1:] if kind == "console" else []
        lines.append(f"run_command({arguments!r}, standalone_mode=False)" if arguments else text)
    return "\n".join(lines)


def test_the_five_minute_start_works_as_it_is_typed(tmp_path: Path) -> None:
    page = DOCS / "start.md"
    script = as_script(page)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert run.returncode == 0, run.stdout[-1000:] + run.stderr[-3000:]
    said = " ".join(f"{run.stdout} {run.stderr}".split())
    quoted = [
        " ".join(text.split()) for text in re.findall(r"`([^`]* (?:ratings of|chosen by) [^`]*)`", page.read_text())
    ]
    assert len(quoted) == 2
    assert all(text in said for text in quoted), said[-3000:]


def targets(page: Path) -> list[str]:
    text = page.read_text()
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *NOTEBOOKS], ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in targets(page):
        path = target.partition("#")[0]
        assert not path or (page.parent / path).exists(), f"{page.name} links to {target}"


def test_every_command_is_in_a_table_of_commands_or_on_its_page() -> None:
    # the page of commands is made from the commands themselves
    assert "<!-- commands -->" in (DOCS / "commands.md").read_text()
    assert all(text.endswith((".", "?")) for _, text in COMMANDS.values())


# errors have a page for all, and a fit with JAX compiles for seconds: its example is on its page, which is tested
WITHOUT_EXAMPLE = {"__version__", "DecodingError", "NotEnoughWorkers", "UsageError", "ShardedALS"}


@pytest.mark.parametrize("name", sorted({*coded_als.__all__} - WITHOUT_EXAMPLE))
def test_a_public_name_has_an_example_and_a_place_in_the_reference(name: str) -> None:
    assert ">>> " in getattr(coded_als, name).__doc__
    assert f"[`{name}`](" in (DOCS / "api" / "index.md").read_text()
    assert any(re.search(rf"^::: \S+\.{name}$", page.read_text(), re.MULTILINE) for page in (DOCS / "api").glob("*.md"))


def documented() -> set[str]:
    """The columns that the page of columns names."""
    names = set(re.findall(r"`([A-Za-z_0-9]+)`", (DOCS / "columns.md").read_text()))
    for variable, values in {"CLOCK": ("virtual", "wall"), "POINTS": ("real", "equispaced", "circle")}.items():
        names |= {name.replace(variable, value) for name in names for value in values}
    return names


def test_every_column_of_a_sweep_is_documented(tmp_path: Path) -> None:
    size = ["--rows", "60", "--cols", "40", "--rank", "3", "--workers", "10", "--partitions", "2", "--repeats", "2"]
    for extra in ([], ["--numerics"]):
        out = tmp_path / f"out{len(extra)}"
        arguments = ["sweep", *size, "--code", "entangled", "--out", str(out), *extra]
        assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
        columns = (out / "results.csv").read_text().splitlines()[0].split(",")
        assert set(columns) <= documented()


def test_every_column_of_table_1_is_documented() -> None:
    from coded_als.experiments.table1.paper_table import NUMBERS, PaperCell

    assert {*NUMBERS, *PaperCell(2, 10, 1.0).key()} <= documented()


def test_notebooks_are_stored_without_outputs() -> None:
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text())["cells"]
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells), notebook


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs(notebook: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    if "CODED_ALS_DATA" in notebook.read_text():
        os.environ["CODED_ALS_DATA"] = str(request.getfixturevalue("shared_data").resolve())
    content = nbformat.read(notebook, as_version=4)
    # this very interpreter, whatever kernels are installed
    client = nbclient.NotebookClient(content, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    figures = [
        output for cell in content.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert figures or "CODED_ALS_DATA" in notebook.read_text()


def test_the_figure_of_pieces_is_drawn_from_the_layout():
    """Also its round of equal workers, which the page tells of."""
    drawn = runpy.run_path(str(DOCS / "figures" / "pieces.py"))
    assert (DOCS / "figures" / "pieces.svg").read_text() == drawn["drawing"]()
    drawn["ends"].__globals__["PIECE_S"] = np.ones(6)
    assert drawn["ends"]() == (6.0, 3.0)


def test_the_gallery_shows_every_figure_with_its_command() -> None:
    gallery = (DOCS / "gallery.md").read_text()
    for figure in (DOCS / "figures").glob("*.svg"):
        assert f"](figures/{figure.name})" in gallery, figure.name
    for script in (DOCS / "figures").glob("*.py"):
        assert f"`python docs/figures/{script.name}`" in gallery, script.name
    shown = re.findall(r"`coded-als ([\w-]+)", gallery)
    assert set(shown) <= set(COMMANDS)


def test_the_readme_of_the_package_has_no_link_that_leads_nowhere() -> None:
    # as it was installed: a build may have left other metadata in the working directory
    [installed] = distributions(name="coded-als", path=[sysconfig.get_path("purelib")])
    text = installed.metadata["Description"]
    assert text.startswith("# coded-als")
    assert "](docs/" not in text
    assert "[Install]" not in text
    assert "Which method?" in text


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version("coded-als") == __version__
