"""Tasks of Dask and workers that come late: of data that were given out and are of no use any more, or while they are."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from coded_als.baselines import RidgeALS
from coded_als.dask import DaskCluster, placement
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import fit_dataset
from coded_als.errors import CodedALSError
from coded_als.worker.parts import PartFolder
from tests.dask.test_cluster import eventually
from tests.dask.test_dataset import NAMES, TABLE, write_parts


@pytest.fixture(scope="module")
def cluster(dask_client: Any) -> Iterator[DaskCluster]:
    with DaskCluster(dask_client, 4) as cluster:
        yield cluster


@pytest.fixture
def dataset(cluster: DaskCluster, tmp_path: Path) -> Dataset:
    return Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)


def lying_there(cluster: DaskCluster) -> list[str]:
    """The files in the folders of blocks, on all Dask workers."""

    def listed(dask_worker: Any, name: str = cluster.starter.name) -> list[str]:
        return os.listdir(dask_worker.plugins[name].parts.path)

    return [file for files in cluster.client.run(listed).values() for file in files]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_the_giving_out_leaves_no_block(
    cluster: DaskCluster, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(client: Any, made: list[Any], homes: Any) -> list[Any]:
        made[0].result()
        raise error

    monkeypatch.setattr(placement, "gathered", interrupted)
    with pytest.raises(error):
        dataset.place(cluster, True, 4)
    assert not cluster.starter.providers
    assert eventually(lambda: not lying_there(cluster))


def test_a_task_that_ends_after_its_fit_leaves_no_block(cluster: DaskCluster, dataset: Dataset) -> None:
    placed = dataset.place(cluster, True, 4)
    client, starter, source = cluster.client, cluster.starter, dataset.source
    address, folder, first = placed.homes()[0]
    assert lying_there(cluster)
    placed.close()
    assert not lying_there(cluster)
    arguments = (source, placed._cut, 0, starter.name, folder, first)
    client.submit(placement._make_again, *arguments, workers=[address], pure=False).result()
    assert not lying_there(cluster)


def test_nobody_is_started_between_the_making_of_blocks_and_the_promise_to_make_them_again(
    cluster: DaskCluster, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised: list[int] = []

    class Watched:
        """The lock, which writes down the promises that there are when it is given back."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            if threading.current_thread() is threading.main_thread():
                promised.append(len(cluster.starter.providers))
            self._lock.release()

    monkeypatch.setattr(cluster.starter, "settled", Watched())
    with dataset.place(cluster, True, 4):
        assert promised == [1]


def test_two_that_write_the_same_part_at_a_time_leave_it_whole(tmp_path: Path) -> None:
    folder, array = PartFolder(str(tmp_path)), np.arange(20_000.0)
    threads = [threading.Thread(target=lambda: [folder.write(7, array) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(folder.read(7), array)
    assert os.listdir(tmp_path) == ["7.npy"]


def test_a_part_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    folder = PartFolder(str(tmp_path))
    with pytest.raises(ValueError, match="allow_pickle"):
        folder.write(7, np.array([object()]))
    assert os.listdir(tmp_path) == []


def test_a_fit_ends_beside_a_dask_worker_that_has_stopped_and_deletes_its_blocks_later(
    cluster: DaskCluster, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "LEAVE_WITHIN_S", 0.1)
    stopped: list[int] = []

    def stop(entry: Any) -> None:
        if entry.index == 2:
            stopped.append(next(iter(cluster.client.run(os.getpid).values())))
            os.kill(stopped[0], signal.SIGSTOP)

    try:
        fit_dataset(RidgeALS(2, iterations=2), dataset, cluster, callback=stop)
    finally:
        os.kill(stopped[0], signal.SIGCONT)
    assert eventually(lambda: not lying_there(cluster))
    assert eventually(lambda: not any(thread.name == "coded-als-asking" for thread in threading.enumerate()))


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved() -> None:
        trials.append(1)
        raise placement.Moved("no process runs the workers 2, 3")

    trials: list[int] = []
    monkeypatch.setattr(placement, "LOOK_S", 0.001)
    monkeypatch.setattr(placement, "SETTLE_WITHIN_S", 0.0)
    with pytest.raises(CodedALSError, match=r"must be there .*; no process runs the workers 2, 3\. See"):
        placement.settled(moved)
    assert len(trials) == placement.LEAST_TRIALS
