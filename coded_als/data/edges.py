"""Directed graphs as ratings: lines ``source target``, one id space for both ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.data.fields import split_fields
from coded_als.data.lines import WHITESPACE, Lines, one_byte
from coded_als.data.ratings import RatingData, csr_from_sorted, join_ids, number_ids
from coded_als.errors import UsageError

PREFIX = "edges:"
_COMMENT = re.compile(rb"(?m)^[ \t]*[#%].*$")
_DELIMITERS = (b"\t", b",", WHITESPACE)


def read_edge_lines(path: Path) -> RatingData:
    """The links of a graph, each once, as ratings of 1 by their source of their target.

    Fields are separated by tabs, commas or white space, the same throughout; lines that begin with ``#`` or ``%`` are
    comments, and there is no header. Ids are any text; where all are whole numbers they become int64. A link that is
    listed again counts once.

    Returns ratingData: A square matrix: row and column of a node have the same number, and ``user_ids`` are
    ``item_ids``. Raises UsageError with the line number, for a line that does not fit; for a file without links.
    """
    source = path.name
    delimiter = None
    ends: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    lines = []
    for first_line, text in _chunks(path):
        if delimiter is None:
            delimiter = next((one for one in _DELIMITERS if one in text.strip(b"\n").split(b"\n")[0]), WHITESPACE)
        fields = split_fields(source, *one_byte(text, delimiter), 2, first_line)
        for column, pieces in enumerate(ends):
            whole = fields.integers(column)
            pieces.append(fields.texts(column) if whole is None else whole)
        lines.append(fields.line_numbers)
    if delimiter is None:
        raise UsageError(f"a graph must have at least one line `source target`; {source} has none. Check the path.")
    both = join_ids([*ends[0], *ends[1]])
    nodes, numbers = number_ids(both, np.tile(np.concatenate(lines), 2), source)
    sources, targets = np.split(numbers, 2)
    return graph_of(sources, targets, nodes, source)


def graph_of(sources: NDArray[Any], targets: NDArray[Any], nodes: NDArray[Any], source: str) -> RatingData:
    """A graph from its links, repeated ones merged.

    ``sources, targets``: (links,) numbers of nodes; ``nodes``: (n,) their ids.
    """
    links = distinct(sources * nodes.size + targets)
    shape = (nodes.size, nodes.size)
    matrix = csr_from_sorted(*np.divmod(links, nodes.size), np.ones(links.size), shape)
    return RatingData(matrix, nodes, nodes, source)


def distinct(numbers: Integers) -> Integers:
    """Each number once, (k,) ascending; by sorting, since the hash table of `numpy.unique` is slow on such numbers."""
    ordered = np.sort(numbers)
    first = np.ones(ordered.size, dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return np.asarray(ordered[first])


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """As `Lines.chunks`, comments emptied; chunks without a link are left out."""
    for first_line, text in Lines(path).chunks():
        plain = _COMMENT.sub(b"", text)
        if plain.strip(b"\n"):
            yield first_line, plain
