"""Two engines cut and parse a text: with Arrow and without, the columns are the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coded_als.data import fields
from coded_als.data.dialect import TextOptions, layout_of
from coded_als.data.ratings import CodedIds, IdColumn
from coded_als.data.text import TextColumns, read_columns
from coded_als.errors import UsageError

pytest.importorskip("pyarrow", reason="needs the extra parquet")

IDS = (
    "1",
    "7",
    "007",
    "-0",
    "0",
    "-5",
    "12345678901234567",
    "1234567890123456789",
    "9" * 30,
    "+1",
    "1.0",
    "NaN",
    "a b",
    " a",
    "b ",
    '"q"',
    '"a, b"',
    '"say ""x"""',
    "Am\u00e9lie",
    "x" * 40,
    "x" * 300,
    "",
    '"',
    "1e3",
    "0x1",
    "\u00a0",
)
NUMBERS = (
    "1",
    "2.5",
    "-3",
    "1e-3",
    "+4",
    ".5",
    "5.",
    "0.1234567890123456789",
    "1e400",
    "nan",
    "inf",
    "good",
    "",
    "007",
    " 4 ",
    '"3"',
    "1_0",
    "0x1",
)


def plain(ids: IdColumn) -> np.ndarray[Any, Any]:
    return ids.distinct[ids.codes] if isinstance(ids, CodedIds) else ids


def outcome(path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> TextColumns | str:
    monkeypatch.setattr(fields, "ENGINE", engine)
    try:
        options = TextOptions(("1", "2", "3"), False, ",")
        return read_columns(path, layout_of(path, options))
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_both_engines_have_the_same_columns(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the same refusal, to the letter."""
    rng = random.Random(kind)
    read = 0
    for number in range(300):
        ids = IDS[:6] if kind == "numbers" else rng.sample(IDS, 4)
        numbers = rng.sample(NUMBERS, 2) if rng.random() < 0.5 else NUMBERS[:4]
        lines = [f"{rng.choice(ids)},{rng.randrange(99)},{rng.choice(numbers)}" for _ in range(rng.randrange(1, 6))]
        path = tmp_path / f"{number}.csv"
        path.write_text("\n".join(lines) + "\n")
        base, arrow = (outcome(path, engine, monkeypatch) for engine in ("numpy", "arrow"))
        if isinstance(base, str) or isinstance(arrow, str):
            assert base == arrow, lines
            continue
        read += 1
        for one, other in ((plain(base.users), plain(arrow.users)), (plain(base.items), plain(arrow.items))):
            assert one.dtype.kind == other.dtype.kind, lines
            assert one.tolist() == other.tolist(), lines
        assert base.values is not None
        assert base.values.tolist() == arrow.values.tolist(), lines  # type: ignore[union-attr]
        assert base.lines.tolist() == arrow.lines.tolist()
    assert read > 50
