"""The engine of large texts: the fields of some lines as Arrow cuts and parses them (extra ``parquet``).

The rules are those of `coded_als.data.fields`. Text in which both could differ, such as spaces around quotes, and all that
is refused are left to that engine, so that a result or a message is the same with and without Arrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.data.fields import LONGEST_FIELD, LONGEST_INTEGER, Fields, well_quoted
from coded_als.data.ratings import CodedIds, IdColumn

# "auto": Arrow for chunks from this size on, where it is installed; it takes a tenth of a second to load
ENGINE = "auto"
_FROM_BYTES = 2**20
_TENS = 10 ** np.arange(1, 19, dtype=np.int64)


class ArrowFields:
    """The fields of some lines, none of them empty, each column parsed when it is asked for.

    ``table`` has columns of text, named by their places; ``base`` cuts the same lines where Arrow has no answer.
    """

    blank = 0

    def __init__(self, table: Any, base: Callable[[], Fields], first_line: int) -> None:
        self._table = table
        self._make_base = base
        self._first_line = first_line

    @property
    def source(self) -> str:
        """Name of the file."""
        return self._base.source

    @property
    def line_numbers(self) -> Integers:
        """(lines,), counted from 1."""
        return self._first_line + np.arange(self._table.num_rows)

    def integers(self, column: int) -> Integers | None:
        """As of `Fields`, (rows,)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = self._table[str(column)]
        if not texts[0].as_py().lstrip("-").isdigit():  # spares most texts the attempt
            return None
        try:
            values = texts.cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            return None
        # 007 and -0 are longer than the number that they are
        shortest = 1 + np.searchsorted(_TENS, np.abs(values), side="right") + (values < 0)
        plain = bool((pc.binary_length(texts).to_numpy() == shortest).all())
        return values if plain and bool((np.abs(values) < 10**LONGEST_INTEGER).all()) else None

    def texts(self, column: int) -> IdColumn:
        """As of `Fields`, (rows,), each distinct text once."""
        import pyarrow as pa
        import pyarrow.compute as pc

        coded = self._table[str(column)].cast(pa.binary()).combine_chunks().dictionary_encode()
        lengths = pc.min_max(pc.binary_length(coded.dictionary)).as_py()
        if not lengths["min"] or lengths["max"] > LONGEST_FIELD:
            return self._base.texts(column)
        distinct = np.array(coded.dictionary.to_pylist(), dtype=np.bytes_)
        return CodedIds(distinct, coded.indices.to_numpy().astype(np.int64))

    def numbers(self, columns: slice) -> NDArray[np.float64]:
        """As of `Fields`, (lines, columns)."""
        import pyarrow as pa

        try:
            values = [self._table[name].cast(pa.float64()).to_numpy() for name in self._table.column_names[columns]]
        except pa.ArrowInvalid:
            return self._base.numbers(columns)
        stacked = np.stack(values, axis=1)
        return stacked if bool(np.isfinite(stacked).all()) else self._base.numbers(columns)

    def times(self, column: int) -> tuple[NDArray[Any], bool]:
        """As of `Fields`, (rows,)."""
        whole = self.integers(column)
        return self._base.times(column) if whole is None else (whole, False)

    @cached_property
    def _base(self) -> Fields:
        return self._make_base()


@lru_cache(1)
def _is_installed() -> bool:
    return find_spec("pyarrow") is not None


def arrow_fields(
    text: bytes, delimiter: bytes, width: int, first_line: int, base: Callable[[], Fields]
) -> ArrowFields | None:
    """The fields of some lines by Arrow; None where the other engine is to cut them."""
    wanted = ENGINE == "arrow" or (ENGINE == "auto" and len(text) >= _FROM_BYTES)
    if not wanted or not _is_installed() or not _is_plain(text, delimiter):
        return None
    import pyarrow as pa
    from pyarrow import csv

    names: Sequence[str] = [str(place) for place in range(width)]
    try:
        table = csv.read_csv(
            pa.py_buffer(text),
            csv.ReadOptions(column_names=names, block_size=len(text) + 1),
            csv.ParseOptions(delimiter=delimiter.decode("latin-1"), newlines_in_values=b'"' in text),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:  # the other engine names the line
        return None
    # otherwise lines are empty, or go on in the next one
    return ArrowFields(table, base, first_line) if table.num_rows == text.count(b"\n") else None


def _is_plain(text: bytes, delimiter: bytes) -> bool:
    """Whether fields have neither spaces around them nor quotes in odd places."""
    if b"\r" in text:
        return False
    if b" " in text:
        characters = np.frombuffer(text, np.uint8)
        spaces = np.flatnonzero(characters == ord(" "))
        edges = np.array([delimiter[0], ord("\n"), ord('"')], np.uint8)
        # a text ends with a newline, so index -1, for a space in the first byte, finds one too
        if np.isin(characters[spaces - 1], edges).any() or np.isin(characters[spaces + 1], edges).any():
            return False
    return b'"' not in text or well_quoted(text, delimiter)
