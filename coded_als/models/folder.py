"""Models as folders of Parquet files, in parts that need not fit into memory at once, and the best items of all their users."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from coded_als.errors import UsageError
from coded_als.models.ids import is_text, joined_texts, text_array
from coded_als.models.registry import is_known, model_class
from coded_als.models.top_n import recommend_batch, require_count

if TYPE_CHECKING:
    from coded_als.models.factor_model import FactorModel

# PartRows that are written, and read, at once.
GROUP_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class PartRows:
    """Some rows of one side of a model."""

    rows: NDArray[Any]  # (k,) their numbers
    ids: NDArray[Any]  # (k,) their original ids
    factors: NDArray[Any]  # (k, d)
    biases: NDArray[Any] | None = None  # (k,) or None
    # where each row's ratings begin in the columns that it has rated, (k + 1,) and (entries,); or None
    indptr: NDArray[Any] | None = None
    indices: NDArray[Any] | None = None


def write_part(file: str | Path, part: PartRows) -> None:
    """Write one part of a side."""
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
    """Some of the rows, with the entries of all."""
    some = slice(start, stop)
    return PartRows(
        part.rows[some],
        part.ids[some],
        part.factors[some],
        None if part.biases is None else part.biases[some],
        None if part.indptr is None else part.indptr[start : stop + 1],
        part.indices,
    )


FORMAT, VERSION, HEADER = "coded-als model folder", 1, "model.json"
SIDES = ("users", "items")
# Rows of a part that a model in memory is cut into.
PART_ROWS = 200_000


@contextmanager
def new_folder(path: str | Path, known: str) -> Iterator[Path]:
    """A folder that takes its name when the block ends, whole or not at all."""
    target = Path(os.path.realpath(path))
    require_replaceable(target, known)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.mkdir()
        yield unfinished
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
    except OSError as error:
        raise UsageError(
            f"a folder must be written where there is room; got {path}: {error.strerror or error}. Choose another path."
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_replaceable(path: Path, known: str) -> None:
    """`UsageError` unless a folder can be written there."""
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UsageError(f"a folder must be written into one that is there; got {path}. Make {parent} first.")
    if path.exists() and not (path.is_dir() and (not any(path.iterdir()) or (path / known).is_file())):
        raise UsageError(
            f"{path} must be a folder of this kind, or not be there; it holds something else. Choose another."
        )


def write_header(folder: Path, model: FactorModel) -> None:
    """Write the facts of a model that are not in its parts: kind, mean, shape and metadata."""
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "kind": model.kind,
        "global_mean": model.global_mean_,
        "shape": [len(model.user_factors_), len(model.item_factors_)],
        "metadata": model._metadata(),
    }
    (folder / HEADER).write_text(json.dumps(contents, default=lambda value: value.item()), encoding="utf-8")


def save_folder(model: FactorModel, path: str | Path) -> None:
    """Write a model in memory as a folder; `UsageError` when the folder cannot be written."""
    with new_folder(path, HEADER) as folder:
        write_header(folder, model)
        for side, part in zip(SIDES, sides_of(model), strict=True):
            (folder / side).mkdir()
            for number, start in enumerate(range(0, len(part.rows), PART_ROWS)):
                write_part(folder / side / f"{number:05d}.parquet", some_rows(part, start, start + PART_ROWS))


def parts_of(folder: str | Path, side: str) -> list[Path]:
    """The files of one side of a model folder, in the order of their names."""
    return sorted((Path(folder) / side).glob("*.parquet"))


def read_header(path: str | Path) -> dict[str, Any]:
    """The facts of a model that are not in its parts; `UsageError` if this is no model folder of this version."""
    try:
        contents = json.loads((Path(path) / HEADER).read_text(encoding="utf-8"))
        if contents["format"] != FORMAT or contents["version"] != VERSION or not is_known(contents["kind"]):
            raise ValueError(f"its {HEADER} is of another format or version")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"a model folder must hold its {HEADER}; got {path}: {reason}. Fit and save it again."
        ) from None
    found: dict[str, Any] = contents
    return found


def load_folder(path: str | Path) -> FactorModel:
    """The model in a folder, all of it in memory."""
    header = read_header(path)
    try:
        users, items = (joined([rows for file in parts_of(path, side) for rows in read_rows(file)]) for side in SIDES)
        arrays = {"global_mean": np.array(float(header["global_mean"]))}
        for noun, part in (("user", users), ("item", items)):
            arrays |= {f"{noun}_factors": part.factors, f"{noun}_ids": part.ids}
            if part.biases is not None:
                arrays[f"{noun}_biases"] = part.biases
        if users.indptr is not None and users.indices is not None:
            arrays |= {"seen_indptr": users.indptr, "seen_indices": users.indices}
        if [len(users.rows), len(items.rows)] != header["shape"]:
            raise ValueError("parts are missing")
        return model_class(header["kind"]).from_arrays(arrays, header["metadata"])
    except UsageError:
        raise
    except Exception as error:  # Arrow has errors of its own for bytes that are not its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"a model folder must be complete; got {path}: {reason}. Fit and save it again.") from None


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
