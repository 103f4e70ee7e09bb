"""What is there without any extra: everything but what must compile or belongs to somebody else's library."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from coded_als import RidgeALS

WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('numba', 'sklearn', 'pyarrow', 'matplotlib', 'narwhals')))\n"


def run(script):
    return subprocess.run([sys.executable, "-c", WITHOUT + script], capture_output=True, text=True, check=False)


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
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["method", "coded"]
    assert "ridge, implicit, sgd, bpr, warp left out: " in done.stderr
    assert "pip install 'coded-als[baselines]'" in done.stderr
    arguments += ["--methods", "ridge"]
    assert run(f"from coded_als.cli import main; main({arguments!r})").returncode == 2
