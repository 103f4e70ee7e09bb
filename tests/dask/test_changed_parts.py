"""Part files that change after they were counted: each reading notices, and names the file."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

from coded_als import Checkpoint, CodedALS
from coded_als.baselines import ImplicitALS, RidgeALS
from coded_als.dask import DaskCluster, write_model
from coded_als.dask.blocks import ARRAYS
from coded_als.dask.dataset import Dataset
from coded_als.dask.fitting import _explained, fit_dataset
from coded_als.dask.part_files import Piece, read_piece
from coded_als.errors import CodedALSError, NotEnoughWorkers, UsageError
from coded_als.worker.parts import PartFolder
from tests.dask.test_cluster import eventually
from tests.dask.test_dataset import NAMES, TABLE, as_text, write_parts

pd: Any = pytest.importorskip("pandas")
CHANGED = r"part files must not change while they are in use; .*part-1\.(parquet|csv) has, since"


@pytest.fixture(scope="module")
def cluster(dask_client: Any) -> Iterator[DaskCluster]:
    with DaskCluster(dask_client, 4) as cluster:
        yield cluster


def one_value(part: Any) -> Any:
    return part.assign(rating=np.where(np.arange(len(part)) == 7, 4.5, part.rating))


CHANGES: dict[str, Callable[[Any], Any]] = {
    "one value": one_value,
    "a row less": lambda part: part.iloc[:-1],
    "a row twice": lambda part: pd.concat([part, part.iloc[-1:]]),
    "two rows in turn": lambda part: part.iloc[[1, 0, *range(2, len(part))]],
    "one user another": lambda part: part.assign(user=np.roll(part.user.to_numpy(), 1)),
}


def change(folder: Path, how: Callable[[Any], Any], kind: str = "parquet", table: Any = TABLE) -> None:
    """Write a part anew, with the times of the old one."""
    file = folder / f"part-1.{kind}"
    times = os.stat(file)
    changed = how(table.iloc[1::3])
    if kind == "parquet":
        changed.to_parquet(file, row_group_size=60)
    else:
        changed.to_csv(file, index=False)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("how", CHANGES)
def test_no_change_goes_unnoticed(cluster: DaskCluster, tmp_path: Path, kind: str, how: str) -> None:
    table = as_text(TABLE) if how == "two rows in turn" else TABLE
    dataset = Dataset.find(cluster.client, write_parts(table, tmp_path, kind=kind), NAMES)
    change(tmp_path, CHANGES[how], kind, table)
    with pytest.raises(UsageError, match=CHANGED) as raised:
        fit_dataset(RidgeALS(2, iterations=1), dataset, cluster)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("how", CHANGES)
def test_what_was_read_is_what_counts_not_when_it_was_written(tmp_path: Path, how: str) -> None:
    write_parts(TABLE, tmp_path)
    piece = Piece(str(tmp_path / "part-1.parquet"), (0, 2))
    counted = Piece(piece.path, piece.groups, read_piece(piece, NAMES).digest)
    os.utime(piece.path)
    read_piece(counted, NAMES)
    # what lies in other row groups, or in columns that are not read, is no change of this piece
    change(tmp_path, lambda part: part.iloc[:-1].assign(time=3))
    read_piece(counted, NAMES)
    change(tmp_path, CHANGES[how] if how not in ("a row less", "a row twice") else lambda part: part.iloc[1:])
    with pytest.raises(UsageError, match=CHANGED):
        read_piece(counted, NAMES)


def test_a_model_is_not_saved_with_other_ratings_than_it_was_fitted_to(cluster: DaskCluster, tmp_path: Path) -> None:
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    model = fit_dataset(CodedALS(2), dataset, cluster)
    change(tmp_path, CHANGES["one user another"])
    with pytest.raises(UsageError, match=CHANGED):
        write_model(model, dataset, cluster, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_fit_does_not_go_on_with_other_ratings(cluster: DaskCluster, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(entry: Any) -> None:
        raise Killed

    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    with pytest.raises(Killed):
        fit_dataset(RidgeALS(2), dataset, cluster, callback=kill, checkpoint=Checkpoint(tmp_path / "kept"))
    change(tmp_path, one_value)
    with pytest.raises(UsageError, match=CHANGED):
        fit_dataset(RidgeALS(2), dataset, cluster, checkpoint=Checkpoint(tmp_path / "kept", resume=True))


def delete_blocks(cluster: DaskCluster) -> None:
    for folder in cluster.client.run(folder_of, cluster.starter.name).values():
        for file in Path(folder).iterdir():
            file.unlink()


def folder_of(name: str, dask_worker: Any) -> str:
    found: str = dask_worker.plugins[name].parts.path
    return found


def test_blocks_are_made_again_as_they_were_or_not_at_all(cluster: DaskCluster, tmp_path: Path) -> None:
    dataset = Dataset.find(cluster.client, write_parts(TABLE, tmp_path), NAMES)
    with dataset.place(cluster, True, 2) as placed:
        (address, numbers), *_ = cluster.starter.homes().items()
        before = blocks_at(placed, address)
        delete_blocks(cluster)
        placed._provide(address, numbers)
        for ours, theirs in zip(blocks_at(placed, address), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        delete_blocks(cluster)
        change(tmp_path, one_value)
        for _ in range(2):
            with pytest.raises(UsageError, match=CHANGED):
                placed._provide(address, numbers)
            # for good: the files are not read again to find the same
            shutil.rmtree(tmp_path, ignore_errors=True)


def blocks_at(placed: Any, address: str) -> list[Any]:
    """The arrays of the blocks that lie with one Dask worker."""
    homes = [home for home in placed.homes().values() if home[0] == address]
    return [PartFolder(folder).read(first + array) for _, folder, first in homes for array in range(len(ARRAYS))]


def test_who_is_missing_because_it_refuses_says_so(cluster: DaskCluster) -> None:
    reason = UsageError("part files must not change")
    for refusal, expected in ((reason, reason), (OSError("it is gone"), None), (None, None)):
        cluster.starter._error = refusal
        error = NotEnoughWorkers(1, 2, "a fit")
        with pytest.raises(CodedALSError) as raised, _explained(cluster):
            raise error
        assert raised.value is (expected or error)
    cluster.starter._error = None


@pytest.mark.slow
def test_a_fit_that_needs_blocks_of_parts_that_have_changed_says_so(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    dask = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with dask, Client(dask) as client, DaskCluster(client, 4) as cluster:
        dataset = Dataset.find(client, write_parts(TABLE, tmp_path), NAMES)

        def lose_blocks(entry: Any) -> None:
            if entry.index == 2:
                change(tmp_path, one_value)
                delete_blocks(cluster)
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
                assert eventually(lambda: cluster.starter.refusal is not None, 180)

        with pytest.raises(UsageError, match=CHANGED):
            fit_dataset(ImplicitALS(3, iterations=8), dataset, cluster, callback=lose_blocks)
        again = Dataset.find(client, str(tmp_path / "*.parquet"), NAMES)
        assert eventually(lambda: cluster.starter.refusal is None, 180)
        assert fit_dataset(ImplicitALS(3, iterations=2), again, cluster).user_factors_ is not None
