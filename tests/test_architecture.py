"""Imports run one way, and the package stands by itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import coded_als

PACKAGE = Path(coded_als.__file__).parent
# from the bottom up; a room may import from itself and from rooms of lower levels
LEVELS = {
    "errors": 0,
    "checks": 1,
    "ids": 1,
    "topn": 1,
    "codes": 1,
    "kernels": 1,
    "wire": 1,
    "delays": 1,
    "cluster": 1,
    "seen": 1,
    "persistence": 2,
    "factors": 2,
    "data": 3,
    "recording": 3,
    "evaluation": 4,
    "inline": 4,
    "worker": 4,
    "simulation": 5,
    "master": 5,
    "als": 5,
    "baselines": 5,
    "experiments": 6,
    "sklearn": 6,
    "cli": 7,
}
PURE = ("codes", "als", "kernels", "delays", "cluster")
# sockets, processes and threads; clocks too
IMPURE = {"zmq", "socket", "subprocess", "multiprocessing", "threading", "time", "datetime", "asyncio", "signal"}


def imports_of(path):
    """Modules that a file imports at run time, in functions too; not those for the type checker alone."""
    tree = ast.parse(path.read_text())
    typing_only = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    skipped = {inner for node in typing_only for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    room = room_of(path)
    assert room in LEVELS, f"give {room} a level"
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] != "coded_als" or len(parts) == 1:
            continue
        target = parts[1]
        # factors save themselves, and persistence names their base: one room in two files
        if target != room and {room, target} != {"factors", "persistence"}:
            assert LEVELS[target] <= LEVELS[room], f"{room} imports {target}"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in PURE], ids=lambda path: path.name)
def test_pure_rooms_touch_no_socket_clock_or_process(path):
    assert not IMPURE & {module.split(".")[0] for module in imports_of(path)}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import coded_als.worker.__main__", ("scipy", "click", "rich", "coded_als.als")),
        ("import coded_als.cli", ("scipy", "numba", "zmq")),
        ("from coded_als import CodedALS", ("numba", "zmq")),
    ],
)
def test_heavy_imports_wait_until_needed(statement, absent):
    script = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert all(getattr(coded_als, name) is not None for name in coded_als.__all__)


def test_every_file_of_a_small_idea_is_small():
    assert {path.name: lines for path in FILES if (lines := len(path.read_text().splitlines())) > 330} == {}
