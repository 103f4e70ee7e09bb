"""The best items of every user as Parquet, part by part: never all scores, nor all users, at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from coded_als.models.folder import PartRows, joined, new_folder, parts_of, read_header, read_rows
from coded_als.models.top_n import recommend_batch, require_count

TopNTask = tuple[str, int, str, int, bool]


TOP_N_NOTE = "top-n.json"


def write_top_n_folder(
    model: str | Path,
    path: str | Path,
    n: int,
    filter_seen: bool,
    run: Callable[[list[TopNTask]], list[int]] | None = None,
) -> int:
    """Write the best items of every user of a model folder, whole or not at all; how many users there are.

    Raises UsageError where something else is at ``path``, or ``model`` is no model folder.
    """
    read_header(model)
    require_count(n)
    with new_folder(path, TOP_N_NOTE) as folder:
        source = str(Path(model).absolute())
        parts = [
            (source, number, str(folder / f"{number:05d}.parquet"), n, filter_seen)
            for number in range(len(parts_of(model, "users")))
        ]
        counts = [top_n_of_part(*part) for part in parts] if run is None else run(parts)
        (folder / TOP_N_NOTE).write_text(json.dumps({"n": n, "users": sum(counts)}) + "\n")
    return sum(counts)


def top_n_of_part(folder: str, number: int, file: str, n: int, filter_seen: bool) -> int:
    """Write the best items of the users in one part of a model folder; how many users that are."""
    items = joined([rows for part in parts_of(folder, "items") for rows in read_rows(part)])
    mean = float(read_header(folder)["global_mean"])
    return write_top_n(read_rows(parts_of(folder, "users")[number]), items, mean, file, n, filter_seen)


def write_top_n(users: Iterable[PartRows], items: PartRows, mean: float, file: str, n: int, filter_seen: bool) -> int:
    """Write the columns user, rank, item and score; users without ratings are left out. How many users there are."""
    import pyarrow as pa
    from pyarrow import parquet

    count, writer = 0, None
    for rows in users:
        rated = np.ones(len(rows.rows), np.bool_) if rows.indptr is None else np.diff(rows.indptr) > 0
        places, scores = recommend_batch(
            rows.factors,
            items.factors,
            min(n, len(items.rows)),
            item_biases=items.biases,
            seen=_seen(rows, items, filter_seen),
        )
        shown = (places >= 0) & rated[:, np.newaxis]
        who, rank = np.nonzero(shown)
        added = mean if rows.biases is None else mean + rows.biases[who]
        table = pa.table(
            {
                "user": pa.array(rows.ids[who]),
                "rank": pa.array(rank.astype(np.int32) + 1),
                "item": pa.array(items.ids[places[shown]]),
                "score": pa.array(scores[shown] + added),
            }
        )
        writer = parquet.ParquetWriter(file, table.schema) if writer is None else writer
        writer.write_table(table)
        count += int(rated.sum())
    if writer is not None:
        writer.close()
    return count


def _seen(rows: PartRows, items: PartRows, filter_seen: bool) -> csr_array | None:
    if not filter_seen or rows.indptr is None or rows.indices is None:
        return None
    ones = np.ones(rows.indices.size, np.int8)
    return csr_array((ones, rows.indices, rows.indptr), shape=(len(rows.rows), len(items.rows)))
