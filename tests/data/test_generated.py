"""Generated files are read as they were written, or refused: by each engine, and as part files too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coded_als.data import RatingData, fields, load_ratings
from coded_als.errors import UsageError
from tests.data.generated import Written, write

FAST, MANY = range(60), range(60, 1060)


def written_entries(written: Written) -> list[tuple[str, str, float, int | None]]:
    if written.rows[0][2] is not None:
        return sorted((user, item, float(value or 0), when) for user, item, value, when in written.rows)
    counted = Counter((user, item) for user, item, _, _ in written.rows)
    return sorted((user, item, float(count), None) for (user, item), count in counted.items())


def read_entries(data: RatingData) -> list[tuple[str, str, float, int | None]]:
    rows, columns, values = data.triples()
    times: list[Any] = [None] * values.size if data.times is None else data.times.tolist()
    users, items = data.user_ids[rows].tolist(), data.item_ids[columns].tolist()
    return sorted(
        (str(user), str(item), value, when)
        for user, item, value, when in zip(users, items, values.tolist(), times, strict=True)
    )


def part_entries(written: Written) -> list[tuple[str, str, float, int | None]]:
    part_files = pytest.importorskip("coded_als.dask.part_files", reason="needs the extra dask")
    from coded_als.data.dialect import TextOptions

    options = TextOptions(encoding=written.options.get("encoding"))
    pieces = part_files.find_pieces(str(written.paths[0].parent), options)
    names = part_files.columns_of(pieces, options)
    found: Counter[tuple[str, str]] = Counter()
    for piece in pieces:
        read = part_files.read_piece(piece, names)
        values = np.ones(len(read.users)) if read.values is None else read.values
        for user, item, value in zip(read.users.to_pylist(), read.items.to_pylist(), values.tolist(), strict=True):
            found[user, item] += value
    return sorted((user, item, value, None) for (user, item), value in found.items())


def attempt(seed: int, folder: Path) -> str:
    """How the file of a seed was read: ``read`` or ``refused``; an error where it was read wrongly."""
    written = write(seed, folder)
    try:
        data = load_ratings(written.paths[0], **written.options)
    except UsageError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    assert written.damage is None, f"damage was not noticed: {written.told}"
    assert read_entries(data) == written_entries(written), written.told
    return "read"


def attempt_parts(seed: int, folder: Path) -> str:
    written = write(seed, folder, parts=3)
    try:
        found = part_entries(written)
    except UsageError as error:
        return "refused" if "\n" not in str(error) else "refused in several lines"
    assert written.damage is None, f"damage was not noticed: {written.told}"
    assert found == [(*entry[:3], None) for entry in written_entries(written)], written.told
    return "read"


def outcomes(seeds: range, folder: Path, how: Any) -> None:
    sound: Counter[str] = Counter()
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        outcome = how(seed, place)
        if write(seed, place).damage is None:
            sound[outcome] += 1
    # a reader that refuses everything would never be wrong
    assert sound["read"] >= 0.9 * sum(sound.values()), sound


@pytest.fixture(params=["numpy", "arrow"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine that cuts the fields, whatever the size."""
    if request.param == "arrow":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    monkeypatch.setattr(fields, "ENGINE", request.param)
    return str(request.param)


@pytest.mark.parametrize("how", [attempt, attempt_parts])
@pytest.mark.parametrize(
    "seeds", [pytest.param(FAST, id="fast"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]
)
def test_right_or_refused_never_wrong(tmp_path: Path, engine: str, how: Any, seeds: range) -> None:
    outcomes(seeds, tmp_path, how)
