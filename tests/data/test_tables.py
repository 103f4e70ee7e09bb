"""Tables of three libraries mean what the same ratings mean as a file."""

from __future__ import annotations

import datetime
import decimal
import re
import tracemalloc
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from coded_als import CodedALS, RidgeALS, load_model
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.errors import UsageError
from coded_als.evaluation import evaluate_ratings
from tests.strategies import rating_triples

pandas = pytest.importorskip("pandas", reason="needs the extra dev")
polars = pytest.importorskip("polars", reason="needs the extra dev")
arrow = pytest.importorskip("pyarrow", reason="needs the extra dev")
pytest.importorskip("narwhals", reason="pip install 'coded-als[tables]'")

MAKERS = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "pyarrow": arrow.table}
COLUMNS = ("user", "item", "rating", "time")
every_library = pytest.mark.parametrize("make", list(MAKERS.values()), ids=list(MAKERS))


def same(one: RatingData, other: RatingData) -> bool:
    return (
        (one.matrix != other.matrix).nnz == 0
        and one.user_ids.tolist() == other.user_ids.tolist()
        and one.item_ids.tolist() == other.item_ids.tolist()
        and (one.times is None) == (other.times is None)
        and (one.times is None or other.times is None or one.times.tolist() == other.times.tolist())
        and (one.positions is None) == (other.positions is None)
        and (one.positions is None or one.positions.tolist() == other.positions.tolist())
    )


@every_library
def test_movielens_as_a_table_is_the_file(make: Any, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "ml-100k" / "u.data"
    lines = np.array([line.split() for line in path.read_text().splitlines()], dtype=np.int64)
    table = make({name: lines[:, place] for place, name in enumerate(COLUMNS)})
    from_file = load_ratings(path)
    assert same(load_ratings(table, columns=COLUMNS), from_file)
    by_file, by_table = (RidgeALS(8, iterations=3, seed=1, threads=1) for _ in range(2))
    by_file.fit(from_file)
    by_table.fit(table, columns=COLUMNS[:3])
    np.testing.assert_array_equal(by_table.user_factors_, by_file.user_factors_)
    np.testing.assert_array_equal(by_table.item_factors_, by_file.item_factors_)
    assert by_table.recommend(196).ids.tolist() == by_file.recommend(196).ids.tolist()
    coded = [CodedALS(4, iterations=12).fit(table, columns=COLUMNS[:3]), CodedALS(4, iterations=12).fit(from_file)]
    np.testing.assert_array_equal(coded[0].user_factors_, coded[1].user_factors_)
    assert coded[0].item_ids.tolist() == coded[1].item_ids.tolist()


@every_library
@settings(max_examples=15)
@given(ratings=rating_triples())
def test_random_tables_are_the_file_too(
    make: Any, ratings: dict[tuple[int, int], float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "r.tsv"
    rows = [(f"u{user}", item, value, 7 * place) for place, ((user, item), value) in enumerate(ratings.items())]
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    table = make(
        {"other": [0] * len(rows)} | {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    )
    assert same(load_ratings(table, columns=COLUMNS), load_ratings(path))


@every_library
@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([3, 1, 2], [1, 2, 3]),
        (np.array([2**63 + 1, 1, 2], dtype=np.uint64), [1, 2, 2**63 + 1]),
        (["Zoë", "", "7"], ["", "7", "Zoë"]),
        ([1.0, 3.0, 2.0], [1, 2, 3]),
        ([1.5, 0.5, 2.0], ["0.5", "1.5", "2.0"]),
        ([True, False, True], ["False", "True"]),
        (
            [datetime.date(2020, 1, 2), datetime.date(1999, 1, 1), datetime.date(2020, 1, 2)],
            ["1999-01-01", "2020-01-02"],
        ),
        ([decimal.Decimal("1.10"), decimal.Decimal("2.00"), decimal.Decimal("3.00")], ["1.10", "2.00", "3.00"]),
    ],
    ids=["int", "uint64", "text", "whole float", "float", "bool", "date", "decimal"],
)
def test_ids_of_any_type_survive_into_recommendations(make: Any, users: list[Any], expected: list[Any]) -> None:
    table = make({"u": users, "i": ["a", "b", "c"], "r": [1.0, 2.0, 3.0]})
    model = CodedALS(1, partitions=1).fit(table, columns=("u", "i", "r"))
    assert model.user_ids.tolist() == expected
    assert set(model.recommend(users[0], 3, filter_seen=False).ids.tolist()) == {"a", "b", "c"}


def test_categories_and_indices_of_pandas() -> None:
    frame = pandas.DataFrame(
        {"u": pandas.Categorical(["b", "a", "b"]), "i": [1, 1, 2], "r": [1, 2, 3]}, index=[9, 9, 4]
    )
    data = load_ratings(frame, columns=("u", "i", "r"))
    assert data.user_ids.tolist() == ["a", "b"]
    assert data.matrix.toarray().tolist() == [[2, 0], [1, 3]]
    nullable = pandas.DataFrame({"u": pandas.array([1, 2], dtype="Int64"), "i": [1, 2], "r": [1.0, 2.0]})
    assert load_ratings(nullable, columns=("u", "i", "r")).user_ids.tolist() == [1, 2]


@every_library
def test_times_are_numbers_or_dates(make: Any) -> None:
    stamps = [datetime.datetime(2020, 1, 2, 3), datetime.datetime(2019, 1, 1)]
    data = load_ratings(make({"u": [1, 2], "i": [1, 1], "r": [1, 2], "t": stamps}), columns=("u", "i", "r", "t"))
    assert data.times is not None
    epoch = datetime.datetime(1970, 1, 1)
    assert data.times.tolist() == [int((stamp - epoch).total_seconds() * 1e6) for stamp in stamps]


@every_library
def test_two_columns_are_counted(make: Any) -> None:
    data = load_ratings(make({"u": [1, 2, 1], "i": ["a", "a", "a"], "r": [1, 2, 3]}), columns=("u", "i"))
    assert data.matrix.toarray().tolist() == [[2], [1]]


@every_library
@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ({"u": [1], "i": [1], "r": [1]}, None, "with 'u', 'i', 'r'. Name the columns"),
        ({"u": [1], "i": [1], "r": [1]}, ("u", "i", "x"), "got 'x'"),
        ({"u": [1], "i": [1], "r": [1]}, ("u",), "two to four different names"),
        ({"u": [1], "i": [1], "r": [1]}, "uir", "two to four different names"),
        ({"u": [1], "i": [1], "r": [1]}, ("u", "u", "r"), "two to four different names"),
        ({"u": [1, None], "i": [1, 2], "r": [1, 2]}, ("u", "i", "r"), "row 1 (counted from 0), column 'u'"),
        ({"u": ["a", None], "i": [1, 2], "r": [1, 2]}, ("u", "i", "r"), "row 1 (counted from 0), column 'u'"),
        ({"u": [1, 2], "i": [1, 2], "r": [1.0, float("inf")]}, ("u", "i", "r"), "got inf in row 1"),
        ({"u": [1, 2], "i": [1, 2], "r": [1.0, float("nan")]}, ("u", "i", "r"), "got nan in row 1"),
        ({"u": [1, 2], "i": [1, 2], "r": ["1", "2"]}, ("u", "i", "r"), "ratings must be numbers; column 'r'"),
        ({"u": [1, 1], "i": [1, 1], "r": [1, 2]}, ("u", "i", "r"), "in rows 0 and 1"),
        ({"u": ["a\0", "a"], "i": [1, 1], "r": [1, 2]}, ("u", "i", "r"), "zero character"),
        ({"u": [], "i": [], "r": []}, ("u", "i", "r"), "at least one row"),
    ],
)
def test_tables_that_are_refused(make: Any, table: Any, columns: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_ratings(make(table), columns=columns)
    if "nan in row" in message and make is not polars.DataFrame:
        message = "in row 1"  # pandas reads a NaN as a gap
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@every_library
@pytest.mark.parametrize("model", [CodedALS(1), RidgeALS(1)], ids=["coded", "ridge"])
def test_a_table_is_never_taken_for_a_matrix(make: Any, model: Any) -> None:
    table = make({"user": [1, 2], "item": [3, 4], "rating": [5, 1], "time": [8, 9]})
    with pytest.raises(UsageError, match="Name the columns"):
        model.fit(table)
    with pytest.raises(UsageError, match="names of columns of a table"):
        model.fit(np.eye(3), columns=("user", "item"))
    model.fit(np.eye(4))
    for ask in (model.fold_in, model.recommend_new):
        with pytest.raises(UsageError, match="with named columns"):
            ask(table)


NAMED = {
    "numbers": (pandas.DataFrame([[1, 2, 3.0], [1, 3, 4.0]]), (0, 1, 2)),
    "numbers of numpy": (pandas.DataFrame([[1, 2, 3.0], [1, 3, 4.0]]), np.array([0, 1, 2])),
    "tuples": (
        pandas.DataFrame(
            [[9, 1, 2, 3.0], [9, 1, 3, 4.0]],
            columns=pandas.MultiIndex.from_tuples([("x", "u"), *(("a", c) for c in "uir")]),
        ),
        (("a", "u"), ("a", "i"), ("a", "r")),
    ),
    "others twice": (pandas.DataFrame([[8, 1, 2, 9, 3.0], [8, 1, 3, 9, 4.0]], columns=list("xuixr")), list("uir")),
    "others twice in Arrow": (
        arrow.Table.from_arrays(
            [arrow.array(c) for c in ([8, 8], [1, 1], [2, 3], [9, 9], [3.0, 4.0])], names=list("xuixr")
        ),
        tuple("uir"),
    ),
    "names of attributes": (
        pandas.DataFrame({"schema": [3.0, 4.0], "column_names": [1, 1], "columns": [2, 3]}),
        ("column_names", "columns", "schema"),
    ),
    "a number and text": (
        pandas.DataFrame({1: [1, 1], "1": [2, 3], "r": [3.0, 4.0]}),
        (1, "1", "r"),
    ),
    "a dictionary's names": (pandas.DataFrame({"u": [1, 1], "i": [2, 3], "r": [3.0, 4.0]}), pandas.Index(list("uir"))),
}


@pytest.mark.parametrize(("table", "columns"), NAMED.values(), ids=NAMED)
def test_columns_have_the_names_that_the_table_gives_them(table: Any, columns: Any) -> None:
    data = load_ratings(table, columns=columns)
    assert (data.user_ids.tolist(), data.item_ids.tolist()) == ([1], [2, 3])
    assert data.matrix.toarray().tolist() == [[3, 4]]
    assert RidgeALS(1).fit(table, columns=columns).item_ids.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"u", "i", "r"}, "columns must have an order, users first"),
        (frozenset("uir"), "columns must have an order, users first"),
        ({"u": "user", "i": "item"}, "columns must have an order, users first"),
        ({"u": 1, "i": 2}.keys(), "columns must have an order, users first"),
        (("u", "x", "r"), "columns must have names that are there once among the columns of the pandas DataFrame"),
        (("u", "i", "0"), "got '0'"),
        (5, "two to four different names; got 5"),
        ((["u"], ["i"]), "got ['u']"),
        (("u", "i", 1.5), "got 1.5"),
    ],
)
def test_columns_without_an_order_or_of_two_meanings_are_refused(columns: Any, message: str) -> None:
    frame = pandas.DataFrame([[1, 2, 3, 9, 9, 0]], columns=["u", "i", "r", "x", "x", 0])
    for read in (load_ratings, RidgeALS(1).fit):
        with pytest.raises(UsageError, match=re.escape(message)) as caught:
            read(frame, columns=columns)  # type: ignore[operator]
        assert "\n" not in str(caught.value)


def test_names_beside_ratings_that_were_read_are_refused() -> None:
    data = load_ratings(pandas.DataFrame({"u": [1], "i": [1], "r": [1]}), columns=("u", "i", "r"))
    with pytest.raises(UsageError, match="columns are names of columns of a table"):
        RidgeALS(1).fit(data, columns=("u", "i", "r"))


@every_library
def test_bytes_are_the_text_that_they_hold(make: Any) -> None:
    names = ["é", "ann", "b", "NA"]
    ratings = {"i": [1, 2, 3, 4], "r": [1.0, 2.0, 3.0, 4.0]}
    as_bytes = make({"u": [name.encode() for name in names]} | ratings)
    assert same(
        load_ratings(as_bytes, columns=("u", "i", "r")),
        load_ratings(make({"u": names} | ratings), columns=("u", "i", "r")),
    )
    model = RidgeALS(1).fit(as_bytes, columns=("u", "i", "r"))
    assert (
        model.recommend(b"ann", filter_seen=False).ids.tolist()
        == model.recommend("ann", filter_seen=False).ids.tolist()
    )
    with pytest.raises(UsageError, match=r"ids must be UTF-8 text; got b'.*' in row 1"):
        load_ratings(make({"u": [b"a", b"\xff"], "i": [1, 2], "r": [1, 2]}), columns=("u", "i", "r"))
    with pytest.raises(UsageError, match=r"without zero characters; got b'.*' in row 0"):
        load_ratings(make({"u": [b"a\0", b"a"], "i": [1, 2], "r": [1, 2]}), columns=("u", "i", "r"))


@every_library
def test_names_that_look_like_gaps_are_names(make: Any) -> None:
    names = ["NA", "null", "NaN", "None", "nan", "", "N/A", "<NA>", "-"]
    table = make({"u": names, "i": names[::-1], "r": [1.0] * len(names)})
    data = load_ratings(table, columns=("u", "i", "r"))
    assert data.user_ids.tolist() == data.item_ids.tolist() == sorted(names)


@every_library
@pytest.mark.parametrize("value", [[1, 2], [], {"a": 1}], ids=str)
def test_ids_of_several_values_are_refused(make: Any, value: Any) -> None:
    with pytest.raises(UsageError, match=r"ids must be single values; got .* in row 0 \(counted from 0\), column 'i'"):
        load_ratings(make({"u": [1, 2], "i": [value, value], "r": [1.0, 2.0]}), columns=("u", "i", "r"))


@pytest.mark.parametrize("value", [(1, 2), {1}, np.array([1]), "\ud800"], ids=repr)
def test_objects_that_are_no_ids_are_refused(value: Any) -> None:
    frame = pandas.DataFrame({"u": [1, 2], "i": pandas.Series(["a", value], dtype=object), "r": [1.0, 2.0]})
    with pytest.raises(UsageError, match="in row 1"):
        load_ratings(frame, columns=("u", "i", "r"))


@pytest.mark.skipif(not hasattr(polars, "Int128"), reason="this polars has no whole numbers of 128 bits")
def test_whole_numbers_that_no_type_of_numpy_holds_are_their_text() -> None:
    wide = polars.Series([2**100, 5, -(2**100)], dtype=polars.Int128)
    data = load_ratings(polars.DataFrame({"u": wide, "i": [1, 2, 3], "r": [1.0, 2.0, 3.0]}), columns=("u", "i", "r"))
    assert data.user_ids.tolist() == sorted(map(str, [2**100, 5, -(2**100)]))
    small = polars.DataFrame({"u": wide.clip(0, 9), "i": [1, 2, 3], "r": wide.clip(1, 5), "t": wide.clip(0, 9)})
    data = load_ratings(small, columns=("u", "i", "r", "t"))
    assert data.user_ids.tolist() == [0, 5, 9]
    assert data.times is not None
    assert data.times.tolist() == [0, 5, 9]


INSTANT = datetime.datetime(2020, 7, 1, 12, tzinfo=datetime.UTC)
MICROSECONDS = int(INSTANT.timestamp()) * 10**6
PARIS = zoneinfo.ZoneInfo("Europe/Paris")


def timed(make: Any, times: Any) -> Any:
    data = load_ratings(make({"u": [1, 2], "i": [1, 1], "r": [1, 2], "t": times}), columns=("u", "i", "r", "t"))
    assert data.times is not None
    return data.times.tolist()


@every_library
def test_times_of_a_zone_are_instants(make: Any) -> None:
    expected = [MICROSECONDS, MICROSECONDS + 1]
    assert timed(make, [INSTANT, INSTANT.replace(microsecond=1)]) == expected
    assert timed(make, [INSTANT.astimezone(PARIS), INSTANT.replace(microsecond=1).astimezone(PARIS)]) == expected
    # the hour that there is twice
    autumn = [datetime.datetime(2020, 10, 25, 0, 30, tzinfo=datetime.UTC) + datetime.timedelta(hours=k) for k in (0, 1)]
    one, two = timed(make, [stamp.astimezone(PARIS) for stamp in autumn])
    assert two - one == 3600 * 10**6


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_unit_are_microseconds_and_nanoseconds_are_kept(unit: str) -> None:
    whole = np.array([MICROSECONDS, MICROSECONDS + 10**6], dtype="datetime64[us]")
    for zone in (None, "UTC", "America/New_York"):
        series = pandas.Series(whole).dt.as_unit(unit).dt.tz_localize("UTC").dt.tz_convert(zone)
        tables = [pandas.DataFrame, lambda c: arrow.Table.from_pandas(pandas.DataFrame(c))]
        if unit != "s":
            tables.append(lambda c: polars.from_pandas(pandas.DataFrame(c)))
        for make in tables:
            assert timed(make, series) == whole.astype(np.int64).tolist()
    fine = np.array([MICROSECONDS * 1000, MICROSECONDS * 1000 + 1]).astype("datetime64[ns]")
    for make in (pandas.DataFrame, polars.DataFrame, lambda c: arrow.table({k: arrow.array(v) for k, v in c.items()})):
        assert timed(make, fine) == fine.astype(np.int64).tolist()


@pytest.mark.parametrize(
    "times",
    [
        ["2020-01-01", "2020-01-02"],
        [datetime.timedelta(1), datetime.timedelta(2)],
        [datetime.time(1), datetime.time(2)],
    ],
)
@every_library
def test_times_that_are_none_are_refused_by_their_name(make: Any, times: Any) -> None:
    with pytest.raises(UsageError, match="times must be numbers or dates; column 't' of"):
        timed(make, times)


@every_library
def test_one_long_id_does_not_make_the_others_long(make: Any, tmp_path: Path) -> None:
    count = 6_000
    users = [f"u{k}" for k in range(count)]
    users[7] = "https://x/" + "x" * 4000
    table = make({"u": users, "i": np.arange(count) % 50, "r": np.ones(count) + np.arange(count) % 3})
    tracemalloc.start()
    data = load_ratings(table, columns=("u", "i", "r"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6
    assert data.user_ids.nbytes < 1e6
    assert data.user_ids.tolist() == sorted(users)
    order = np.argsort(users, kind="stable")
    assert data.matrix.indices.tolist() == (order % 50).tolist()
    model = RidgeALS(2, iterations=1).fit(data)
    model.save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").stat().st_size < 1e6
    for one in (model, load_model(tmp_path / "m.npz")):
        assert one.user_ids.tolist() == sorted(users)
        assert one.recommend(users[7]).ids.tolist() == model.recommend(users[7]).ids.tolist()
        assert one.user_rows([users[7], "x", users[3], "u" * 9999, 5]).tolist() == [
            sorted(users).index(users[7]), -1, sorted(users).index(users[3]), -1, -1
        ]  # fmt: skip
        assert one.user_rows(data.user_ids[::-1]).tolist() == list(range(count))[::-1]
        assert one.user_rows(np.array(["u5", "?"])).tolist() == [sorted(users).index("u5"), -1]
        assert one.similar_users(["u1", users[7]], 2).ids.shape == (2, 2)
        with pytest.raises(UsageError, match="must be one of the 6000"):
            one.recommend("nobody")
    train, test = holdout(data, 0.2)
    assert evaluate_ratings(RidgeALS(2, iterations=1).fit(train), test).ratings == test.entries


def test_parquet(tmp_path: Path) -> None:
    frame = polars.DataFrame({"who": ["b", "a"], "what": [2, 1], "how": [4.5, 3.0], "rest": [[1], [2]]})
    path = tmp_path / "r.parquet"
    frame.write_parquet(path)
    assert same(load_ratings(path, columns=("who", "what", "how")), load_ratings(frame, columns=("who", "what", "how")))
    with pytest.raises(UsageError, match=r"r\.parquet with 'who', 'what', 'how', 'rest'"):
        load_ratings(path)
    with pytest.raises(UsageError, match="got 'x'"):
        load_ratings(path, columns=("who", "x"))
    whole = path.read_bytes()
    for damage in (b"", b"PAR1", whole[:-9], whole[:40] + b"\xff" * 40 + whole[80:], whole[::-1]):
        path.write_bytes(damage)
        with pytest.raises(UsageError):
            load_ratings(path, columns=("who", "what", "how"))
    text = tmp_path / "r.tsv"
    text.write_text("1 2 3\n")
    with pytest.raises(UsageError, match=r"columns must be among those of r\.tsv"):
        load_ratings(text, columns=("who", "what"))
