"""Part files as their reader has them, without a cluster."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

pytest.importorskip("distributed")

import pyarrow as pa
from pyarrow import parquet

from coded_als.dask import part_files
from coded_als.errors import UsageError


def test_binary_columns_that_hold_text(tmp_path: Path) -> None:
    table = pa.table({"u": [b"ann", "Zoë".encode()], "i": [2, 3], "r": [3.0, 4.0]})
    parquet.write_table(table, tmp_path / "a.parquet")
    names = ("u", "i", "r")
    [piece] = part_files.find_pieces(str(tmp_path), names)
    assert part_files.read_piece(piece, names).users.to_pylist() == ["ann", "Zoë"]
    for users, message in (([b"\xff", b"b"], "must be UTF-8 text"), ([[1], [2]], "must be whole numbers or text")):
        parquet.write_table(pa.table({"u": users, "i": [2, 3], "r": [3.0, 4.0]}), tmp_path / "a.parquet")
        [piece] = part_files.find_pieces(str(tmp_path), names)
        with pytest.raises(UsageError, match=message):
            part_files.read_piece(piece, names)


def test_folders_of_keys_are_part_of_a_dataset(tmp_path: Path) -> None:
    for user, items in ((5, [1, 2]), (7, [2])):
        folder = tmp_path / f"user={user}" / "day=1"
        folder.mkdir(parents=True)
        parquet.write_table(pa.table({"item": items, "rating": [3.0] * len(items)}), folder / "part-0.parquet")
    for columns in (("user", "item", "rating"), None):
        pieces = part_files.find_pieces(str(tmp_path), columns)
        names = part_files.columns_of(pieces, columns)
        assert names == ("user", "item", "rating")
        read = [part_files.read_piece(piece, names) for piece in pieces]
        assert [one.users.to_pylist() for one in read] == [[5, 5], [7]]
        assert [one.items.to_pylist() for one in read] == [[1, 2], [2]]


def test_text_parts_are_read_as_single_files_are(tmp_path: Path) -> None:
    """Names in another order in each, a part without rows, one that is compressed."""
    (tmp_path / "a.csv").write_text("movieId,userId,rating\n")
    (tmp_path / "b.csv").write_text('movieId,userId,rating\n"x, y",1,2.5\n')
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"userId,rating,movieId\n2,3,z\n"))
    (tmp_path / "d.csv").write_text("")
    pieces = part_files.find_pieces(str(tmp_path), None)
    names = part_files.columns_of(pieces, None)
    read = [part_files.read_piece(piece, names) for piece in pieces]
    assert [user for one in read for user in one.users.to_pylist()] == ["1", "2"]
    assert [item for one in read for item in one.items.to_pylist()] == ["x, y", "z"]
    (tmp_path / "e.csv").write_text("3,4,5\n")
    with pytest.raises(UsageError, match=r"columns must be among those of e\.csv"):
        part_files.find_pieces(str(tmp_path), None)


def test_text_parts_without_names(tmp_path: Path) -> None:
    """As Spark writes them: line 1 of each is data."""
    for part in range(2):
        (tmp_path / f"part-{part}.csv").write_text(f"{part},7,3\n{part},8,4\n")
    (tmp_path / "_SUCCESS").write_text("")
    for columns, users in ((None, ["0", "0", "1", "1"]), (("2", "1", "3"), ["7", "8", "7", "8"])):
        pieces = part_files.find_pieces(str(tmp_path), columns)
        read = [part_files.read_piece(piece, part_files.columns_of(pieces, columns)) for piece in pieces]
        assert [user for one in read for user in one.users.to_pylist()] == users
    (tmp_path / "part-2.csv").write_text("1,7,3,9\n")
    with pytest.raises(UsageError, match="must have the same columns"):
        part_files.find_pieces(str(tmp_path), None)
