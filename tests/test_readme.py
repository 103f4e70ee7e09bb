"""The README's and the docs' Python runs as it stands, and so do the commands that need what it defines."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```(python|console)\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"# (\w+\.py)\n")
MOST_LINES = 30
# pages whose blocks build on each other: the second below, the first in the tests of the documentation
TOGETHER = ("start.md", "plug-in.md")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each block of a page."""
    return BLOCK.findall(page.read_text())


ALONE = [
    pytest.param(text, id=f"{page.name}-{place}")
    for page in PAGES
    for place, (language, text) in enumerate(blocks(page))
    if language == "python" and page.name not in TOGETHER
]


@pytest.mark.parametrize("block", ALONE)
def test_a_block_of_python_runs(block: str, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", block], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr


def shown_commands(page: Path) -> Iterator[tuple[list[str], str]]:
    """The commands of a page as they are typed, and the output that the page shows below each."""
    for language, text in blocks(page):
        for command in text.split("$ ")[1:] if language == "console" else ():
            typed, _, output = command.partition("\n")
            words = shlex.split(typed, comments=True)
            # these two have tests of their own
            if words[0] == "coded-als" and words[1] not in ("demo", "serve"):
                yield ["1s" if word == "60s" else word for word in words[1:]], output.strip()


def write_ratings(folder: Path) -> None:
    """The files that the pages name."""
    rng = np.random.default_rng(0)
    pairs = sorted({(int(user), int(item)) for user, item in rng.integers((180, 0), (240, 40), (1500, 2))})
    text = "".join(f"{user}\t{item}\t{1 + user * item % 5}\n" for user, item in pairs)
    for name in ("ratings.tsv", "validation.tsv"):
        (folder / name).write_text(text)
    (folder / "ratings.csv").write_text(text.replace("\t", ","))
    links = "".join(f"{source} {target}\n" for source, target in np.unique(rng.integers(0, 60, (900, 2)), axis=0))
    (folder / "links.txt").write_text(links)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in TOGETHER], ids=lambda page: page.name)
def test_commands_run_and_print_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ratings(tmp_path)
    monkeypatch.chdir(tmp_path)
    for words, output in shown_commands(page):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"{words}: {result.output}"
        assert output in result.output


def test_a_code_a_delay_model_and_a_solver_of_ones_own(tmp_path: Path) -> None:
    """Each in some thirty lines, used from Python and from the command line."""
    page = blocks(ROOT / "docs" / "plug-in.md")
    files = {found[1]: text for language, text in page if language == "python" and (found := NAMED.match(text))}
    assert sorted(files) == ["my_code.py", "my_delays.py", "my_solver.py"]
    for name, text in files.items():
        assert len([line for line in text.splitlines()[1:] if line.strip()]) <= MOST_LINES
        (tmp_path / name).write_text(text)
    uses = [text for language, text in page if language == "python" and text not in files.values()]
    [console] = [text for language, text in page if language == "console"]
    first, *commands = [line.removeprefix("$ ") for line in console.splitlines() if line.startswith("$ ")]
    variables = dict(word.split("=", 1) for word in shlex.split(first)[1:])
    environment = os.environ | variables
    programs = [
        *(["-c", use] for use in uses),
        *(["-m", "coded_als", *shlex.split(command)[1:]] for command in commands),
    ]
    for program in programs:
        run = subprocess.run([sys.executable, *program], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "results" / "results.csv").read_text().count("light:p=6") == 1
