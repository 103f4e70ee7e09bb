"""Datasets of part files that no machine holds as a whole: their ids and counts, and the fits on them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from distributed import Client

from coded_als.baselines.distributed import BlockedRows
from coded_als.baselines.half_step import RatingFacts
from coded_als.cluster import Cluster
from coded_als.dask.blocks import ARRAYS, BlockFacts, Census, census, merged, numbered, reads_text
from coded_als.dask.cluster import DaskCluster
from coded_als.dask.part_files import columns_of, find_pieces
from coded_als.dask.placement import MatrixReading, PlacedBlocks, Source
from coded_als.data.dialect import TextOptions
from coded_als.data.ratings import Repeated
from coded_als.errors import UsageError
from coded_als.models.ids import Ids

# Number of pieces for which ids are put together at once.
TOGETHER = 8


@dataclass(frozen=True, eq=False)
class Dataset:
    """Ratings in part files, of which the client knows ids and counts only.

    Examples
    --------
    >>> from distributed import Client
    >>> from coded_als.dask import Dataset
    >>> dataset = Dataset.find(Client("tcp://HOST:8786"), "ratings/*.parquet")  # doctest: +SKIP
    """

    name: str  # pattern, folder or file
    source: Source
    rows: int  # of all files
    digest: str  # of all rows in the order of the parts, and of the rule for repeated pairs
    empty_lines: int = 0  # lines of texts that were passed over

    @classmethod
    def find(
        cls,
        client: Client,
        source: str,
        columns: Sequence[str] | TextOptions | None = None,
        repeated: Repeated | None = None,
    ) -> Dataset:
        """Find part files and number their ids.

        Parameters
        ----------
        client
            Client of the Dask cluster that reads; its workers must find the files under the same paths.
        source
            A pattern such as ``ratings/*.parquet``, a folder of part files, or one of them: Parquet, or delimited text as
            of `coded_als.data.load_ratings`, compressed or not. Folders ``key=value`` within are part of a folder.
        columns
            The columns of users, items and perhaps ratings, by name or by place from 1, or other options of a text;
            None for names that are known. Without ratings, rows are counted.
        repeated
            Rule for a pair that is rated twice: ``"refuse"`` (the default), or the ``"last"`` or the ``"sum"``
            counts.

        Raises
        ------
        UsageError
            For files or values that are no ratings, and ids of different types.
        """
        pieces = find_pieces(source, columns)
        names = columns_of(pieces, columns)
        counted = client.map(census, pieces, columns=names, pure=False)
        while len(counted) > 1:
            groups = [counted[start : start + TOGETHER] for start in range(0, len(counted), TOGETHER)]
            counted = [client.submit(merged, group, pure=False) for group in groups]
        total: Census = counted[0].result()
        if not total.rows:
            raise UsageError(f"ratings must have at least one row; {source} has none. Check the files.")
        text = reads_text(pieces)
        users, items = numbered(total.users, text), numbered(total.items, text)
        how: Repeated = repeated or ("sum" if len(names) == 2 else "refuse")
        pieces = [replace(piece, digest=found) for piece, found in zip(pieces, total.digests, strict=True)]
        digest = hashlib.sha256(" ".join((how, *total.digests)).encode()).hexdigest()
        return cls(source, Source(pieces, names, users, items, how), total.rows, digest, total.empty_lines)

    @property
    def shape(self) -> tuple[int, int]:
        """Users m and items n."""
        return self.user_ids.size, self.item_ids.size

    @property
    def user_ids(self) -> Ids:
        """(m,) ascending."""
        return self.source.users.ids

    @property
    def item_ids(self) -> Ids:
        """(n,) ascending."""
        return self.source.items.ids

    def place(self, cluster: DaskCluster, of_users: bool, shards: int, reading: MatrixReading = None) -> PlacedBlocks:
        """Put the blocks of one side where the workers are.

        Parameters
        ----------
        cluster
            The cluster of the workers that use the blocks.
        of_users
            Whether rows are users, or else items.
        shards
            Number of blocks.
        reading
            As of a `coded_als.dask.blocks.Cut`.
        """
        placed = PlacedBlocks(cluster, self.source, of_users, shards, reading)
        own, other = (self.source.users, self.source.items) if of_users else (self.source.items, self.source.users)
        for rows, facts in zip(placed.rows, placed.facts, strict=True):
            if facts.repeated is not None:
                placed.close()
                place, column = facts.repeated
                pair = (own.ids.item(rows[place]), other.ids.item(column))
                user, item = pair if of_users else pair[::-1]
                raise UsageError(
                    f"a user must rate an item once; user {user!r} rates item {item!r} twice in {self.name}. Remove one, "
                    "or let the last or the sum count (repeated='last')."
                )
        return placed


def blocked_rows(placed: PlacedBlocks, name: str, cluster: Cluster, count: int) -> BlockedRows:
    """Tell the workers that they hold the blocks of one side."""
    for number, array in enumerate(ARRAYS):
        cluster.store(f"{name}.{array}", placed.shares(number))
    lengths = np.zeros(count, np.int64)
    for rows, facts in zip(placed.rows, placed.facts, strict=True):
        held = rows >= 0
        lengths[rows[held]] = facts.lengths[held]
    return BlockedRows(name, placed.rows, [facts.touched for facts in placed.facts], lengths)


def rating_facts(blocks: Sequence[BlockFacts]) -> RatingFacts:
    """Facts about all ratings, from the blocks of one side."""
    entries = sum(int(block.lengths.sum()) for block in blocks)
    return RatingFacts(
        entries,
        sum(block.total for block in blocks) / entries,
        min(block.least for block in blocks),
        max(block.largest for block in blocks),
        sum(block.squares for block in blocks),
    )
