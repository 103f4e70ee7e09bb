"""Reading delimited text: what comes out is what a line at a time would give."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coded_als.data import RatingData, lines, load_ratings
from coded_als.data.ratings import distinct_ids, sorted_by
from coded_als.errors import UsageError
from tests.strategies import rating_triples

file_settings = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(folder: Path, content: str | bytes, name: str = "ratings.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def triples(data: RatingData) -> dict[tuple[object, object], float]:
    rows, columns, values = data.triples()
    users, items = data.user_ids[rows].tolist(), data.item_ids[columns].tolist()
    return {(u, i): v for u, i, v in zip(users, items, values.tolist(), strict=True)}


@pytest.mark.parametrize("delimiter", ["\t", ",", "::", ";", " ", "   ", ", ", " \t "])
@pytest.mark.parametrize("header", ["", "user{0}item{0}rating{0}time\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_delimiter_with_and_without_header(tmp_path: Path, delimiter: str, header: str, newline: str) -> None:
    rows = [("7", "10", "3.5", "50"), ("-2", "9", "4", "40"), ("7", "9", "1e0", "60")]
    content = header.format(delimiter) + "".join(delimiter.join(line) + "\n" for line in rows)
    data = load_ratings(write(tmp_path, content.replace("\n", newline)))
    assert triples(data) == {(-2, 9): 4.0, (7, 9): 1.0, (7, 10): 3.5}
    assert data.user_ids.tolist() == [-2, 7]
    assert data.times is not None
    assert data.times.tolist() == [40, 60, 50]
    assert data.positions is not None
    assert data.positions.tolist() == [1, 2, 0]


def test_ids_are_any_text(tmp_path: Path) -> None:
    content = 'user,item,rating\nanna, "Das Boot" ,5\n007,Amélie,4\n7,"Das Boot",3\n'
    assert triples(load_ratings(write(tmp_path, content))) == {
        ("anna", "Das Boot"): 5.0,
        ("007", "Amélie"): 4.0,
        ("7", "Das Boot"): 3.0,
    }


def test_numbers_that_are_not_written_canonically_stay_distinct_ids(tmp_path: Path) -> None:
    data = load_ratings(write(tmp_path, "1 a 1\n01 a 1\n-0 a 1\n0 a 1\n+1 a 1\n1234567890123456789012 a 1\n"))
    assert sorted(data.user_ids.tolist()) == sorted(["1", "01", "-0", "0", "+1", "1234567890123456789012"])


@pytest.mark.parametrize("blank", ["\n", "  \n", "\t\n", "\r\n"])
def test_blank_lines_and_a_missing_last_newline(tmp_path: Path, blank: str) -> None:
    content = f"{blank}u,i,r\n{blank}1,2,3{blank}{blank}4,5,6"
    assert triples(load_ratings(write(tmp_path, content))) == {(1, 2): 3.0, (4, 5): 6.0}
    with pytest.raises(UsageError, match="line 6 "):
        load_ratings(write(tmp_path, f"{blank}u,i,r\n{blank}1,2,3\n{blank}4,5,x"))


def test_byte_order_mark_and_gzip(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"\xef\xbb\xbf1,2,3\n"), "r.csv.gz")
    assert triples(load_ratings(path)) == {(1, 2): 3.0}


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_CHUNK_BYTES", 10)
    content = "user::item::rating\n" + "".join(f"{k}::{2 * k}::{k / 2}\n" for k in range(50)) + "last::1::1\n"
    data = load_ratings(write(tmp_path, content))
    assert triples(data) == {(str(k), 2 * k): k / 2 for k in range(50)} | {("last", 1): 1.0}
    with pytest.raises(UsageError, match="line 53 "):
        load_ratings(write(tmp_path, content + "a::b\n"))


@file_settings
@given(ratings=rating_triples(), names=st.booleans())
def test_a_file_gives_back_what_was_written(tmp_path: Path, ratings: dict[tuple[int, int], float], names: bool) -> None:
    prefix = "u" if names else ""
    content = "".join(f"{prefix}{u}\t{i}\t{v}\n" for (u, i), v in ratings.items())
    data = load_ratings(write(tmp_path, content))
    assert triples(data) == {((f"u{u}" if names else u), i): v for (u, i), v in ratings.items()}
    assert data.positions is not None
    assert [list(triples(data))[k] for k in np.argsort(data.positions)] == [
        ((f"u{u}" if names else u), i) for u, i in ratings
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n\n", "is empty"),
        ("user,item,rating\n", "besides the header"),
        ("1,2.5\n", "lines must be"),
        ("user,item\n", "besides the header"),
        ("1,2\n3,4,5\n", "got 3 in line 2"),
        ("1,2\n3,4\n3,4,5\n", "got 3 in line 3"),
        ("1,2,3,4,5\n", "lines must be"),
        ("hello\n", "lines must be"),
        ("1,2,3\n4,5\n", "got 2 in line 2"),
        ("1,2,3\n4,5,6\n7,8,9,10\n", "got 4 in line 3"),
        ("u,i,r\n1,2,3\n4,5,good\n", "'good' in line 3"),
        ("1,2,good\n1,3,4\n", "'good' in line 1"),
        ("1,2,3\n4,5,\n", "'' in line 2"),
        ("1,2,nan\n", "'nan' in line 1"),
        ("1,2,3\n4,5,-inf\n", "'-inf' in line 2"),
        ("1,2,3\n4,5,1e999\n", "'1e999' in line 2"),
        ("1,2,3\n4,5,1_0\n", "'1_0' in line 2"),
        ("1,2,3,9\n4,5,6,soon\n", "field 4 must be a finite number; got 'soon' in line 2"),
        ("1,2,3\n,5,4\n", "field 1 must not be empty"),
        ("u,i,r\n1,2,3\n5,6,1\n1,2,4\n", "user 1 rates item 2 in lines 2 and 4"),
        ("a,b,3\na,b,3\n", "user 'a' rates item 'b' in lines 1 and 2"),
        (b"a,b,3\n\xff,b,3\n", "UTF-8 text; got b'\\xff' in line 2"),
        (b"1,2,3\n1,\0,3\n", "zero byte in line 2"),
        ("1,2,3\n" + "x" * 300 + ",2,3\n", "at most 256 bytes"),
    ],
)
def test_bad_text_is_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_ratings(write(tmp_path, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("delimiter", [",", " ", "\t", ";"])
@pytest.mark.parametrize("header", ["", "a{0}b{0}c\n"])
def test_dense_text(tmp_path: Path, delimiter: str, header: str) -> None:
    matrix = np.array([[1.5, -2.0, 0.0], [3.0, 0.25, 1e-3]])
    content = header.format(delimiter) + "".join(delimiter.join(map(str, row)) + "\n" for row in matrix.tolist())
    data = load_ratings(write(tmp_path, content), dense=True)
    assert isinstance(data.matrix, np.ndarray)
    np.testing.assert_array_equal(data.matrix, matrix)
    assert data.item_ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize("first", [[1.0, 2.0], [0.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
def test_a_first_row_that_counts_is_a_row(tmp_path: Path, first: list[float]) -> None:
    matrix = np.array([first, [5.0] * len(first)])
    np.savetxt(tmp_path / "m.txt", matrix)
    np.testing.assert_array_equal(load_ratings(tmp_path / "m.txt", dense=True).matrix, matrix)


def test_a_long_first_row_that_counts_has_two_readings(tmp_path: Path) -> None:
    path = write(tmp_path, "1,2,3,4,5\n6,7,8,9,1\n", "m.csv")
    with pytest.raises(UsageError, match="counts 1 to 5: it may hold numbers of columns, or a row"):
        load_ratings(path, dense=True)
    assert load_ratings(path, dense=True, header=True).matrix.tolist() == [[6, 7, 8, 9, 1]]
    assert load_ratings(path, dense=True, header=False).shape == (2, 5)


def test_dense_column(tmp_path: Path) -> None:
    assert load_ratings(write(tmp_path, "1\n2\n"), dense=True).shape == (2, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b,c\n", "besides the header"),
        ("5,6\n1,2\n3\n", "got 1 in line 3"),
        ("5,6\n1,x\n", "field 2 must be a finite number; got 'x' in line 2"),
        ("5,6\n1,NaN\n", "'NaN' in line 2"),
        ("NA,3\n4,5\n", "'NA' in line 1"),
        (",a,b\n0,1,2\n1,3,4\n", "names of rows"),
        ("0,0\n0,0\n", "at least one entry"),
    ],
)
def test_bad_dense_text(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_ratings(write(tmp_path, content), dense=True)
    assert message in str(caught.value)


def test_movielens(shared_data: Path) -> None:
    path = shared_data / "ml-100k" / "u.data"
    data = load_ratings(path)
    lines = np.loadtxt(path, dtype=np.int64)
    rows, columns, values = data.triples()
    back = np.empty_like(lines)
    assert data.times is not None
    back[data.positions] = np.c_[data.user_ids[rows], data.item_ids[columns], values, data.times]
    np.testing.assert_array_equal(back, lines)


def test_jester(shared_data: Path) -> None:
    path = shared_data / "jester" / "jester-dataset-v1-dense-first-1000.csv"
    data = load_ratings(path, dense=True, header=True)  # its names count from 1 to 100
    np.testing.assert_array_equal(data.matrix, np.loadtxt(path, delimiter=",", skiprows=1))


@pytest.mark.parametrize("delimiter", ["\t", ",", " ", "::"])
@pytest.mark.parametrize("header", ["", "user{0}item\n", "user_id{0}items\n", "who{0}what\n"])
def test_interactions_are_counted(tmp_path: Path, delimiter: str, header: str) -> None:
    rows = [("7", "10"), ("7", "9"), ("3", "9"), ("7", "10")]
    content = header.format(delimiter) + "".join(delimiter.join(row) + "\n" for row in rows)
    data = load_ratings(write(tmp_path, content))
    assert triples(data) == {(3, 9): 1.0, (7, 9): 1.0, (7, 10): 2.0}
    assert data.times is None
    assert data.positions is not None
    assert data.positions.tolist() == [2, 1, 0]


def test_interactions_between_texts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="may hold names of columns, or data"):
        load_ratings(write(tmp_path, "anna,Das Boot\nbob,Amélie\n"))
    assert triples(load_ratings(write(tmp_path, "anna,Das Boot\nbob,Amélie\nanna,Up\n"))) == {
        ("anna", "Das Boot"): 1.0,
        ("bob", "Amélie"): 1.0,
        ("anna", "Up"): 1.0,
    }
    assert set(triples(load_ratings(write(tmp_path, "user,item\nanna,Das Boot\n")))) == {("anna", "Das Boot")}


decimals = st.from_regex(r"-?[0-9]{0,9}\.?[0-9]{0,9}", fullmatch=True).filter(lambda text: any(map(str.isdigit, text)))


@file_settings
@given(texts=st.lists(decimals, min_size=1, max_size=6))
def test_decimal_fractions_are_read_to_the_last_bit(tmp_path: Path, texts: list[str]) -> None:
    # the columns are said: whole numbers alone, each above 100 million, could be times
    path = write(tmp_path, "".join(f"{row} 1 {text}\n" for row, text in enumerate(texts)))
    data = load_ratings(path, columns=("1", "2", "3"))
    assert data.matrix.toarray()[:, 0].tolist() == [float(text) for text in texts]


whole_numbers = st.lists(st.integers(0, 5) | st.integers(0, 2**40) | st.integers(2**62, 2**63 - 1), max_size=30)


@given(rows=whole_numbers, seed=st.integers(0, 99))
def test_entries_in_the_order_of_a_matrix(rows: list[int], seed: int) -> None:
    first = np.array(rows, dtype=np.int64)
    second = np.random.default_rng(seed).permutation(first)
    assert sorted_by(first, second).tolist() == np.lexsort((second, first)).tolist()


@given(
    numbers=st.lists(st.integers(-9, 9) | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30),
    small=st.booleans(),
    unsigned=st.booleans(),
)
def test_ids_are_numbered_in_their_order(numbers: list[int], small: bool, unsigned: bool) -> None:
    ids = np.array([number % 50 if small else number for number in numbers], dtype=np.int64)
    ids = ids.view(np.uint64) if unsigned else ids
    for found, expected in zip(distinct_ids(ids), np.unique(ids, return_inverse=True), strict=True):
        assert found.tolist() == expected.tolist()
        assert found.dtype == expected.dtype


@given(ids=st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\0", b"\1")), min_size=1, max_size=60))
def test_distinct_texts_are_those_of_numpy(ids: list[bytes]) -> None:
    texts = np.array(ids, dtype=np.bytes_)
    for some in (texts, np.char.add(b"user", texts), texts[::-1]):
        for found, expected in zip(distinct_ids(some), np.unique(some, return_inverse=True), strict=True):
            np.testing.assert_array_equal(found, expected)
