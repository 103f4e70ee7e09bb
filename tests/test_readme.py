"""The README's and the docs' Python runs as it stands, and so do the commands that need what it defines."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

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
