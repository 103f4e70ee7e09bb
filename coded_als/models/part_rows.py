"""PartRows of a model in parts: their factors, ids, and what they have rated, in memory and as Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.models.id_text import is_text, joined_texts, text_array

if TYPE_CHECKING:
    from coded_als.models.factor_model import FactorModel

# PartRows that are written, and read, at once.
GROUP_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class PartRows:
    """Some rows of one side of a model.

    Parameters
    ----------
    rows
        (k,) their numbers.
    ids
        (k,) their original ids.
    factors
        (k, d).
    biases
        (k,) or None.
    indptr, indices
        Where each row's ratings begin in the columns that it has rated, (k + 1,) and (entries,); or None.
    """

    rows: NDArray[Any]
    ids: NDArray[Any]
    factors: NDArray[Any]
    biases: NDArray[Any] | None = None
    indptr: NDArray[Any] | None = None
    indices: NDArray[Any] | None = None


def write_part(file: str | Path, part: PartRows) -> None:
    """Write one part of a side.

    Parameters
    ----------
    file
        Where to.
    part
        The rows.
    """
    import pyarrow as pa
    from pyarrow import parquet

    writer = None
    for start in range(0, max(1, len(part.rows)), GROUP_ROWS):
        some = slice(start, start + GROUP_ROWS)
        factors = np.ascontiguousarray(part.factors[some])
        columns = {
            "row": pa.array(part.rows[some].astype(np.int64)),
            "id": pa.array(part.ids[some]),
            "factors": pa.FixedSizeListArray.from_arrays(pa.array(factors.reshape(-1)), factors.shape[1]),
        }
        if part.biases is not None:
            columns["bias"] = pa.array(part.biases[some])
        if part.indptr is not None and part.indices is not None:
            ends = part.indptr[start : start + GROUP_ROWS + 1]
            seen = np.asarray(part.indices[ends[0] : ends[-1]], dtype=np.int32)
            columns["seen"] = pa.ListArray.from_arrays(pa.array((ends - ends[0]).astype(np.int32)), pa.array(seen))
        table = pa.table(columns)
        if writer is None:
            writer = parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def sides_of(model: FactorModel) -> tuple[PartRows, PartRows]:
    """Both sides of a model in memory."""
    seen = model.seen_
    users = PartRows(
        np.arange(len(model.user_factors_)),
        model.user_ids,
        model.user_factors_,
        model.user_biases_,
        None if seen is None else seen.indptr,
        None if seen is None else seen.indices,
    )
    items = PartRows(np.arange(len(model.item_factors_)), model.item_ids, model.item_factors_, model.item_biases_)
    return users, items


def read_rows(file: Path) -> Iterator[PartRows]:
    """The rows of a part, some at a time."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(file).iter_batches(GROUP_ROWS):
        names = batch.schema.names
        factors, seen = batch["factors"], batch["seen"] if "seen" in names else None
        ids = batch["id"]
        yield PartRows(
            batch["row"].to_numpy(),
            text_array(ids.to_pylist()) if str(ids.type).endswith("string") else ids.to_numpy(),
            factors.flatten().to_numpy(zero_copy_only=False).reshape(len(batch), factors.type.list_size),
            batch["bias"].to_numpy(zero_copy_only=False) if "bias" in names else None,
            None if seen is None else np.concatenate(([0], np.cumsum(seen.value_lengths().to_numpy()))),
            None if seen is None else seen.flatten().to_numpy(),
        )


def joined(parts: Sequence[PartRows]) -> PartRows:
    """All rows in the order of their numbers."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    if not np.array_equal(rows[order], np.arange(rows.size)):
        raise ValueError("rows are missing or there twice")
    indptr = indices = None
    ends = [part.indptr for part in parts if part.indptr is not None]
    columns = [part.indices for part in parts if part.indices is not None]
    if ends:
        lengths = np.concatenate([np.diff(some) for some in ends])
        starts = np.cumsum(lengths) - lengths
        indptr = np.concatenate(([0], np.cumsum(lengths[order])))
        # all entries of the rows in their new order: starts repeated, plus a count within each row
        within = np.arange(lengths.sum()) - np.repeat(indptr[:-1], lengths[order])
        together = np.concatenate(columns)
        indices = together[np.repeat(starts[order], lengths[order]) + within]
    biases = [part.biases for part in parts if part.biases is not None]
    return PartRows(
        rows[order],
        _joined_ids([part.ids for part in parts])[order],
        np.concatenate([part.factors for part in parts])[order],
        np.concatenate(biases)[order] if biases else None,
        indptr,
        indices,
    )


def _joined_ids(ids: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return joined_texts(ids) if all(map(is_text, ids)) else np.concatenate(ids)


def some_rows(part: PartRows, start: int, stop: int) -> PartRows:
    """Some of the rows, with the entries of all.

    Parameters
    ----------
    part
        The rows.
    start, stop
        From and to.
    """
    some = slice(start, stop)
    return PartRows(
        part.rows[some],
        part.ids[some],
        part.factors[some],
        None if part.biases is None else part.biases[some],
        None if part.indptr is None else part.indptr[start : stop + 1],
        part.indices,
    )
