"""Placement: Dask makes the blocks of one side of a dataset on the machines of the workers that use them."""

from __future__ import annotations

import itertools
import operator
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from distributed import CancelledError, Client, get_worker, wait
from scipy import sparse

from coded_als.als.problem import Weighting
from coded_als.arrays import Array
from coded_als.cluster.scope import Part
from coded_als.codes.product import deal
from coded_als.dask.blocks import ARRAYS, BlockFacts, Cut, Numbering, PartEntries, entries_of, write_block
from coded_als.dask.cluster import (
    LEAVE_WITHIN_S,
    RETURN_WITHIN_S,
    DaskCluster,
    dask_workers,
    scheduler_identity,
    started,
)
from coded_als.dask.part_files import Piece
from coded_als.dask.plugin import parts_folder
from coded_als.data.ratings import Repeated
from coded_als.errors import CodedALSError, UsageError
from coded_als.worker.parts import PartFolder

# Entries of D that are formed at once, beside the sum.
PANEL_ENTRIES = 1 << 22
# Matrices of the size of D that a Dask worker holds while it adds two of them, and one that is on its way.
HELD_AT_ONCE = 4


def summed_gram(client: Client, placed: PlacedBlocks, length: int, unit: float) -> Array:
    """D = A^T A, (l, l); this process sees the sum alone."""

    def summed() -> Array:
        homes = placed.homes()
        addresses = {address for address, _, _ in homes.values()}
        grams = [
            client.submit(block_gram, folder, first, length, unit, workers=[address], pure=False)
            for address, folder, first in homes.values()
        ]
        total: Array = gathered(
            client, [tree(grams, lambda left, right: client.submit(np.add, left, right))], addresses
        )[0]
        return total

    return settled(summed)


def tree(parts: list[Any], add: Callable[[Any, Any], Any]) -> Any:
    """The sum of some parts, of two neighbours at a time: always in the same order."""
    while len(parts) > 1:
        sums = [add(left, right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = sums + parts[2 * len(sums) :]
    return parts[0]


def block_gram(folder: str, first: int, length: int, unit: float) -> Array:
    """A_k^T A_k of a block of rows, (l, l)."""
    parts = PartFolder(folder)
    indptr, indices, data = (parts.read(first + number) for number in range(len(ARRAYS)))
    block = sparse.csr_array((data / unit, indices, indptr), shape=(indptr.size - 1, length))
    turned = block.T.tocsr()
    gram = np.empty((length, length))
    step = max(1, PANEL_ENTRIES // length)
    for start in range(0, length, step):
        # by panels: where all of it is dense, a sparse product takes more than D itself
        gram[start : start + step] = (turned[start : start + step] @ block).toarray()
    return gram


def memory_for_gram(client: Client) -> float | None:
    """Bytes that D may take on each Dask worker; None where none of them is limited."""
    limits = [worker["memory_limit"] for worker in scheduler_identity(client)["workers"].values()]
    return min((limit / HELD_AT_ONCE for limit in limits if limit), default=None)


# Seconds between two looks at whether the workers are still where blocks are made for them, seconds for which they may
# come and go, and the least number of trials of an action that takes longer by itself.
LOOK_S, SETTLE_WITHIN_S, LEAST_TRIALS = 0.5, 60.0, 3


Made = TypeVar("Made")
MatrixReading = tuple[Weighting, float | None] | None


@dataclass(frozen=True, eq=False)
class Source:
    """The part files of a dataset and the numbering of its ids."""

    pieces: Sequence[Piece]  # in the order of their paths
    columns: tuple[str, ...]  # of users, items and perhaps ratings

    users: Numbering
    items: Numbering
    repeated: Repeated  # rule for a repeated pair


class Moved(Exception):
    """A Dask worker that a task needs is gone, or not there yet: which."""


def settled(task: Callable[[], Made]) -> Made:
    """The result of a task that is begun again when Dask workers come and go."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    for trial in itertools.count(1):
        try:
            return task()
        except Moved as moved:
            if trial >= LEAST_TRIALS and time.monotonic() >= deadline:
                raise CodedALSError(
                    f"Dask workers must be there while data are distributed; {moved}. See their logs, and start others."
                ) from None
        time.sleep(LOOK_S)
    raise AssertionError("counting has no end")


class PlacedBlocks:
    """The blocks of one side on the machines of a cluster; those that come later are given theirs before they start.

    ``cluster``: the cluster of the workers that use them; ``source``: where they come from; ``of_users``: whether rows
    are users, or else items; ``shards``: number of blocks; worker w uses block ``w % shards``; ``reading``: as of a
    `Cut`. Raises UsageError for part files that cannot be read, or a pair that is there twice and must not be;
    CodedALSError when Dask workers kept coming and going.
    """

    def __init__(
        self, cluster: DaskCluster, source: Source, of_users: bool, shards: int, reading: MatrixReading = None
    ) -> None:
        self._cluster, self._source = cluster, source
        own, other = (source.users, source.items) if of_users else (source.items, source.users)
        self.rows = deal(own.counts, shards)
        self._cut = cut_of(self.rows, own.counts.size, other.counts.size, of_users, reading)
        self._first = cluster.starter.new_parts(shards * len(ARRAYS))
        self._refusal: UsageError | None = None
        self._waits_until_s = time.monotonic() + RETURN_WITHIN_S
        try:
            self.facts = settled(self._shuffle)
        except BaseException:
            self.close()
            raise

    def shares(self, array: int) -> Any:
        """A `Part` of one of `ARRAYS` for each worker, as `DaskCluster.store` takes them."""
        shards = self._cut.shards
        return [Part(self._number(worker % shards) + array) for worker in range(self._cluster.size)]

    def homes(self) -> dict[int, tuple[str, str, int]]:
        """Where each block lies: a Dask worker, its folder, and the number of the block's first array there.

        Raises Moved when a block lies nowhere just now.
        """
        client, starter = self._cluster.client, self._cluster.starter
        with starter.settled:
            homes = starter.homes()
        folders = _folders(client, starter.name, homes)
        found = {shard: (address, folders[address]) for shard, address in _writers(homes, folders, self._cut.shards)}
        if len(found) < self._cut.shards:
            raise Moved(f"no process runs workers of block {min(set(range(self._cut.shards)) - found.keys())}")
        return {shard: (*found[shard], self._number(shard)) for shard in sorted(found)}

    def close(self) -> None:
        """Delete them, those too that are still being made; workers that have them in use go on.

        A Dask worker that has stopped does so when it goes on.
        """
        client, starter = self._cluster.client, self._cluster.starter
        if self._provide in starter.providers:
            starter.providers.remove(self._provide)
        numbers = range(self._first, self._number(self._cut.shards))
        deleted = started(lambda: client.run(_remove, starter.name, numbers, on_error="ignore"))
        with suppress(Exception):  # Dask workers that are gone have nothing to delete
            deleted.result(LEAVE_WITHIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _number(self, shard: int) -> int:
        return self._first + shard * len(ARRAYS)

    def _shuffle(self) -> list[BlockFacts]:
        """Bring the entries of each block to the machines that need it."""
        starter = self._cluster.starter
        with starter.settled:
            facts = self._shuffled()
            # before any other worker is started, which would lack the blocks made so far
            starter.providers.append(self._provide)
        return facts

    def _shuffled(self) -> list[BlockFacts]:
        client, starter, source = self._cluster.client, self._cluster.starter, self._source
        homes = starter.homes()
        self._require_homes(homes)
        folders = _folders(client, starter.name, homes)
        entries, cut = entries_by_block(client, source, self._cut)
        made = []
        for shard, address in _writers(homes, folders, self._cut.shards):
            place = starter.name, folders[address], self._number(shard)
            arguments = (entries[shard], cut, source.repeated, *place, shard)
            made.append(client.submit(_write, *arguments, workers=[address], pure=False))
        del entries
        facts: dict[int, BlockFacts] = dict(gathered(client, made, homes))
        return [facts[shard] for shard in range(self._cut.shards)]

    def _require_homes(self, homes: dict[str, tuple[int, ...]]) -> None:
        """`Moved` while workers may come back, and without a home for each block; later ones get theirs when they come."""
        there = {number for numbers in homes.values() for number in numbers}
        lacking = sorted(set(range(self._cluster.size)) - there)
        shards = {number % self._cut.shards for number in there}
        if lacking and (time.monotonic() < self._waits_until_s or len(shards) < self._cut.shards):
            raise Moved(f"no process runs the workers {', '.join(map(str, lacking))}")

    def _provide(self, address: str, numbers: tuple[int, ...]) -> None:
        """Make the blocks that a new Dask worker lacks, from the part files."""
        if self._refusal is not None:
            raise self._refusal
        try:
            self._make_what_lacks(address, numbers)
        except UsageError as error:
            self._refusal = error  # for good: another reading of the part files would find the same
            raise

    def _make_what_lacks(self, address: str, numbers: tuple[int, ...]) -> None:
        client, starter, source = self._cluster.client, self._cluster.starter, self._source
        shards = sorted({number % self._cut.shards for number in numbers})
        first = [self._number(shard) for shard in shards]
        folder = client.run(parts_folder, starter.name, workers=[address])[address]
        there = client.run(_are_there, folder, first, workers=[address])[address]
        for shard, is_there in zip(shards, there, strict=True):
            if not is_there:
                arguments = (source, self._cut, shard, starter.name, folder, self._number(shard))
                gathered(client, [client.submit(_make_again, *arguments, workers=[address], pure=False)], [address])


def cut_of(rows: Sequence[Any], own: int, others: int, of_users: bool, reading: MatrixReading = None) -> Cut:
    """Where the rows of one side belong."""
    shard_of, place_of = np.empty(own, np.int32), np.empty(own, np.int32)
    for shard, held in enumerate(rows):
        there = held[held >= 0]
        shard_of[there], place_of[there] = shard, np.arange(there.size)
    return Cut(of_users, len(rows), shard_of, place_of, len(rows[0]), others, reading)


def _folders(client: Client, name: str, homes: Collection[str]) -> dict[str, str]:
    """The folder of each of these Dask workers; `Moved` where one is gone."""
    require_present(client, homes)  # Dask itself would try for half a minute to connect to one that is gone
    folders: dict[str, Any] = client.run(parts_folder, name, workers=list(homes), on_error="return")
    for address, found in folders.items():
        if isinstance(found, Exception):
            raise Moved(f"the one at {address} is gone") if isinstance(found, OSError) else found
    if gone := set(homes) - folders.keys():
        raise Moved(f"the one at {min(gone)} is gone")
    return folders


def require_present(client: Client, homes: Collection[str]) -> None:
    """`Moved` unless all of these Dask workers are there."""
    if gone := set(homes) - dask_workers(client).keys():
        raise Moved(f"the one at {min(gone)} is gone")


def entries_by_block(client: Client, source: Source, cut: Cut) -> tuple[list[list[Any]], Any]:
    """Every piece read where Dask likes: the futures of the entries of each block, piece by piece, and of the cut."""
    try:
        raw = client.scatter([source.users.raw, source.items.raw], broadcast=True, hash=False)
        there = client.scatter(cut, broadcast=True, hash=False)
    except OSError as error:
        raise Moved(f"one did not accept the data sent to it: {error}") from error
    read = [client.submit(_entries, piece, source.columns, *raw, there, pure=False) for piece in source.pieces]
    return [[client.submit(operator.getitem, one, shard) for one in read] for shard in range(cut.shards)], there


def _writers(homes: dict[str, tuple[int, ...]], folders: dict[str, str], shards: int) -> list[tuple[int, str]]:
    """The writer of each block: one Dask worker for every folder on a machine that needs it."""
    writers: dict[tuple[str | None, str, int], str] = {}
    for address, numbers in homes.items():
        for number in numbers:
            writers.setdefault((urlsplit(address).hostname, folders[address], number % shards), address)
    return [(shard, address) for (_, _, shard), address in writers.items()]


def gathered(client: Client, made: list[Any], homes: Collection[str]) -> list[Any]:
    """The results of tasks, as long as the Dask workers stay that they are tied to.

    Raises Moved when one of them is gone.
    """
    try:
        while True:
            with suppress(TimeoutError):
                wait(made, timeout=LOOK_S)
                return list(client.gather(made))
            require_present(client, homes)
    except CancelledError as error:  # scattered data are gone with a Dask worker, and so are the tasks that need them
        raise Moved("one is gone with data that others need") from error
    except BaseException:
        # the results of the other tasks are no longer needed
        client.cancel(made)
        raise


def _entries(piece: Piece, columns: tuple[str, ...], users: pa.Array, items: pa.Array, cut: Cut) -> list[PartEntries]:
    return entries_of(piece, columns, (users, items), cut)


def _write(
    pieces: list[PartEntries], cut: Cut, repeated: Repeated, name: str, folder: str, number: int, shard: int
) -> tuple[int, BlockFacts]:
    facts = write_block(pieces, cut, repeated, PartFolder(folder), number)
    plugin: Any = get_worker().plugins.get(name)
    if plugin is not None and plugin.is_over(number):  # the fit has ended meanwhile
        plugin.delete(range(number, number + len(ARRAYS)))
    return shard, facts


def _make_again(source: Source, cut: Cut, shard: int, name: str, folder: str, number: int) -> None:
    raw = source.users.raw, source.items.raw
    entries = [entries_of(piece, source.columns, raw, cut)[shard] for piece in source.pieces]
    _write(entries, cut, source.repeated, name, folder, number, shard)


async def _remove(name: str, numbers: range, dask_worker: Any) -> None:
    plugin = dask_worker.plugins.get(name)
    if plugin is not None:
        plugin.retire(numbers)


def _are_there(folder: str, numbers: list[int]) -> list[bool]:
    parts = PartFolder(folder)
    return [all(parts.has(number + array) for array in range(len(ARRAYS))) for number in numbers]
