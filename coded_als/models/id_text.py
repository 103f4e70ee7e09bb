"""Ids that are text: one form of them for every source, in memory of the order of their characters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers

# Every element of a NumPy text array takes four bytes for each character of the longest. An array up to this size, or up to
# so many times the characters themselves, is worth its speed; beyond both, ids are Python strings.
_SMALL_BYTES = 64 * 2**20
_WASTE = 16
_BYTES_PER_CHARACTER = 4


def id_text(value: Any) -> str:
    """The text of an id: bytes are decoded as UTF-8, and a value of another type becomes its `str`.

    Raises ValueError for bytes that are not UTF-8, for a value that holds several, and where `require_id_text` does.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            value = bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("ids must be UTF-8 text") from None
    if not isinstance(value, str) and isinstance(value, (Collection, np.ndarray)):
        raise ValueError("ids must be single values")
    text = str(value)
    require_id_text(text)
    return text


def require_id_text(text: str) -> None:
    """Raise `ValueError` for text that no file could hold as an id: with zero characters, or halves of surrogate pairs."""
    if "\0" in text:
        raise ValueError("ids must be text without zero characters")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("ids must be UTF-8 text") from None


def text_array(texts: Sequence[str]) -> NDArray[Any]:
    """Texts as an array: of NumPy's fixed width, or of Python strings where one long id would make all others as long.

    Returns (texts,) of str, or of objects that are str.
    """
    longest = max(map(len, texts), default=0)
    fixed = _BYTES_PER_CHARACTER * longest * len(texts)
    if fixed <= max(_SMALL_BYTES, _WASTE * sum(map(len, texts))):
        return np.array(texts, dtype=np.str_)
    return np.fromiter(texts, dtype=object, count=len(texts))


def joined_texts(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The texts of several arrays in one.

    Returns (all,) of either form, as large as all of them together, or small.
    """
    count, widest = sum(map(len, arrays)), max(array.itemsize for array in arrays)
    if any(array.dtype.kind == "O" for array in arrays) or count * widest <= max(
        _SMALL_BYTES, 2 * sum(array.nbytes for array in arrays)
    ):
        return np.concatenate(arrays)
    return np.concatenate([array.astype(object) for array in arrays])


def number_texts(texts: Sequence[str]) -> tuple[NDArray[Any], Integers]:
    """The distinct texts, ascending, as `text_array` has them, and the place of each text among them.

    Returns distinct, places (distinct,) and (texts,).
    """
    numbers: dict[str, int] = {}
    found = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int64, len(texts))
    # Python and NumPy sort text alike, by code points
    ascending = sorted(numbers)
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[[numbers[text] for text in ascending]] = np.arange(len(numbers))
    return text_array(ascending), rank[found]


def is_text(ids: NDArray[Any]) -> bool:
    """Whether ids are text, of either form of `text_array`."""
    return ids.dtype.kind in "UO"
