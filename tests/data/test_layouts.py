"""Columns of a text: by their names, by their places, or refused where there are two readings."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coded_als import CodedALS
from coded_als.data import RatingData, load_ratings
from coded_als.data.splits import write_rating_lines
from coded_als.errors import UsageError

EXPECTED = [("1", "31", 2.5), ("1", "1029", 3.0), ("2", "31", 4.0)]


def triples(data: RatingData) -> list[tuple[str, str, float]]:
    rows, columns, values = data.triples()
    order = np.arange(values.size) if data.positions is None else np.argsort(data.positions)
    found = zip(data.user_ids[rows[order]].tolist(), data.item_ids[columns[order]].tolist(), values[order], strict=True)
    return [(str(user), str(item), float(value)) for user, item, value in found]


def read(folder: Path, content: str | bytes, name: str = "r.csv", **options: Any) -> RatingData:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_ratings(path, **options)


@pytest.mark.parametrize(
    "names",
    [
        "userId,movieId,rating,timestamp",
        "movieId,userId,rating,timestamp",
        "timestamp,rating,movieId,userId",
        "user_id,parent_asin,rating,timestamp",
        "reviewerID,asin,overall,unixReviewTime",
        "user_id,business_id,stars,date",
        "timestamp,visitorid,itemid,count",
        "User-ID,ISBN,Book-Rating,ts",
        "user_id:token,item_id:token,rating:float,timestamp:float",
        ",userId,movieId,rating",
        "Unnamed: 0,uid,track_id,plays",
        "CustomerID,movie,Rating,Date",
    ],
)
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "::", "|"])
def test_names_say_which_column_is_which(tmp_path: Path, names: str, delimiter: str) -> None:
    fields = []
    for name in names.split(","):
        plain = name.lower()
        if any(word in plain for word in ("user", "reviewer", "uid", "visitor", "customer")):
            fields.append([row[0] for row in EXPECTED])
        elif any(word in plain for word in ("movie", "asin", "business", "item", "isbn", "track")):
            fields.append([row[1] for row in EXPECTED])
        elif any(word in plain for word in ("rating", "overall", "stars", "count", "plays")):
            fields.append([str(row[2]) for row in EXPECTED])
        elif plain.startswith(("un", "time", "date", "ts")) and "unnamed" not in plain:
            fields.append(["964982703", "964982704", "964982705"])
        else:
            fields.append(["0", "1", "2"])
    lines = [names.split(","), *zip(*fields, strict=True)]
    data = read(tmp_path, "".join(delimiter.join(line) + "\n" for line in lines))
    assert triples(data) == EXPECTED
    assert data.reading is not None
    assert data.reading.by == "name"


SAME = "userId,movieId,rating\n1,31,2.5\n1,1029,3\n2,31,4\n"


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("31,1,2.5\n1029,1,3\n31,2,4\n", {"columns": ("2", "1", "3")}),
        ("a,b,c,d\n31,9,2.5,1\n1029,9,3,1\n31,9,4,2\n", {"columns": ("d", "a", "c")}),
        ("a,b,c,d\n31,9,2.5,1\n1029,9,3,1\n31,9,4,2\n", {"columns": ("4", "1", "3")}),
        ("1,2,3,4,5,6\n31,9,2.5,1,0,0\n1029,9,3,1,0,0\n31,9,4,2,0,0\n", {"columns": ("4", "1", "3"), "header": True}),
        ("1 31 2,5\n1 1029 3\n2 31 4\n", {}),
        ("1;31;2,5;7\n1;1029;3,0;8\n2;31;4;9\n", {}),
        ("1\t31\t2,5\n1\t1029\t3\n2\t31\t4\n", {"header": False}),
        ("1#31#2.5\n1#1029#3\n2#31#4\n", {"delimiter": "#"}),
        ("\n\n1,31,2.5\n \n1,1029,3\n\t\n2,31,4\n\n", {}),
        ('"1","31","2.5"\r\n"1","1029","3"\r\n"2","31","4"\r\n', {}),
        (",a,b,c\n0,1,31,2.5\n1,1,1029,3\n2,2,31,4\n", {}),
        ('"","user","item","rating"\n"1",1,31,2.5\n"2",1,1029,3\n"3",2,31,4\n', {}),
        ('"user", "item", "rating" ,"note"\n"1", "31", "2.5" , "a"\n"1" , "1029", "3", "b"\n2, 31,4 ,"c"\n', {}),
        ("userId,movieId,rating,\n1, 31, 2.5,\n1, 1029, 3,\n2, 31, 4,\n", {}),
        ("9,31,1,x,2.5\n8,1029,1,y,3\n7,31,2,z,4\n", {"columns": ("3", "2", "5")}),
        ('"user\nid",item,rating\n1,31,2.5\n1,1029,3\n2,31,4\n', {"header": True}),
    ],
)
def test_other_ways_to_write_the_same(tmp_path: Path, content: str, options: dict[str, Any]) -> None:
    assert triples(read(tmp_path, content, **options)) == EXPECTED


@pytest.mark.parametrize(
    "write",
    [
        lambda path: (path / "r.csv.gz").write_bytes(gzip.compress(SAME.encode())),
        lambda path: (path / "R.CSV.GZ").write_bytes(gzip.compress(SAME.encode())),
        lambda path: (path / "r.csv.bz2").write_bytes(bz2.compress(SAME.encode())),
        lambda path: (path / "r.csv.xz").write_bytes(lzma.compress(SAME.encode())),
        lambda path: (path / "r.csv").write_bytes(gzip.compress(SAME.encode())),
        lambda path: (path / "r.csv").write_text(SAME, encoding="utf-8-sig"),
        lambda path: (path / "r.csv").write_text(SAME, encoding="utf-16"),
        lambda path: (path / "r.csv").write_text(SAME, encoding="utf-32"),
        lambda path: (path / "r.TXT").write_text(SAME.replace("\n", "\r\n")),
    ],
)
def test_compressed_and_encoded(tmp_path: Path, write: Any) -> None:
    write(tmp_path)
    [path] = tmp_path.iterdir()
    assert triples(load_ratings(path)) == EXPECTED


def test_zstandard(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    with arrow.output_stream(str(tmp_path / "r.csv.zst"), compression="zstd") as file:
        file.write(SAME.encode())
    assert triples(load_ratings(tmp_path / "r.csv.zst")) == EXPECTED
    whole = (tmp_path / "r.csv.zst").read_bytes()
    (tmp_path / "r.csv.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"a \.zst file must be complete"):
        load_ratings(tmp_path / "r.csv.zst")


def test_another_encoding_is_named_or_refused(tmp_path: Path) -> None:
    content = "Zoë,Amélie,3\nAnn,Up,4\n".encode("latin-1")
    with pytest.raises(UsageError, match="--encoding latin-1"):
        read(tmp_path, content)
    assert triples(read(tmp_path, content, encoding="latin-1")) == [("Zoë", "Amélie", 3.0), ("Ann", "Up", 4.0)]
    with pytest.raises(UsageError, match="one that Python knows"):
        read(tmp_path, content, encoding="latin-99")
    with pytest.raises(UsageError, match="Name another --encoding"):
        read(tmp_path, content, encoding="ascii")
    with pytest.raises(UsageError, match="--encoding utf-16-le"):
        read(tmp_path, SAME.encode("utf-16-le"))
    assert triples(read(tmp_path, SAME.encode("utf-16-le"), encoding="utf-16-le")) == EXPECTED


@pytest.mark.parametrize("opened", [io.BytesIO(SAME.encode()), io.StringIO(SAME)])
def test_open_files(opened: Any) -> None:
    opened.seek(0)
    assert triples(load_ratings(opened)) == EXPECTED


def test_lazy_frames() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"u": [1, 1, 2], "i": [31, 1029, 31], "r": [2.5, 3, 4], "rest": ["a", "b", "c"]}).lazy()
    assert triples(load_ratings(frame, columns=("u", "i", "r"))) == EXPECTED
    model = CodedALS(1, iterations=3).fit(frame, columns=("u", "i", "r"))
    assert model.user_ids.tolist() == [1, 2]
    with pytest.raises(UsageError, match="among those of"):
        load_ratings(frame, columns=("u", "x"))


def test_parquet_by_names_that_are_known_and_by_places(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"movieId": [31, 1029, 31], "rating": [2.5, 3, 4], "userId": [1, 1, 2]})
    table.write_parquet(tmp_path / "R.PARQUET")
    assert triples(load_ratings(tmp_path / "R.PARQUET")) == EXPECTED
    assert triples(load_ratings(tmp_path / "R.PARQUET", columns=("3", "1", "2"))) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item,rating,score\n1,2,3,4\n", "has 'rating' and 'score'"),
        ("user_id,customer,item\n1,2,3\n", "has 'user_id' and 'customer'"),
        ("rating,a,b\n1,2,3\n", "'rating' is the rating by its name, and the user by its place"),
        ("x,user,rating\n1,2,3\n", "'user' is the user by its name, and the item by its place"),
        ("index,a,b,c\n0,1,2,3\n", "'index' may number the rows, or be the user"),
        ("user,item,liked\n1,2,1\n", "'liked' may be the rating, or lines are counted"),
        ("userId,movieId,rating\n1,31,964982703\n", "ratings must be no times"),
        ("1,31,964982703,2.5\n1,1029,964982703,3\n", "looks like times"),
        ("anna,book\nbob,Up\n", "may hold names of columns, or data"),
        ("anna,Up,good\nbob,Boot,4\n", "may hold names of columns, or data"),
        ("user,item,5\na,b,4\n", "may hold names of columns, or data"),
        ("a,b,c,d,e\n1,2,3,4,5\n", "names must say which column is the user"),
        ("1,2,3,4,5\n1,2,3,4,5\n", "where they have no names"),
        ("1;2;1,500\n1;3;2,500\n", "may be 1.500 or 1500"),
        ("1;2;1.500,5\n1;3;2,5\n", "must be a finite number; got '1.500,5' in line 1"),
        ("1;2;3,5\n1;3;2.5\n", "must be a finite number; got '3,5' in line 1"),
        ("user,item\na,b\nuser,item\n", "line 3 of r.csv has them again"),
        ("1,2,3\nNA,2,4\n3,2,1\n", "user ids must not be missing; got 'NA' among whole numbers, in line 2"),
        ('a,"b,3\nc,d,4\n', "quotes must stand around a whole field"),
        ('"a"x,b,3\nc,d,4\n', "quotes must stand around a whole field"),
        ("a,b,3\rc,d,4\n", "\\r alone in line 1"),
        ("user,item,rating,date\na,b,3,2005-09-06\na,c,3,06.09.2005\n", "must be a date such as 2005-09-06"),
        ("user,item,rating,date\na,b,3,2005-02-30\n", "must be a date such as"),
        ("user,item,rating,date\na,b,3,2005-02-03\na,c,3,1\n", "must be a date such as"),
        ("1;10;3,5\n2;11,0\n", "got 2 in line 2"),
        ("1,2014-04-07T10:51:09.277Z,2145,0\n1,2014-04-07T10:54:09.868Z,2146,0\n", "has dates there"),
        ("user,item,like\n1,2,True\n1,3,False\n", "'like' may be the rating, or lines are counted"),
        ('1,"say \\"no\\"",3\n2,"x",4\n', "quotes must stand around a whole field"),
        ('"5\\"",17,4\n"6",17,4\n', "quotes must stand around a whole field"),
        ("user,item,rating\n9,1,2,3\n9,1,3,4\n", "lines must be"),
        ("3884821:\n249897724,2,2001-11-26\n483,3,2000-01-13\n", "lines must be"),
        ("a;1,b;2,3\nc;1,d;2,4\n", "Say which, by --delimiter"),
    ],
)
def test_two_readings_are_refused_with_both(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "expected"), [(True, [("bob", "Up", 1.0)]), (False, [("anna", "book", 1.0), ("bob", "Up", 1.0)])]
)
def test_the_user_says_which_reading(tmp_path: Path, header: bool, expected: Any) -> None:
    assert triples(read(tmp_path, "anna,book\nbob,Up\n", header=header)) == expected


def test_quoted_fields_are_those_of_rfc_4180(tmp_path: Path) -> None:
    content = '"Doe, Jane",17,4\n"Roe, ""Rick""",17,5\n"two\nlines",17,3\n"x\r\ny", "18" ,2\n5" nails,18,1\n'
    assert triples(read(tmp_path, content.replace('5" nails', "nails"))) == [
        ("Doe, Jane", "17", 4.0),
        ('Roe, "Rick"', "17", 5.0),
        ("two\nlines", "17", 3.0),
        ("x\r\ny", "18", 2.0),
        ("nails", "18", 1.0),
    ]
    assert triples(read(tmp_path, 'a,b,3\n5" nails,b,4\n"c, d",b,5\n')) == [
        ("a", "b", 3.0),
        ('5" nails', "b", 4.0),
        ("c, d", "b", 5.0),
    ]
    assert triples(read(tmp_path, '7 "Das Boot" 3\n8 "Up" 4\n', "r.txt")) == [("7", "Das Boot", 3.0), ("8", "Up", 4.0)]


def test_lines_of_quoted_text_keep_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'bad' in line 6"):
        read(tmp_path, 'user,item,rating\n"a\nb",c,1\n\n"d",c,2\ne,c,bad\n')


def test_dates_are_microseconds(tmp_path: Path) -> None:
    for when in ("2005-09-06 12:30:00", "2005-09-06T12:30:00Z", "2005-09-06 12:30:00 UTC"):
        data = read(tmp_path, f"user,item,rating,date\na,b,3,2005-09-06\na,c,3,{when}\n")
        assert data.times is not None
        assert data.times.tolist() == [1125964800 * 10**6, (1125964800 + 45000) * 10**6]


@pytest.mark.parametrize(("repeated", "value", "time"), [("last", 5.0, 30), ("sum", 8.0, 30)])
def test_repeated_pairs(tmp_path: Path, repeated: Any, value: float, time: int) -> None:
    content = "1,2,3,10\n1,3,4,20\n1,2,5,30\n"
    with pytest.raises(UsageError, match="--repeated last"):
        read(tmp_path, content)
    data = read(tmp_path, content, repeated=repeated)
    assert data.matrix.toarray().tolist() == [[value, 4.0]]
    assert data.times is not None
    assert data.times.tolist() == [time, 20]
    assert read(tmp_path, "1,2\n1,2\n", repeated="last").matrix.toarray().tolist() == [[1.0]]
    with pytest.raises(UsageError, match="must rate an item once"):
        read(tmp_path, "1,2\n1,2\n", repeated="refuse")


@pytest.mark.parametrize(
    "options", [{"columns": ("1", "2")}, {"header": True}, {"encoding": "latin-1"}, {"repeated": "sum"}]
)
@pytest.mark.parametrize("kind", ["npy", "synthetic"])
def test_an_option_that_would_be_ignored_is_a_mistake(tmp_path: Path, options: dict[str, Any], kind: str) -> None:
    np.save(tmp_path / "m.npy", np.eye(3))
    source = tmp_path / "m.npy" if kind == "npy" else "synthetic:m=9,n=8,d=2,noise=0.1"
    with pytest.raises(UsageError, match=f"--{next(iter(options))} is for"):
        load_ratings(source, **options)


def test_what_is_written_by_split_is_read_back(tmp_path: Path) -> None:
    data = read(tmp_path, 'user,item,rating\n"book","x",3\n"item","user",4\n')
    write_rating_lines(tmp_path / "out.tsv", data)
    assert triples(load_ratings(tmp_path / "out.tsv")) == triples(data)


def test_sizes_that_memory_does_not_hold_are_refused_by_counting(tmp_path: Path) -> None:
    """In a process whose memory is bounded, so that a mistake costs a test and not the machine."""
    resource = pytest.importorskip("resource")
    (tmp_path / "huge.mtx").write_text(
        "%%MatrixMarket matrix coordinate real general\n3000000000 3000000000 1\n2999999999 1 1\n"
    )
    program = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from coded_als.data import load_ratings
load_ratings({str(tmp_path / "huge.mtx")!r})
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert resource is not None
    assert "ratings must fit into memory" in run.stderr.strip().split("\n")[-1]
    assert "3000000000 x 3000000000" in run.stderr
    assert shutil.disk_usage(tmp_path).free > 0
