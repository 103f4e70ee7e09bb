"""Ratings as delimited text that `coded_als.data.load_ratings` reads back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from coded_als.data.ratings import RatingData
from coded_als.errors import UsageError
from coded_als.models.files import write_whole
from coded_als.models.id_text import is_text

_BLOCK = 2**16
# characters that a reader would take for the end of a field or of a line, or leave out
_UNWRITABLE = re.compile(r'[\t\n\r\0\x1f]|^[ "]|[ "]$|^$')


def write_rating_lines(path: Path, data: RatingData) -> None:
    """Write lines ``user item rating [time]``, separated by tabs, in the order of the source.

    Raises UsageError for an id that lines cannot hold, or where no file can be written.
    """
    for ids in (data.user_ids, data.item_ids):
        _require_writable(ids)
    rows, columns, values = data.triples()
    order = np.arange(values.size) if data.positions is None else np.argsort(data.positions, kind="stable")
    fields: list[NDArray[Any]] = [data.user_ids[rows[order]], data.item_ids[columns[order]], _whole(values[order])]
    if data.times is not None:
        fields.append(_whole(data.times[order]))

    def write(file: IO[bytes]) -> None:
        for start in range(0, order.size, _BLOCK):
            block = [field[start : start + _BLOCK].tolist() for field in fields]
            file.write("".join("\t".join(map(str, line)) + "\n" for line in zip(*block, strict=True)).encode())

    try:
        write_whole(path, write)
    except OSError as error:
        raise UsageError(f"ratings must be written where a file can be; got {path}: {error.strerror}.") from None


def _require_writable(ids: NDArray[Any]) -> None:
    if not is_text(ids):
        return
    for name in ids.tolist():
        if _UNWRITABLE.search(name):
            raise UsageError(
                f"ids in lines must hold neither tabs nor line ends, nor begin or end with a space or a quote; got "
                f"{name!a}. Rename it."
            )


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers without a point, where all are."""
    whole = values.dtype.kind == "f" and (values == np.rint(values)).all() and np.abs(values).max(initial=0) < 2**53
    return values.astype(np.int64) if whole else values
