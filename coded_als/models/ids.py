"""Original ids of users and items: text or numbers, in one form for every source, and the row or column that one stands for."""

from __future__ import annotations

import numbers
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Integers
from coded_als.errors import UsageError

# Every element of a NumPy text array takes four bytes for each character of the longest. An array up to this size, or up to
# so many times the characters themselves, is worth its speed; beyond both, ids are Python strings.
_SMALL_BYTES = 64 * 2**20
_WASTE = 16
_BYTES_PER_CHARACTER = 4


def id_text(value: Any) -> str:
    """The text of an id: bytes are decoded as UTF-8, and a value of another type becomes its `str`."""
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
    """The texts of several arrays in one: (all,) of either form, as large as all of them together, or small."""
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


Id = int | str
Ids = NDArray[Any]
_WHOLE = (int, np.integer)


def is_one(ids: Any) -> bool:
    """Whether this is one id, and not several."""
    return isinstance(ids, (str, bytes)) or not np.iterable(ids)


def several(ids: Any) -> Any:
    """Ids to go through: one id alone is not a sequence of its characters."""
    return [ids] if is_one(ids) else ids


class IdLookup:
    """Finds the place of an original id; binary search, since a dictionary of millions of ids weighs more than they do."""

    def __init__(self, noun: str, ids: Ids) -> None:
        self._noun = noun
        self._textual = is_text(ids)
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def index(self, identifier: Id) -> int:
        """The place of an id; `UsageError` when it is unknown."""
        place = self._find(identifier)
        if place is None:
            example = self._sorted.item(0) if self._sorted.size else "none"
            raise UsageError(
                f"the {self._noun} must be one of the {self._sorted.size} that the model was trained on "
                f"(such as {example!r}); got {identifier!r}. Check the id."
            )
        return place

    def indices(self, identifiers: Id | Iterable[Id]) -> NDArray[np.int64]:
        """The places of several ids, (count,); `UsageError` when one is unknown."""
        return np.array([self.index(identifier) for identifier in several(identifiers)], dtype=np.int64)

    def known(self, identifiers: Id | Iterable[Id]) -> NDArray[np.int64]:
        """The places of those ids that are known, (known,)."""
        places = self.places(identifiers)
        return places[places >= 0]

    def places(self, identifiers: Id | Iterable[Id] | Ids) -> NDArray[np.int64]:
        """The place of every id, (count,), -1 for an unknown one."""
        if isinstance(identifiers, np.ndarray) and self._is_alike(identifiers):
            places = self._sorted.searchsorted(identifiers)
            places[places == self._sorted.size] = 0
            rows = self._order[places]
            rows[self._sorted[places] != identifiers] = -1
            return rows
        plain = several(identifiers.tolist() if isinstance(identifiers, np.ndarray) else identifiers)
        found = map(self._find, plain)
        return np.array([-1 if place is None else place for place in found], dtype=np.int64)

    def _is_alike(self, identifiers: Ids) -> bool:
        """Whether these can be searched for all at once."""
        kind = self._sorted.dtype.kind
        if (
            identifiers.ndim != 1
            or not self._sorted.size
            or identifiers.dtype.kind not in (kind, "U" if kind == "O" else kind)
        ):
            return False
        return identifiers.dtype.kind != "O" or all(isinstance(one, str) for one in identifiers)

    def _find(self, identifier: Id) -> int | None:
        if isinstance(identifier, bytes):
            identifier = identifier.decode("utf-8", "replace")
        key: Id | None = str(identifier) if self._textual else _whole_number(identifier, self._sorted.dtype)
        if key is None:
            return None
        if isinstance(key, str) and self._sorted.dtype.kind == "U" and len(key) > self._sorted.dtype.itemsize // 4:
            return None  # longer than every id; searching would first widen them all
        # of the ids' own type: NumPy compares signed and unsigned numbers as floats
        wanted = key if self._sorted.dtype.kind == "O" else self._sorted.dtype.type(key)
        place = int(np.searchsorted(self._sorted, wanted))
        if place == self._sorted.size or self._sorted[place] != key:
            return None
        return int(self._order[place])


def as_ids(noun: str, ids: Sequence[Id] | Ids, count: int) -> Ids:
    """Ids as an array of int64 (uint64 where one is that large) or of str (objects where one is very long).

    Returns (count,).
    """
    array = plain_ids(_as_array(ids))
    if array.shape != (count,):
        raise UsageError(
            f"there must be one {noun} id for each of {count} {noun}s; got {array.shape}. Pass them in row order."
        )
    distinct, counts = np.unique(array, return_counts=True)
    if distinct.size < count:
        raise UsageError(
            f"{noun} ids must be distinct; {distinct[counts > 1].item(0)!r} appears twice. Rename or merge them."
        )
    return array


def _as_array(ids: Sequence[Id] | Ids) -> NDArray[Any]:
    """The ids as NumPy has them, but for whole numbers that it would round to floats, and text that it would widen."""
    if hasattr(ids, "__array__"):
        return np.asarray(ids)
    given = list(ids)
    if all(isinstance(one, numbers.Real) for one in given):
        array = np.asarray(given)
        if array.dtype.kind != "f" or not any(isinstance(one, _WHOLE) for one in given):
            return array
    return objects(given)


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """Values as an array of objects, (values,); a value that is itself a sequence stays one object."""
    return np.fromiter(values, dtype=object, count=len(values))


def plain_ids(ids: NDArray[Any]) -> Ids:
    """Ids as int64 (uint64 where one is that large) where all are whole numbers, and as text otherwise."""
    if ids.dtype.kind == "f" and (ids == np.rint(ids)).all() and np.abs(ids).max(initial=0) <= 2**53:
        return ids.astype(np.int64)
    whole = ids.dtype.kind in "iu" or all(isinstance(one, _WHOLE) and not isinstance(one, bool) for one in ids.flat)
    if whole:
        least, largest = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
        if least >= -(2**63) and largest < 2**63:
            return ids.astype(np.int64)
        if least >= 0 and largest < 2**64:
            return ids.astype(np.uint64)
    if ids.dtype.kind not in "OS":
        return ids.astype(np.str_)
    try:
        return text_array(list(map(id_text, ids.tolist())))
    except ValueError as error:
        raise UsageError(f"{error}. Correct them, or convert them to text.") from None


def _whole_number(identifier: Id, dtype: np.dtype[Any]) -> int | None:
    """The id as a number within the type, if it is one written the one way that numbers are written."""
    try:
        number = int(identifier)
    except (TypeError, ValueError, OverflowError):
        return None
    exact = str(number) == identifier if isinstance(identifier, str) else number == identifier
    limits = np.iinfo(dtype)
    return number if exact and limits.min <= number <= limits.max else None
