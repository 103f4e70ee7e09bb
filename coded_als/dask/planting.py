"""Planting: the blocks of one side of a dataset, made by Dask where the workers are that will use them."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from distributed import Client, wait
from distributed.comm.core import CommClosedError

from coded_als.als.transforms import Weighting
from coded_als.cluster.shares import Part
from coded_als.codes.partition import deal
from coded_als.dask.blocks import ARRAYS, BlockFacts, Cut, PartEntries, entries_of, write_block
from coded_als.dask.cluster import DaskCluster
from coded_als.dask.numbering import Numbering
from coded_als.dask.part_files import Piece
from coded_als.dask.plugin import parts_folder
from coded_als.data.ratings import Repeated
from coded_als.errors import CodedALSError
from coded_als.worker.parts import PartFolder

# How often it is looked whether the workers are still where blocks are made for them, and how long they may come and go.
LOOK_S, SETTLE_WITHIN_S = 0.5, 60.0


Made = TypeVar("Made")
MatrixReading = tuple[Weighting, float | None] | None


@dataclass(frozen=True, eq=False)
class Source:
    """Where entries come from.

    Parameters
    ----------
    pieces, columns
        What is read.
    users, items
        The ids.
    repeated
        What becomes of a pair that is there twice.
    """

    pieces: Sequence[Piece]
    columns: tuple[str, ...]
    users: Numbering
    items: Numbering
    repeated: Repeated


class Moved(Exception):
    """A Dask worker that a task is tied to is gone."""


def settled(task: Callable[[], Made]) -> Made:
    """What a task makes that is begun again when Dask workers come and go.

    Parameters
    ----------
    task
        Raises `Moved` when they do.

    Raises
    ------
    CodedALSError
        When they keep doing so.
    """
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(Moved):
            return task()
        time.sleep(LOOK_S)
    raise CodedALSError("Dask workers must stay while data are given out; they kept going. See their logs.")


class Planted:
    """The blocks of one side on the machines of a cluster; those that come later are given theirs before they start.

    Parameters
    ----------
    cluster
        Whose workers use them.
    source
        Where they come from.
    of_users
        Whether rows are users, or else items.
    shards
        Number of blocks; worker w uses block ``w % shards``.
    reading
        As of a `Cut`.

    Raises
    ------
    UsageError
        For part files that cannot be read, or a pair that is there twice and must not be.
    CodedALSError
        When Dask workers kept coming and going.
    """

    def __init__(
        self, cluster: DaskCluster, source: Source, of_users: bool, shards: int, reading: MatrixReading = None
    ) -> None:
        self._cluster, self._source = cluster, source
        own, other = (source.users, source.items) if of_users else (source.items, source.users)
        self.rows = deal(own.counts, shards)
        self._cut = _cut(self.rows, own.counts.size, other.counts.size, of_users, reading)
        self._first = cluster.starter.new_parts(shards * len(ARRAYS))
        self.facts = settled(self._shuffle)
        cluster.starter.providers.append(self._provide)

    def shares(self, array: int) -> Any:
        """What `DaskCluster.store` takes for one of `ARRAYS`: a `Part` for each worker."""
        shards = self._cut.shards
        return [Part(self._number(worker % shards) + array) for worker in range(self._cluster.size)]

    def homes(self) -> dict[int, tuple[str, str, int]]:
        """Where each block lies: a Dask worker, its folder, and the number of the block's first array there.

        Raises
        ------
        Moved
            When a block lies nowhere just now.
        """
        client, starter = self._cluster.client, self._cluster.starter
        with starter.settled:
            homes = starter.homes()
        folders = _folders(client, starter.name, homes)
        found = {shard: (address, folders[address]) for shard, address in _writers(homes, folders, self._cut.shards)}
        if len(found) < self._cut.shards:
            raise Moved
        return {shard: (*found[shard], self._number(shard)) for shard in sorted(found)}

    def close(self) -> None:
        """Delete them; workers that have them in use go on."""
        starter = self._cluster.starter
        starter.providers.remove(self._provide)
        numbers = range(self._first, self._number(self._cut.shards))
        with suppress(Exception):  # Dask workers that are gone have nothing to delete
            self._cluster.client.run(_remove, starter.name, numbers, on_error="ignore")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _number(self, shard: int) -> int:
        return self._first + shard * len(ARRAYS)

    def _shuffle(self) -> list[BlockFacts]:
        """Read every piece where Dask likes, and bring the entries of each block to the machines that need it."""
        with self._cluster.starter.settled:
            return self._shuffled()

    def _shuffled(self) -> list[BlockFacts]:
        client, starter, source = self._cluster.client, self._cluster.starter, self._source
        homes = starter.homes()
        if sum(map(len, homes.values())) < self._cluster.size:
            raise Moved
        folders = _folders(client, starter.name, homes)
        raw = client.scatter([source.users.raw, source.items.raw], broadcast=True, hash=False)
        cut = client.scatter(self._cut, broadcast=True, hash=False)
        read = [client.submit(_entries, piece, source.columns, *raw, cut, pure=False) for piece in source.pieces]
        entries = [[client.submit(operator.getitem, one, shard) for one in read] for shard in range(self._cut.shards)]
        del read
        made = []
        for shard, address in _writers(homes, folders, self._cut.shards):
            arguments = (entries[shard], cut, source.repeated, folders[address], self._number(shard), shard)
            made.append(client.submit(_write, *arguments, workers=[address], pure=False))
        del entries
        told: dict[int, BlockFacts] = dict(gathered(client, made, homes))
        return [told[shard] for shard in range(self._cut.shards)]

    def _provide(self, address: str, numbers: tuple[int, ...]) -> None:
        """Make what a Dask worker lacks that has just come, from the part files."""
        client, starter, source = self._cluster.client, self._cluster.starter, self._source
        shards = sorted({number % self._cut.shards for number in numbers})
        first = [self._number(shard) for shard in shards]
        folder = client.run(parts_folder, starter.name, workers=[address])[address]
        there = client.run(_are_there, folder, first, workers=[address])[address]
        for shard, is_there in zip(shards, there, strict=True):
            if not is_there:
                arguments = (source, self._cut, shard, folder, self._number(shard))
                client.submit(_make_again, *arguments, workers=[address], pure=False).result()


def _cut(rows: Sequence[Any], own: int, others: int, of_users: bool, reading: MatrixReading) -> Cut:
    shard_of, place_of = np.empty(own, np.int32), np.empty(own, np.int32)
    for shard, held in enumerate(rows):
        there = held[held >= 0]
        shard_of[there], place_of[there] = shard, np.arange(there.size)
    return Cut(of_users, len(rows), shard_of, place_of, len(rows[0]), others, reading)


def _folders(client: Client, name: str, homes: Collection[str]) -> dict[str, str]:
    """The folder of each of these Dask workers; `Moved` where one is gone."""
    told: dict[str, Any] = client.run(parts_folder, name, workers=list(homes), on_error="return")
    for found in told.values():
        if isinstance(found, Exception):
            raise Moved if isinstance(found, CommClosedError) else found
    if not set(homes) <= told.keys():
        raise Moved
    return told


def _writers(homes: dict[str, tuple[int, ...]], folders: dict[str, str], shards: int) -> list[tuple[int, str]]:
    """Who writes which block: one Dask worker for every folder on a machine that needs it."""
    writers: dict[tuple[str | None, str, int], str] = {}
    for address, numbers in homes.items():
        for number in numbers:
            writers.setdefault((urlsplit(address).hostname, folders[address], number % shards), address)
    return [(shard, address) for (_, _, shard), address in writers.items()]


def gathered(client: Client, made: list[Any], homes: Collection[str]) -> list[Any]:
    """The results of tasks, as long as the Dask workers stay that they are tied to.

    Parameters
    ----------
    client
        Whose tasks.
    made
        Futures.
    homes
        Addresses of the Dask workers.

    Raises
    ------
    Moved
        When one of them is gone.
    """
    while True:
        try:
            wait(made, timeout=LOOK_S)
            break
        except TimeoutError:
            if not set(homes) <= client.scheduler_info(n_workers=-1)["workers"].keys():
                client.cancel(made)
                raise Moved from None
    return list(client.gather(made))


def _entries(piece: Piece, columns: tuple[str, ...], users: pa.Array, items: pa.Array, cut: Cut) -> list[PartEntries]:
    return entries_of(piece, columns, (users, items), cut)


def _write(
    pieces: list[PartEntries], cut: Cut, repeated: Repeated, folder: str, number: int, shard: int
) -> tuple[int, BlockFacts]:
    return shard, write_block(pieces, cut, repeated, PartFolder(folder), number)


def _make_again(source: Source, cut: Cut, shard: int, folder: str, number: int) -> None:
    raw = source.users.raw, source.items.raw
    entries = [entries_of(piece, source.columns, raw, cut)[shard] for piece in source.pieces]
    write_block(entries, cut, source.repeated, PartFolder(folder), number)


async def _remove(name: str, numbers: range, dask_worker: Any) -> None:
    plugin = dask_worker.plugins.get(name)
    for number in numbers if plugin is not None else ():
        plugin.parts.remove(number)


def _are_there(folder: str, numbers: list[int]) -> list[bool]:
    parts = PartFolder(folder)
    return [all(parts.has(number + array) for array in range(len(ARRAYS))) for number in numbers]
