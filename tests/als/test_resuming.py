"""Coded fits that were interrupted and go on: the same factors, history and rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from coded_als import Checkpoint, CodedALS, InlineCluster, LocalCluster, UsageError
from coded_als.als.history import CodedIteration
from coded_als.models.checkpoint_store import FolderStore

DECAYING = np.random.default_rng(0).standard_normal((40, 30)) * 0.7 ** np.arange(30)
FLAT = np.random.default_rng(1).standard_normal((60, 80))
SPARSE = sparse.random_array((50, 30), density=0.2, rng=np.random.default_rng(2), format="csr")
WAYS: dict[str, dict[str, Any]] = {
    "lobpcg": {"solver": "lobpcg"},
    "lobpcg, ridge": {"regularization": 0.5},
    "als": {"solver": "als"},
    "als, ridge": {"solver": "als", "regularization": 0.5},
    "paper": {"solver": "als", "protocol": "paper", "partitions": 2},
    "krylov": {"solver": "krylov"},
    "krylov, narrow": {"solver": "krylov", "block": 1},
    "real points": {"solver": "als", "protocol": "paper", "code": "entangled:h=2,points=real"},
    "sparse rows": {"precomputation": "none"},
}


class Killed(Exception):
    """Ends a fit."""


def model(way: str, iterations: int = 30) -> CodedALS:
    return CodedALS(rank=3, iterations=iterations, **WAYS[way])


def interrupted(fitted: CodedALS, ratings: Any, at: int, checkpoint: Checkpoint, **cluster: Any) -> None:
    def end(entry: CodedIteration) -> None:
        if entry.index == at:
            raise Killed

    with pytest.raises(Killed):
        fitted.fit(ratings, callback=end, checkpoint=checkpoint, **cluster)


def assert_same(fitted: CodedALS, whole: CodedALS) -> None:
    assert np.array_equal(fitted.user_factors_, whole.user_factors_)
    assert np.array_equal(fitted.item_factors_, whole.item_factors_)
    told = [(entry.objective, entry.remaining, entry.responses, entry.outcome) for entry in whole.history_]
    assert [(entry.objective, entry.remaining, entry.responses, entry.outcome) for entry in fitted.history_] == told
    assert fitted.outcome_ == whole.outcome_


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=4)
@given(data=st.data())
def test_an_interrupted_fit_reaches_the_same_factors(
    tmp_path_factory: pytest.TempPathFactory, way: str, data: st.DataObject
) -> None:
    ratings = SPARSE if way == "sparse rows" else data.draw(st.sampled_from([DECAYING, FLAT]))
    whole = model(way).fit(ratings)
    folder, every = tmp_path_factory.mktemp("checkpoint"), data.draw(st.integers(1, 4))
    at = data.draw(st.integers(1, len(whole.history_)))
    interrupted(model(way), ratings, at, Checkpoint(folder, every=every))
    if data.draw(st.booleans()):  # killed, not interrupted: nothing since the last snapshot
        folder = tmp_path_factory.mktemp("killed")
        killed = Checkpoint(folder, every=every)
        killed.flush = lambda: None if killed._held and killed._held[0] % every else Checkpoint.flush(killed)  # type: ignore[method-assign]
        interrupted(model(way), ratings, at, killed)
    told: list[CodedIteration] = []
    fitted = model(way).fit(ratings, callback=told.append, checkpoint=Checkpoint(folder, every=every, resume=True))
    assert_same(fitted, whole)
    assert at - every <= told[0].index - 1 <= at
    assert len(fitted.rounds_) >= len(whole.rounds_)


class Counting(FolderStore):
    """Counts the bytes of the parts that it is given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written: list[int] = []

    def write_part(self, name: str, content: bytes) -> None:
        self.written.append(len(content))
        super().write_part(name, content)


def test_a_snapshot_of_a_growing_basis_writes_its_new_blocks_only(tmp_path: Path) -> None:
    ratings = np.random.default_rng(0).standard_normal((900, 800))
    store = Counting(tmp_path / "parts")
    fitted = CodedALS(3, block=8, iterations=10).fit(ratings, checkpoint=Checkpoint(store))
    assert len(store.written) == len(fitted.history_) == 10
    assert max(store.written) < 800 * 8 * 8 + 1000
    whole = CodedALS(3, block=8, iterations=12).fit(ratings)
    resumed = Checkpoint(tmp_path / "parts", resume=True)
    assert_same(CodedALS(3, block=8, iterations=12).fit(ratings, checkpoint=resumed), whole)


def test_a_basis_that_restarts_have_grown_goes_on_as_large(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.repeat([1.0, 0.3, 0.05], 100) * (1 + 1e-3 * rng.standard_normal(300))
    ratings = values * np.linalg.qr(rng.standard_normal((400, 300)))[0]
    whole = CodedALS(8, block=2).fit(ratings)
    # the first restart is of 45 columns, in the 22nd iteration, and of that size the next would be in the 34th
    assert len(whole.history_) > 40
    checkpoint = Checkpoint(tmp_path, resume=True)
    interrupted(CodedALS(8, block=2), ratings, 30, checkpoint)
    assert_same(CodedALS(8, block=2).fit(ratings, checkpoint=checkpoint), whole)


def test_parts_that_no_snapshot_names_are_dropped(tmp_path: Path) -> None:
    fitted = CodedALS(3, solver="krylov", block=20, iterations=40)
    fitted.fit(np.random.default_rng(0).standard_normal((420, 400)), checkpoint=Checkpoint(tmp_path))
    # a thick restart writes the basis anew
    assert len(fitted.history_) > 6
    assert 1 <= len(list(tmp_path.glob("*-part"))) <= 2 * 400 // 20


def test_a_resumed_narrow_block_stays_narrow_evidence(tmp_path: Path) -> None:
    """Twelve equal leading values: the space of eight columns lacks four, and a wider block later does not know."""
    squares = np.r_[np.full(12, 2.0), np.linspace(1.95, 1.75, 60), np.full(128, 1.7)]
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal((200, 200)))[0]
    ratings = np.sqrt(squares)[:, np.newaxis] * turned
    interrupted(CodedALS(12, solver="krylov", block=8), ratings, 3, Checkpoint(tmp_path))
    fitted = CodedALS(12, solver="krylov", block=30).fit(ratings, checkpoint=Checkpoint(tmp_path, resume=True))
    assert fitted.converged_
    assert fitted.objective_ <= squares[12:].sum() * (1 + 2e-8)


def test_a_damaged_part_is_refused_in_one_line(tmp_path: Path) -> None:
    interrupted(CodedALS(3, solver="krylov"), DECAYING, 2, Checkpoint(tmp_path))
    part = sorted(tmp_path.glob("*-part"))[0]
    part.write_bytes(part.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(UsageError, match="a checkpoint must be a complete file"):
        CodedALS(3, solver="krylov").fit(DECAYING, checkpoint=Checkpoint(tmp_path, resume=True))
    part.unlink()
    with pytest.raises(UsageError, match="a checkpoint must be a complete file of this package"):
        CodedALS(3, solver="krylov").fit(DECAYING, checkpoint=Checkpoint(tmp_path, resume=True))


def test_iterations_may_be_raised(tmp_path: Path) -> None:
    model("als", 5).fit(FLAT, checkpoint=Checkpoint(tmp_path))
    fitted = model("als", 30).fit(FLAT, checkpoint=Checkpoint(tmp_path, resume=True))
    assert_same(fitted, model("als", 30).fit(FLAT))


@pytest.mark.parametrize("way", ["lobpcg", "krylov, narrow"])
def test_iterations_done_make_a_model_at_once(tmp_path: Path, way: str) -> None:
    interrupted(model(way), FLAT, 4, Checkpoint(tmp_path))
    checkpoint = Checkpoint(tmp_path, resume=True)
    fitted = model(way, 3).fit(FLAT, checkpoint=checkpoint)
    assert len(fitted.history_) == 3
    assert fitted.outcome_ == "unfinished"
    with pytest.raises(UsageError, match="iterations must be at least the 3"):
        model(way, 2).fit(FLAT, checkpoint=checkpoint)


def test_a_fit_goes_on_with_other_workers_and_another_code(tmp_path: Path) -> None:
    whole = model("als").fit(FLAT)
    interrupted(model("als"), FLAT, 20, Checkpoint(tmp_path))
    other = model("als").set_params(code="replicated:copies=2", verify="freivalds")
    with InlineCluster(7) as cluster:
        other.fit(FLAT, cluster, checkpoint=Checkpoint(tmp_path, resume=True))
    assert np.allclose(other.user_factors_, whole.user_factors_, rtol=0, atol=1e-9)
    assert len(other.history_) == len(whole.history_)


def test_a_fit_on_processes_goes_on_on_others(tmp_path: Path) -> None:
    whole = model("lobpcg").fit(FLAT)
    with LocalCluster(4, "uniform:low=0ms,high=2ms") as cluster:
        interrupted(model("lobpcg"), FLAT, 5, Checkpoint(tmp_path), cluster=cluster)
    with LocalCluster(5, "uniform:low=0ms,high=2ms", seed=1) as cluster:
        fitted = model("lobpcg").fit(FLAT, cluster, checkpoint=Checkpoint(tmp_path, resume=True))
    assert np.allclose(fitted.user_factors_, whole.user_factors_, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "change", [{"rank": 2}, {"seed": 1}, {"tolerance": 1e-6}, {"solver": "als"}, {"weighting": "centred"}]
)
def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    interrupted(model("lobpcg"), FLAT, 2, Checkpoint(tmp_path))
    with pytest.raises(UsageError, match=f"the same fit; .* has {next(iter(change))} ="):
        model("lobpcg").set_params(**change).fit(FLAT, checkpoint=Checkpoint(tmp_path, resume=True))


@pytest.mark.parametrize("other", [FLAT + 1e-9, FLAT.T, sparse.csr_array(FLAT)])
def test_a_checkpoint_of_other_ratings_is_refused(tmp_path: Path, other: Any) -> None:
    interrupted(model("lobpcg"), FLAT, 2, Checkpoint(tmp_path))
    with pytest.raises(UsageError, match=r"the same fit; .* has data ="):
        model("lobpcg").fit(other, checkpoint=Checkpoint(tmp_path, resume=True))
