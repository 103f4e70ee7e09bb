"""Where compiled code is kept, and that it is run only from folders that nobody else can write to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

from coded_als import BPR, SGD, WARP, ImplicitALS, InlineCluster, RidgeALS
from coded_als.baselines import FirstCopy, compiled, every_loop, fit_on_cluster
from coded_als.baselines.compiled import loops
from coded_als.cli import doctor as system_checks
from coded_als.cli import main

numba = pytest.importorskip("numba")

NOBODY = 65534
# may read all that root may, such as a Python in root's home, and write as little as nobody may
AS_NOBODY = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
AS_NOBODY += ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if numba could write nowhere but where its setting says."""
    decorate: Callable[..., Any] = numba.njit

    def njit(*functions: Any, cache: bool = False, **options: Any) -> Any:
        if cache and not numba.config.CACHE_DIR:
            raise RuntimeError("cannot cache function '_sample': no locator available for file 'x.py'")
        return decorate(*functions, cache=cache, **options)

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")


def own(temporary: Path) -> Path:
    return temporary / f"coded-als-code-{os.geteuid()}"


def test_code_is_kept_among_temporary_files_where_there_is_no_other_place(temporary: Path, no_place: None) -> None:
    kept = compiled.kept_in()
    assert kept is not None
    assert kept.parent == own(temporary)
    assert compiled.is_temporary(kept)
    assert own(temporary).stat().st_mode & 0o777 == 0o700
    assert numba.config.CACHE_DIR == ""
    # the same for the next process
    assert compiled.kept_in() == kept


def test_code_is_kept_beside_the_source_where_that_is_possible(temporary: Path) -> None:
    kept = compiled.kept_in()
    assert kept is not None
    assert not compiled.is_temporary(kept)


def _others_may_enter(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)


def _a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def _of_another_user(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)


def _a_file(folder: Path) -> None:
    folder.touch(0o600)


def _all_may_replace_it(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.parent.chmod(0o777)


PREPARED = [_others_may_enter, _a_link, _a_file, _all_may_replace_it]
if os.geteuid() == 0:
    PREPARED.append(_of_another_user)


@pytest.mark.parametrize("prepare", PREPARED)
def test_a_folder_that_others_may_have_filled_is_not_used(
    prepare: Callable[[Path], None], temporary: Path, no_place: None
) -> None:
    prepare(own(temporary))
    assert compiled.own_temporary_folder() is None
    dispatcher = compiled.dispatcher_of(lambda number: number + 1)
    assert dispatcher(1) == 2
    assert compiled.kept_in() is None


def test_a_folder_of_temporary_files_for_all_is_safe_when_names_in_it_are(temporary: Path, no_place: None) -> None:
    temporary.chmod(0o1777)
    assert compiled.own_temporary_folder() == own(temporary)


def test_doctor_says_where_code_is_kept_and_what_helps(temporary: Path, no_place: None) -> None:
    [check] = system_checks._compiled_loops()
    assert not check.ok
    assert str(own(temporary)) in check.found
    assert "NUMBA_CACHE_DIR" in check.remedy
    _others_may_enter(own(temporary)) if not own(temporary).exists() else own(temporary).chmod(0o777)
    [check] = system_checks._compiled_loops()
    assert (check.ok, check.found) == (False, "kept nowhere: every process compiles them anew")


USED = """
from coded_als.baselines import compiled
from coded_als.baselines.compiled import dot
import numpy
assert compiled.compiled(dot)(numpy.ones(3), numpy.ones(3)) == 3
print(compiled.kept_in())
"""


@pytest.fixture
def as_nobody() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs Python as a user without a home who can write to temporary files alone."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can be somebody else, with setpriv")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o1777)
        kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
        environment = kept | {"HOME": "/nonexistent", "TMPDIR": folder, "PYTHONPATH": path}

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [setpriv, *AS_NOBODY, sys.executable, *arguments]
            return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)

        if run("-c", "import coded_als").returncode:
            pytest.skip("it cannot be run so here")
        yield run


def test_a_user_without_a_home_can_use_compiled_loops(as_nobody: Callable[..., Any]) -> None:
    done = as_nobody("-c", USED)
    assert done.returncode == 0, done.stderr
    assert f"coded-als-code-{NOBODY}" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ridge", "implicit", "sgd", "bpr", "warp"])
def test_a_user_without_a_home_can_fit(method: str, as_nobody: Callable[..., Any]) -> None:
    source = "synthetic:m=9,n=7,d=2,noise=0.1,density=0.5"
    done = as_nobody("-m", "coded_als", "fit", source, "--method", method, "--rank", "2", "--out", "m.npz")
    assert done.returncode == 0, done.stderr


def signatures() -> dict[str, int]:
    return {name: len(dispatcher.signatures) for name, dispatcher in loops.items()}


def test_warming_up_says_where_the_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(every_loop, "_models", lambda: iter([SGD(1, iterations=1)]))
    done = CliRunner().invoke(main, ["warm-up"], catch_exceptions=False)
    assert done.exit_code == 0
    assert re.fullmatch(r"all loops are compiled, in \d+\.\d s; they are kept in .+\n", done.output)
    assert Path(done.output.rpartition("kept in ")[2].strip()).is_dir()
    monkeypatch.setattr(every_loop, "loops", {})
    done = CliRunner().invoke(main, ["warm-up"])
    assert done.exit_code == 1
    assert "they are kept nowhere. Set NUMBA_CACHE_DIR" in done.output


@pytest.mark.slow
def test_after_warming_up_nothing_is_left_to_compile() -> None:
    done = CliRunner().invoke(main, ["warm-up"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "they are kept in" in done.output
    before = signatures()
    ratings = sparse.random_array((30, 20), density=0.3, rng=np.random.default_rng(0), format="csr")
    for kind in (RidgeALS, ImplicitALS, SGD, BPR, WARP):
        for dtype in ("float32", "float64"):
            model = kind(3, iterations=2, dtype=dtype).fit(ratings)
            model.fold_in({1: 2.0, 4: 1.0})
            model.fold_in(ratings[:3], method="sgd")
    for threads in (1, 2):
        for solver in ("cholesky", "cg"):
            ImplicitALS(3, iterations=2, solver=solver, threads=threads).fit(ratings).explain({1: 2.0}, item=3)
            RidgeALS(3, iterations=2, solver=solver, biases=False, threads=threads).fit(ratings).fold_in({1: 2.0})
    fit_on_cluster(RidgeALS(3, iterations=2, biases=False), ratings, InlineCluster(4), FirstCopy(2))
    fit_on_cluster(ImplicitALS(3, iterations=2, dtype="float64"), ratings, InlineCluster(4))
    assert signatures() == before
