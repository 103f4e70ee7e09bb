"""A solver is one row and one file: the rows and the files agree, and one from elsewhere runs through every command."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import coded_als.als
from coded_als import CodedALS, LocalCluster
from coded_als.als.solving import solver_of
from coded_als.cli.summaries import profile_of
from coded_als.errors import UsageError
from coded_als.planner.solvers import SOLVERS, default_solver

ROOM = Path(coded_als.als.__file__).parent
PLUG_IN = Path(__file__).resolve().parents[2] / "docs" / "plug-in.md"


def defines_solve(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef) and node.name == "solve" for node in ast.parse(path.read_text()).body)


def test_every_row_has_its_file_and_every_file_its_row() -> None:
    assert {path.stem for path in ROOM.glob("*.py") if defines_solve(path)} == set(SOLVERS)
    assert all(callable(solver_of(name)) for name in SOLVERS)
    assert all(row.name == name for name, row in SOLVERS.items())


def test_a_protocol_has_a_default_that_can_run_it() -> None:
    for protocol in ("fused", "paper"):
        assert protocol in SOLVERS[default_solver(protocol)].protocols
    with pytest.raises(UsageError, match=r"protocol 'paper' is defined for solver 'als'; got 'lobpcg'"):
        CodedALS(2, protocol="paper", solver="lobpcg").fit(np.eye(4))


def test_an_unknown_solver_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(UsageError, match=f"solver must be one of {', '.join(SOLVERS)}"):
        CodedALS(2, solver="jacobi").fit(np.eye(4))


def run(*arguments: str, folder: Path) -> str:
    """One command with the solver of the documentation as a plug-in, as a user runs it."""
    environment = {**os.environ, "CODED_ALS_PLUGINS": "my_solver", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "coded_als", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=folder).stdout


def test_a_solver_from_elsewhere_is_known_to_fit_plan_and_sweep(tmp_path: Path) -> None:
    [source] = re.findall(r"```python\n(# my_solver.py\n.*?)```", PLUG_IN.read_text(), re.DOTALL)
    (tmp_path / "my_solver.py").write_text(source)
    matrix = np.random.default_rng(0).standard_normal((30, 12)) * np.geomspace(1, 0.01, 12)
    np.save(tmp_path / "data.npy", matrix)
    fitted = json.loads(
        run("fit", "data.npy", "--rank", "2", "--cluster", "inline", "--solver", "subspace", "--json", folder=tmp_path)
    )
    assert (fitted["outcome"], fitted["solver"]) == ("converged", "subspace")
    best = np.sum(np.linalg.svd(matrix, compute_uv=False)[2:] ** 2)
    assert fitted["objective"] == pytest.approx(best, rel=1e-8)
    size = ["--rows", "300", "--cols", "200", "--rank", "5"]
    sized = [*size, "--subspace-iterations", "3", "--delays", "exp:mean=20ms"]
    planned = json.loads(run("plan", "--workers", "8", "--repeats", "20", *sized, "--json", folder=tmp_path))
    assert planned["iterations"]["subspace"] == 3
    assert planned["recommended"]["solver"] == "subspace"
    cell = ["--solver", "subspace,lobpcg", "--code", "uncoded", "--workers", "8", "--repeats", "2", "--out", "out"]
    run("sweep", *sized, *cell, folder=tmp_path)
    solvers = [line.split(",") for line in (tmp_path / "out" / "results.csv").read_text().splitlines()]
    assert {row[solvers[0].index("solver")] for row in solvers[1:]} == {"subspace", "lobpcg"}


def test_a_profile_tells_products_from_waiting():
    with LocalCluster(workers=4, delays="shifted-exp:shift=30ms,mean=1ms") as cluster:
        model = CodedALS(3, code="systematic:p=3").fit(np.random.default_rng(0).standard_normal((40, 30)), cluster)
    found = profile_of(model)
    assert list(found) == ["products", "waiting", "encoding", "decoding", "algebra"]
    assert 0.0 < found["products"] < 0.03 * len(model.history_) <= found["waiting"]
    assert sum(found.values()) == pytest.approx(sum(entry.seconds for entry in model.history_))
