"""Original ids: what goes in comes out, and two spellings never meet."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coded_als.errors import UsageError
from coded_als.models.ids import IdLookup, as_ids

whole_ids = st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=20, unique=True)


@settings(max_examples=100)
@given(ids=whole_ids, kind=st.sampled_from(["list", "object"]))
def test_whole_numbers_of_any_size_are_found_where_they_are(ids: list[int], kind: str) -> None:
    kept = as_ids("user", ids if kind == "list" else np.array(ids, dtype=object), len(ids))
    assert [str(one) for one in kept.tolist()] == [str(one) for one in ids]
    lookup = IdLookup("user", kept)
    for place, one in enumerate(ids):
        assert lookup.index(one) == lookup.index(str(one)) == place
    for unknown in {ids[0] + 1, ids[0] - 1, ids[0] + 2**64} - set(ids):
        with pytest.raises(UsageError):
            lookup.index(unknown)
    assert lookup.places(kept).tolist() == list(range(len(ids)))


def test_unsigned_ids_do_not_wrap() -> None:
    ids = np.array([2**63 + 5, 7, 2**64 - 1], dtype=np.uint64)
    kept = as_ids("item", ids, 3)
    assert kept.tolist() == ids.tolist()
    assert IdLookup("item", kept).places([7, 2**63 + 5, -(2**63) + 5, 2**63 + 4]).tolist() == [1, 0, -1, -1]
    assert as_ids("item", np.array([3, 2], np.uint8), 2).dtype == np.int64


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1.0, 3.0], [1, 3]),
        (np.array([1.5, 3.0]), ["1.5", "3.0"]),
        ([b"a", b"\xc3\xa9"], ["a", "é"]),
        (np.array([b"a", b"\xc3\xa9"]), ["a", "é"]),
        (["b", 1], ["b", "1"]),
        (np.array(["2024-01-02", "2024-01-03"], dtype="M8[D]"), ["2024-01-02", "2024-01-03"]),
        ([True, False], ["True", "False"]),
        (range(3), [0, 1, 2]),
    ],
)
def test_other_ids(ids: Any, expected: Any) -> None:
    kept = as_ids("user", ids, len(ids))
    assert kept.tolist() == expected
    assert kept.dtype.kind in "iuU"


def test_objects_are_known_by_their_text() -> None:
    ids = [uuid.UUID(int=n) for n in (5, 3)]
    lookup = IdLookup("user", as_ids("user", ids, 2))
    assert lookup.index(ids[1]) == lookup.index(str(ids[1])) == 1  # type: ignore[arg-type]
