"""What is there without any extra: everything but what must compile or belongs to somebody else's library."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from coded_als import ImplicitALS, RidgeALS, load_model
from coded_als.data import load_ratings
from tools.dependencies import project

WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('numba', 'sklearn', 'pyarrow', 'matplotlib', 'narwhals')))\n"


def run(script, without=WITHOUT, **options):
    return subprocess.run(
        [sys.executable, "-c", without + script], capture_output=True, text=True, check=False, **options
    )


def test_every_public_name_can_be_imported():
    done = run("from coded_als import *; print(RidgeALS(3, iterations=2), BPR(), WARP, SGD, ImplicitALS)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("RidgeALS(rank=3, iterations=2) BPR(rank=64)")


@pytest.fixture
def model(tmp_path):
    ratings = np.where(np.random.default_rng(0).random((9, 8)) < 0.6, 3.0, 0.0)
    path = tmp_path / "model.npz"
    RidgeALS(2, iterations=2).fit(sparse.csr_array(ratings)).save(path)
    return path


def test_models_are_loaded_and_asked_and_the_remedy_of_the_rest_is_named(model):
    done = run(
        f"""
from coded_als import UsageError, load_model
model = load_model({str(model)!r})
assert len(model.recommend(1, 2, filter_seen=False).ids) == 2
for attempt in (lambda: model.fit([[1.0]]), lambda: model.fold_in({{1: 2.0}})):
    try:
        attempt()
    except UsageError as error:
        print(error)
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'coded-als[baselines]'") == 2


def test_compare_leaves_out_what_is_missing_and_says_so(tmp_path):
    path = tmp_path / "r.csv"
    rng = np.random.default_rng(0)
    path.write_text(
        "".join(f"{u},{i},{rng.integers(1, 6)}\n" for u in range(12) for i in range(9) if rng.random() < 0.7)
    )
    arguments = ["compare", str(path), "--rank", "2", "--format", "csv"]
    done = run(f"from coded_als.cli import main; main({arguments!r})")
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["method", "coded", "ease", "popularity"]
    assert "ridge, implicit, sgd, bpr, warp left out: " in done.stderr
    assert "pip install 'coded-als[baselines]'" in done.stderr
    arguments += ["--methods", "ridge"]
    assert run(f"from coded_als.cli import main; main({arguments!r})").returncode == 2


PARTS = """
import sys
from coded_als.cli import main
main(["fit", "parts/*.csv", "--columns", "user,item,rating", "--method", "implicit", "--rank", "2", "--iterations", "1",
      "--scheduler", "local:1", "--workers", "1", "--out", "model/"])
"""


@pytest.fixture
def parts(tmp_path):
    """A folder with a part file, in the folder that programs run in."""
    (tmp_path / "parts").mkdir()
    lines = [f"{user},{item},1" for user in range(4) for item in range(3) if user != item]
    (tmp_path / "parts" / "a.csv").write_text("user,item,rating\n" + "\n".join(lines) + "\n")
    return tmp_path


def test_part_files_without_the_compiler_name_the_command_before_anything_is_started(parts):
    done = run(PARTS, WITHOUT.replace(", 'pyarrow'", ""), cwd=parts)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'coded-als[baselines]'" in done.stderr


def test_workers_without_the_compiler_solve_with_numpy(parts):
    """As on another machine of a Dask cluster, where less is installed."""
    expected = ImplicitALS(2, iterations=1).fit(
        load_ratings(parts / "parts" / "a.csv", columns=("user", "item", "rating"))
    )
    (parts / "sitecustomize.py").write_text(
        "import sys\nif 'coded_als.worker' in sys.orig_argv: sys.modules['numba'] = None\n"
    )
    done = run(PARTS.replace("model/", "found.npz"), "", cwd=parts, env={**os.environ, "PYTHONPATH": str(parts)})
    assert done.returncode == 0, done.stderr
    found = load_model(parts / "found.npz")
    np.testing.assert_allclose(found.user_factors_, expected.user_factors_, rtol=1e-4, atol=1e-6)


def test_the_extra_of_dask_has_all_that_the_fits_of_the_readme_need():
    dask = project()["project"]["optional-dependencies"]["dask"]
    assert "coded-als[baselines]" in dask
