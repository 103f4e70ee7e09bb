"""Imports run one way, and the package stands by itself."""

from __future__ import annotations

import ast
import collections
import re
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import coded_als
from coded_als.kernels import find_kernel
from coded_als.lazy import offered
from coded_als.models.registry import model_class
from tests.walks import Package

PACKAGE = Path(coded_als.__file__).parent
# from the bottom up; a room may import from itself and from rooms of strictly lower levels
LEVELS = {
    "arrays": 0,
    "blas": 0,
    "errors": 0,
    "lazy": 0,
    "kernels": 2,
    "checks": 2,
    "specs": 2,
    "codes": 3,
    "delays": 3,
    "wire": 3,
    "cluster": 4,
    "models": 4,
    "worker": 4,
    "data": 5,
    "planner": 5,
    "als": 6,
    "baselines": 6,
    "dask": 7,
    "evaluation": 6,
    "master": 5,
    "sharded": 6,
    "experiments": 7,
    "sklearn": 7,
    "pca": 7,
    "testing": 4,
    "cli": 8,
    "__main__": 9,
}
PURE = ("codes", "als", "planner", "kernels", "delays", "cluster.seam", "cluster.rules")
# a cluster by itself, and the default of the algorithm: it may look at the clock, and nothing passes through it; and the number
# of BLAS threads, a setting of the process that is changed under a lock
BEHIND_THE_SEAM = {"coded_als.cluster.inline", "coded_als.blas"}
# sockets, processes and threads; clocks too
IMPURE = {"zmq", "socket", "subprocess", "multiprocessing", "threading", "time", "datetime", "asyncio", "signal"}


@cache
def tree_of(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


@cache
def nodes_of(path):
    """All nodes of that tree."""
    return tuple(ast.walk(tree_of(path)))


@cache
def imports_of(path):
    """Modules that a file imports at run time, in functions too; not those for the type checker alone."""
    return frozenset(_imports_of(path))


def _imports_of(path):
    typing_only = [
        node for node in nodes_of(path) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    skipped = {inner for node in typing_only for inner in ast.walk(node)}
    for node in nodes_of(path):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path):
    return ".".join(("coded_als", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def own_imports(path):
    """Modules of this package that a file imports."""
    return {module for module in imports_of(path) if module in MODULES}


def reached_from(module):
    """All modules of this package that come with one, itself included."""
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(own_imports(MODULES[name]))
    return reached


def test_imports_run_strictly_downwards():
    for path in FILES:
        room = room_of(path)
        assert room in LEVELS, f"give {room} a level"
        for module in own_imports(path):
            target = room_of(MODULES[module])
            assert target == room or LEVELS[target] < LEVELS[room], f"{path.name} in {room} imports {target}"


def test_no_module_imports_itself_through_others():
    # a package's own index of names is no circle: its modules never import from it
    for module, path in MODULES.items():
        below = {name for other in own_imports(path) for name in reached_from(other)}
        assert module not in below, f"{module} reaches itself"


def test_master_and_worker_read_time_from_one_clock():
    rooms = [path for path in FILES if room_of(path) in ("master", "worker")]
    assert not [path.name for path in rooms if "time" in imports_of(path)]


def test_a_chain_of_imports_is_no_longer_than_14_modules():
    assert len(chain := Package(PACKAGE.parent).longest_chain()) <= 14, " -> ".join(chain)


def rooms_in_strings(path):
    """Rooms that a file names by a dotted name, or the beginning of one, in a string that is no docstring."""
    prose = {node.value for node in nodes_of(path) if isinstance(node, ast.Expr)}
    strings = {node.value for node in nodes_of(path) if isinstance(node, ast.Constant) and node not in prose}
    found = [re.fullmatch(r"coded_als\.(\w+)(\.[\w.]*)?", text) for text in strings if isinstance(text, str)]
    return {match[1] for match in found if match and match[1] in LEVELS}


def test_no_string_names_a_module_above():
    """What is loaded late by its name is imported all the same; the package itself, above all, tells rooms such names."""
    for path in FILES:
        room = room_of(path)
        for target in rooms_in_strings(path):
            assert target == room or LEVELS[target] < LEVELS[room], f"{path.name} in {room} names {target}"


def test_what_the_package_offers_is_there():
    for name, home in offered("models").items():
        assert model_class(name).__module__ == home
    for name, home in offered("kernels").items():
        assert find_kernel(name).__module__ == home


PURE_MODULES = [name for name in MODULES if name.removeprefix("coded_als.").startswith(PURE)]


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_rooms_touch_no_socket_clock_or_process_not_through_others_either(module):
    for reached in reached_from(module) - BEHIND_THE_SEAM:
        touched = IMPURE & {name.split(".")[0] for name in imports_of(MODULES[reached])}
        assert not touched, f"{module} reaches {sorted(touched)} through {reached}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import coded_als.worker.__main__", ("scipy", "click", "rich", "coded_als.als")),
        ("import coded_als.cli", ("scipy", "numba", "zmq")),
        ("from coded_als import CodedALS", ("numba", "zmq")),
        ("from coded_als.master import LocalCluster", ("scipy", "numba", "coded_als.als")),
        ("from coded_als import BPR, SGD, WARP, ImplicitALS, RidgeALS", ("numba", "zmq")),
        ("import coded_als.cli.fit", ("scipy", "numba", "zmq", "coded_als.als")),
        ("import coded_als.planner.choice, coded_als.planner.timing", ("scipy.special",)),
        ("import coded_als.cli.sweep, coded_als.cli.report, coded_als.cli.fit", ("matplotlib",)),
    ],
)
def test_heavy_imports_wait_until_needed(statement, absent):
    script = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert all(getattr(coded_als, name) is not None for name in coded_als.__all__)


def body_lines(function):
    """Lines of a function from its first statement on; its docstring is none."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_nineteen_of_twenty_functions_have_no_more_than_25_lines():
    nodes = [node for path in FILES for node in nodes_of(path)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert statistics.quantiles(map(body_lines, functions), n=20)[-1] <= 25


# click, Python and the registry of solvers look for these by name in more than one module
FOUND_BY_NAME = {"command", "main", "solve"}


def named_by(node):
    """Public classes, functions and names of types that a statement of a module defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        names = [node.name]
    else:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = [target.id for target in targets if isinstance(target, ast.Name) and re.search("[a-z]", target.id[1:])]
        names = [name for name in names if name[0].isupper()]
    return [name for name in names if not name.startswith("_")]


def test_one_name_stands_for_one_thing():
    homes = collections.defaultdict(list)
    for module, path in MODULES.items():
        for node in tree_of(path).body:
            for name in named_by(node):
                homes[name].append(module)
    twice = {name: modules for name, modules in homes.items() if len(modules) > 1 and name not in FOUND_BY_NAME}
    assert twice == {}


MOST_BASES = 4


def test_no_class_stands_below_more_than_four_of_ours():
    nodes = [node for path in FILES for node in tree_of(path).body if isinstance(node, ast.ClassDef)]
    bases = {node.name: [base.id for base in node.bases if isinstance(base, ast.Name)] for node in nodes}

    def above(name):
        own = [base for base in bases[name] if base in bases]
        return set(own).union(*map(above, own))

    assert {name: sorted(above(name)) for name in bases if len(above(name)) > MOST_BASES} == {}


def test_one_base_name_stands_for_one_file():
    files = [path for path in FILES if path.stem not in ("__init__", "__main__")]
    counts = collections.Counter(path.stem for path in files)
    assert {name for name, count in counts.items() if count > 1} == set()


# what a node of the drawing stands for, where it is not the room of its name
DRAWN = {
    "wire": ("wire", "checks", "specs"),
    "ground": ("kernels", "errors", "arrays", "blas", "lazy"),
}
# adapters and clusters of other libraries are left out of the drawing
NOT_DRAWN = {"__main__", "sklearn", "pca", "dask", "sharded"}


def drawing():
    """Arrows of the drawing of rooms, from room to room."""
    lines = (PACKAGE.parent / "docs" / "architecture.md").read_text().split("```")[1].splitlines()
    nodes = {match[1] for line in lines if (match := re.match(r"\s+(\w+)\[", line))}
    arrows = set()
    for line in lines:
        if "-->" in line:
            start, _, ends = line.partition("-->")
            arrows |= {(start.strip(), end.strip()) for end in ends.split("&")}
    return nodes, arrows


def test_the_drawing_of_the_rooms_is_true():
    nodes, arrows = drawing()
    node_of = {room: node for node in nodes for room in DRAWN.get(node, (node,))}
    assert node_of.keys() == LEVELS.keys() - NOT_DRAWN
    below = {node: {end for start, end in arrows if start == node} for node in nodes}
    for _ in nodes:
        below = {node: ends | {far for end in ends for far in below[end]} for node, ends in below.items()}
    imported = {
        (node_of[room_of(path)], node_of[room_of(MODULES[module])])
        for path in FILES
        if room_of(path) in node_of
        for module in own_imports(path)
        if room_of(MODULES[module]) in node_of
    }
    for start, end in imported:
        assert start == end or end in below[start], f"{start} imports {end}, which the drawing does not lead to"
    for start, end in arrows:
        assert (start, end) in imported, f"the drawing has an arrow from {start} to {end}, and nothing goes along it"


def test_the_files_that_the_architecture_names_are_there():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_0-9/]+\.py)`", text))
    assert len(named) > 40
    roots = (PACKAGE.parent, PACKAGE, PACKAGE / "experiments")
    assert not {name for name in named if not any((root / name).is_file() for root in roots)}
