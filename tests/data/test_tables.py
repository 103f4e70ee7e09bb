"""Tables of three libraries mean what the same ratings mean as a file."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from coded_als import CodedALS, RidgeALS
from coded_als.data import RatingData, load_ratings
from coded_als.errors import UsageError
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
@settings(max_examples=15, deadline=None)
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
        with pytest.raises(UsageError, match="whose columns are named"):
            ask(table)


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
