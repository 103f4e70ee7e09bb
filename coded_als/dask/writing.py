"""Models of datasets as folders of Parquet files, written by the workers that hold what each user has rated."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from coded_als.codes.partition import deal
from coded_als.dask.blocks import PartEntries, sorted_entries
from coded_als.dask.cluster import DaskCluster, dask_workers
from coded_als.dask.dataset import Dataset
from coded_als.dask.planting import Moved, Source, cut_of, entries_by_block, gathered, settled
from coded_als.data.ratings import Repeated
from coded_als.errors import UsageError
from coded_als.models.factor_model import FactorModel
from coded_als.models.folder import HEADER, new_folder, parts_of, write_header
from coded_als.models.part_rows import PartRows, sides_of, write_part
from coded_als.models.top_n_files import TopNTask, top_n_of_part, write_top_n_folder

UNFINISHED = ".tmp"


def write_model(model: FactorModel, dataset: Dataset, cluster: DaskCluster, path: str | Path) -> None:
    """Write a fitted model as a folder, with what each user has rated; `coded_als.load_model` reads it.

    What each user has rated is read from the part files again, by the Dask workers that there are then: those that held
    blocks of the fit, and our workers beside them, may be gone.

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
    CodedALSError
        When Dask workers kept going, or none is left.
    """
    users, items = sides_of(model)
    rows = [rows[rows >= 0] for rows in deal(dataset.source.users.counts, cluster.size)]
    with new_folder(path, HEADER) as folder:
        for side in ("users", "items"):
            (folder / side).mkdir()
        write_header(folder, model)
        write_part(folder / "items" / "00000.parquet", items)
        settled(lambda: _write_all_users(cluster.client, dataset.source, users, rows, folder / "users"))
        if len(parts_of(folder, "users")) != len(rows):
            raise UsageError(
                f"the Dask workers must have {path} under the same path; they wrote elsewhere. Use a shared disk."
            )
        for unfinished in (folder / "users").glob(f"*{UNFINISHED}"):
            unfinished.unlink()


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


def _write_all_users(client: Client, source: Source, users: PartRows, rows: Sequence[Any], folder: Path) -> None:
    """Write the users of each block, on whatever Dask workers there are; `Moved` when one of them goes meanwhile."""
    homes = dask_workers(client)
    if not homes:
        raise Moved("none is left")
    cut = cut_of(rows, source.users.counts.size, source.items.counts.size, True)
    entries, _ = entries_by_block(client, source, cut)
    for shard, own in enumerate(rows):
        biases = None if users.biases is None else users.biases[own]
        part = PartRows(own, users.ids[own], users.factors[own], biases)
        file = str(folder / f"{shard:05d}.parquet")
        # one at a time: their factors are on the way here and there
        gathered(client, [client.submit(_write_users, part, entries[shard], source.repeated, file, pure=False)], homes)
        entries[shard] = []


def _write_users(part: PartRows, pieces: list[PartEntries], repeated: Repeated, file: str) -> None:
    rows, items, _, _ = sorted_entries(pieces, repeated)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(part.rows)))))
    # a task that is begun again may meet its predecessor
    unfinished = f"{file}.{secrets.token_hex(4)}{UNFINISHED}"
    write_part(unfinished, PartRows(part.rows, part.ids, part.factors, part.biases, indptr, items))
    os.replace(unfinished, file)
