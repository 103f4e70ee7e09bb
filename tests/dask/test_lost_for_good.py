"""A Dask worker that does not come back: fits that can do without it go on, and a finished model is saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from coded_als import CodedALS, load_model
from coded_als.baselines import FirstCopy, ImplicitALS, RidgeALS
from coded_als.dask import DaskCluster, placement, write_model
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import fit_dataset
from coded_als.data import load_ratings
from coded_als.errors import CodedALSError, NotEnoughWorkers
from tests.dask.test_cluster import eventually
from tests.dask.test_dataset import NAMES, TABLE, write_parts


class Scene:
    """A Dask cluster of its own, one of whose two workers goes and is not started again."""

    def __init__(self, client: Any, cluster: DaskCluster, nannies: Any) -> None:
        self.client, self.cluster, self._nannies = client, cluster, nannies

    def lose_one(self) -> None:
        process = next(iter(self.client.run(os.getpid).values()))

        async def not_again() -> None:
            """In place of a start of the process."""

        for nanny in self._nannies():
            nanny.instantiate = not_again
        os.kill(process, signal.SIGKILL)
        assert eventually(lambda: len(self.client.scheduler_info(n_workers=-1)["workers"]) == 1)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    from distributed import Client, LocalCluster

    monkeypatch.setattr(placement, "RETURN_WITHIN_S", 0.5)
    monkeypatch.setattr(placement, "SETTLE_WITHIN_S", 1.0)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as dask,
        Client(dask) as client,
        DaskCluster(client, 4) as cluster,
    ):
        yield Scene(client, cluster, lambda: dask.workers.values())


def test_a_finished_model_is_saved_by_those_that_are_left(scene: Scene, tmp_path: Path) -> None:
    dataset = Dataset.find(scene.client, write_parts(TABLE, tmp_path), NAMES)
    fitted = [
        fit_dataset(RidgeALS(2, biases=True, iterations=2), dataset, scene.cluster),
        fit_dataset(CodedALS(2), dataset, scene.cluster),
    ]
    scene.lose_one()
    seen = load_ratings(TABLE, columns=NAMES).matrix
    for number, model in enumerate(fitted):
        write_model(model, dataset, scene.cluster, tmp_path / f"model{number}")
        saved = load_model(tmp_path / f"model{number}")
        np.testing.assert_array_equal(saved.user_factors_, model.user_factors_)
        np.testing.assert_array_equal(saved.item_factors_, model.item_factors_)
        assert (saved.seen_ != (seen != 0)).nnz == 0  # type: ignore[operator]
        assert not list((tmp_path / f"model{number}" / "users").glob("*.tmp"))


@pytest.mark.slow
def test_a_model_is_saved_although_one_goes_meanwhile(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.find(scene.client, write_parts(TABLE, tmp_path), NAMES)
    model = fit_dataset(RidgeALS(2, iterations=2), dataset, scene.cluster)
    gathered, lost = placement.gathered, []

    def after_a_loss(client: Any, made: list[Any], homes: Any) -> list[Any]:
        if not lost:
            lost.append(True)
            scene.lose_one()
        return gathered(client, made, homes)

    monkeypatch.setattr("coded_als.dask.fitting.gathered", after_a_loss)
    write_model(model, dataset, scene.cluster, tmp_path / "model")
    assert lost
    saved = load_model(tmp_path / "model")
    assert saved.seen_ is not None
    assert saved.seen_.nnz == len(TABLE)


def test_fits_that_can_do_without_it_go_on_and_others_say_who_is_missing(scene: Scene, tmp_path: Path) -> None:
    dataset = Dataset.find(scene.client, write_parts(TABLE, tmp_path), NAMES)
    scene.lose_one()
    data = load_ratings(TABLE, columns=NAMES)
    model = ImplicitALS(3, iterations=3, dtype="float64")
    found = fit_dataset(model, dataset, scene.cluster, FirstCopy(2)).user_factors_
    np.testing.assert_allclose(found, model.fit(data).user_factors_, atol=1e-8)
    coded = CodedALS(2, code="replicated:copies=2")
    objective = fit_dataset(coded, dataset, scene.cluster).objective_
    assert objective == pytest.approx(CodedALS(2).fit(data).objective_, rel=1e-8)
    with pytest.raises((CodedALSError, NotEnoughWorkers), match=r"no process runs the workers \d, \d"):
        fit_dataset(model, dataset, scene.cluster)
