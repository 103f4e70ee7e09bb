"""Models of datasets as folders of Parquet files, written by the workers that hold what each user has rated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed import Client
from numpy.typing import NDArray

from coded_als.dask.cluster import DaskCluster
from coded_als.dask.dataset import Dataset
from coded_als.dask.planting import settled
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.folder import HEADER, new_folder, parts_of, write_header
from coded_als.models.part_rows import PartRows, sides_of, write_part
from coded_als.models.top_n_files import TopNTask, top_n_of_part, write_top_n_folder
from coded_als.worker.parts import PartFolder


def write_model(model: FactorModel, dataset: Dataset, cluster: DaskCluster, path: str | Path) -> None:
    """Write a fitted model as a folder, with what each user has rated; `coded_als.load_model` reads it.

    Parameters
    ----------
    model
        What `fit_dataset` fitted.
    dataset
        To which ratings.
    cluster
        Whose Dask workers write; they must have the folder under the same path.
    path
        Where to; a model folder that is there is replaced once the new one is complete.

    Raises
    ------
    UsageError
        When the folder cannot be written, here or there.
    """
    client, shards = cluster.client, cluster.size
    users, items = sides_of(model)
    with new_folder(path, HEADER) as folder, dataset.plant(cluster, True, shards, ("binary", None)) as planted:
        for side in ("users", "items"):
            (folder / side).mkdir()
        write_header(folder, model)
        write_part(folder / "items" / "00000.parquet", items)
        written = []
        for shard, (address, parts, first) in settled(planted.homes).items():
            rows = planted.rows[shard]
            rows = rows[rows >= 0]
            biases = None if users.biases is None else users.biases[rows]
            part = PartRows(rows, users.ids[rows], users.factors[rows], biases)
            file = str(folder / "users" / f"{shard:05d}.parquet")
            # one at a time: their factors are on the way here and there
            written.append(client.submit(_write_users, part, parts, first, file, workers=[address], pure=False))
            written[-1].result()
        if len(parts_of(folder, "users")) != shards:
            raise UsageError(
                f"the Dask workers must have {path} under the same path; they wrote elsewhere. Use a shared disk."
            )


def write_top_n_on(client: Client, model: str | Path, path: str | Path, n: int, filter_seen: bool) -> int:
    """Write the best items of every user of a model folder, part by part on Dask workers; how many users there are.

    Parameters
    ----------
    client
        Whose workers read the one folder and write the other.
    model
        The model folder.
    path
        Where to.
    n
        How many items for each.
    filter_seen
        Whether to leave out what a user has rated.

    Raises
    ------
    UsageError
        Where something else is at ``path``.
    """

    def run(parts: list[TopNTask]) -> list[int]:
        found: list[int] = client.gather([client.submit(top_n_of_part, *part, pure=False) for part in parts])
        return found

    return write_top_n_folder(model, path, n, filter_seen, run)


def _write_users(part: PartRows, parts: str, first: int, file: str) -> None:
    folder = PartFolder(parts)
    indptr: NDArray[Any] = folder.read(first)
    indices = folder.read(first + 1)
    write_part(file, PartRows(part.rows, part.ids, part.factors, part.biases, indptr[: len(part.rows) + 1], indices))
