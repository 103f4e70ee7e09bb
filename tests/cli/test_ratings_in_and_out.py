"""Splitting, evaluating and recommending on the command line: files in, files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coded_als import load_model
from coded_als.data import load_ratings
from coded_als.data.text import load_titles
from coded_als.errors import UsageError
from tests.cli.test_commands import fails_with, run
from tests.strategies import rating_triples


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = [
        f"{u}\ti{i}\t{rng.integers(2, 11) / 2}\t{rng.integers(100)}"
        for u in range(14)
        for i in range(9)
        if rng.random() < 0.7
    ]
    rng.shuffle(lines)
    path = tmp_path / "ratings.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def model(ratings: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.npz"
    assert run("fit", ratings, "--method", "ridge", "--rank", 3, "--iterations", 4, "--out", path).exit_code == 0
    return path


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize(
    "options", [(), ("--test-fraction", "0.35"), ("--leave-out", "2"), ("--leave-out", "1", "--by", "time")]
)
def test_two_parts_hold_every_line_once(ratings: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run("split", ratings, *options, "--seed", 3, "--out", tmp_path / "part", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    train, test = (lines_of(tmp_path / f"part.{name}.tsv") for name in ("train", "test"))
    assert (len(train), len(test)) == (document["train"]["ratings"], document["test"]["ratings"])

    def fields(lines: list[str]) -> list[tuple[str, str, float, int]]:
        return [(u, i, float(r), int(t)) for u, i, r, t in (line.split("\t") for line in lines)]

    source = fields(lines_of(ratings))
    assert sorted(fields(train) + fields(test)) == sorted(source)
    for part in (train, test):  # the order of the source
        places = [source.index(line) for line in fields(part)]
        assert places == sorted(places)
    if "time" in options:
        for user, _, _, when in fields(test):
            assert when == max(t for u, _, _, t in source if u == user)


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5).filter(
    lambda name: name.strip('" ') == name
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(triples=rating_triples(), users=st.lists(names, min_size=8, max_size=8, unique=True), values=st.data())
def test_what_is_split_is_read_back_to_the_last_bit(
    tmp_path: Path, triples: dict[tuple[int, int], float], users: list[str], values: Any
) -> None:
    source = tmp_path / "source.tsv"
    # a column of whole numbers from 1e8 on is refused as one of times
    numbers = values.draw(st.lists(st.floats(-9e7, 9e7), min_size=len(triples), max_size=len(triples)), label="ratings")
    source.write_text("".join(f"{users[u]}\t{i}\t{value!r}\n" for (u, i), value in zip(triples, numbers, strict=True)))
    before = load_ratings(source)
    if before.entries < 2:
        return
    assert run("split", source, "--test-fraction", "0.5", "--out", tmp_path / "p").exit_code == 0
    found = {}
    for name in ("train", "test"):
        part = load_ratings(tmp_path / f"p.{name}.tsv")
        rows, columns, kept = part.triples()
        found |= {
            (str(part.user_ids[row]), part.item_ids[column]): value
            for row, column, value in zip(rows, columns, kept.tolist(), strict=True)
        }
    rows, columns, kept = before.triples()
    assert found == {
        (str(before.user_ids[row]), before.item_ids[column]): value
        for row, column, value in zip(rows, columns, kept.tolist(), strict=True)
    }


def test_splits_that_are_refused(ratings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fails_with(2, "--test-fraction or --leave-out", "split", ratings, "--test-fraction", "0.2", "--leave-out", "1")
    fails_with(2, "--by time needs --leave-out K", "split", ratings, "--by", "time")
    fails_with(2, "Add --out PREFIX", "split", "synthetic:m=9,n=8,d=2,noise=0.1")
    fails_with(2, "must leave ratings in both parts", "split", ratings, "--test-fraction", "1")
    fails_with(2, "which holds the ratings", "split", ratings.rename(tmp_path / "x.test.tsv"), "--out", tmp_path / "x")
    assert run("split", tmp_path / "x.test.tsv").exit_code == 0
    assert (tmp_path / "x.test.train.tsv").exists()


def test_evaluate_says_what_was_in_training(ratings: Path, tmp_path: Path, model: Path) -> None:
    run("split", ratings, "--out", tmp_path / "part")
    train, test = (tmp_path / f"part.{name}.tsv" for name in ("train", "test"))
    fitted = tmp_path / "part.npz"
    run("fit", train, "--method", "ridge", "--rank", 3, "--out", fitted)
    clean = run("evaluate", fitted, test, "--json")
    assert json.loads(clean.stdout)["in_training"] == 0
    assert clean.stderr == ""
    for measured, expected in ((model, len(lines_of(test))), (fitted, 3)):
        mixed = tmp_path / "mixed.tsv"
        mixed.write_text(
            test.read_text() + ("" if measured is model else "".join(train.read_text().splitlines(True)[:3]))
        )
        told = run("evaluate", measured, mixed, "--json")
        assert json.loads(told.stdout)["in_training"] == expected
        assert f"{expected} of the {len(lines_of(mixed))} test ratings were in training" in told.stderr


def test_folds_give_mean_and_spread(ratings: Path, model: Path) -> None:
    from coded_als.data import k_fold
    from coded_als.evaluation import evaluate_ratings

    document = json.loads(run("evaluate", model, ratings, "--folds", 3, "--seed", 1, "--json").stdout)
    fitted = load_model(model)
    by_hand = []
    for train, test in k_fold(load_ratings(ratings), 3, seed=1):
        fresh: Any = type(fitted)(**fitted.get_params())
        fresh.fit(train.matrix).set_ids(train.user_ids, train.item_ids)
        by_hand.append(evaluate_ratings(fresh, test).rmse)
    rmse = document["ratings"]["rmse"]
    assert rmse["folds"] == pytest.approx(by_hand)
    assert rmse["mean"] == pytest.approx(np.mean(by_hand))
    assert rmse["spread"] == pytest.approx(np.std(by_hand, ddof=1))
    text = run("evaluate", model, ratings, "--folds", 3, "--seed", 1).stdout
    assert f"rmse {np.mean(by_hand):.4f} +- " in " ".join(text.split())


def test_recommendations_for_many_with_titles(model: Path, tmp_path: Path) -> None:
    titles = tmp_path / "items.csv"
    titles.write_text('item,title,genre\ni0,"Boot, Das",war\ni1,Amélie,comedy\ni2,Up,\n')
    items = tmp_path / "items.txt"
    items.write_text("i0\ni1\n\ni2\n")
    fitted = load_model(model)
    everybody = run("recommend", model, "--all", "-n", 2, "--titles", titles, "--items", items, "--include-seen")
    assert everybody.exit_code == 0, everybody.output
    rows = [line.split("\t") for line in everybody.stdout.splitlines()]
    assert len(rows) == 2 * 14
    assert {row[3] for row in rows} <= {"Boot, Das", "Amélie", "Up"}
    for user in range(14):
        ids, scores = fitted.recommend(user, 2, items=["i0", "i1", "i2"], filter_seen=False)
        assert [row[1:3] for row in rows if row[0] == str(user)] == [
            [item, f"{score:.4f}"] for item, score in zip(ids.tolist(), scores.tolist(), strict=True)
        ]
    some = tmp_path / "users.txt"
    some.write_text("3\n7\n")
    from_file = run("recommend", model, "--users", some, "--json")
    assert [json.loads(line)["user"] for line in from_file.stdout.splitlines()] == ["3", "7"]
    named = run("recommend", model, "--user", 3, "--user", 7, "--json")
    assert named.stdout == from_file.stdout
    one = run("recommend", model, "--user", 3, "--titles", titles, "-n", 3)
    assert all(len(line.split("\t")) == 3 for line in one.stdout.splitlines())


def test_recommendations_that_are_refused(model: Path, tmp_path: Path) -> None:
    fails_with(2, "--user ID, --users FILE or --all", "recommend", model)
    fails_with(2, "--user ID, --users FILE or --all", "recommend", model, "--user", 1, "--all")
    fails_with(2, "must be one of the 14", "recommend", model, "--user", 1, "--user", 99)
    fails_with(2, "No such file", "recommend", model, "--users", tmp_path / "none")
    empty = tmp_path / "empty"
    empty.write_text("\n")
    fails_with(2, "at least one id", "recommend", model, "--users", empty)
    fails_with(2, "titles must have at least one line", "recommend", model, "--user", 1, "--titles", empty)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1|Toy Story (1995)|01-Jan-1995||\n2|Café|\n".encode(), {"1": "Toy Story (1995)", "2": "Café"}),
        (b"1::Toy Story (1995)::Animation|Comedy\n", {"1": "Toy Story (1995)"}),
        (
            b'movieId,title,genres\r\n1,"American President, The (1995)",x\r\n',
            {"1": "American President, The (1995)"},
        ),
        (b'title,genres,movieId\n"Bat\n21, ""The""",x,1\n', {"1": 'Bat\n21, "The"'}),
        (
            b'1::5" nails::x\n2::"b" side::x\n',
            {"1": '5" nails', "2": '"b" side'},
        ),
        ("\ufeff7\tZoë\n\n".encode(), {"7": "Zoë"}),
    ],
)
def test_titles_of_three_data_sets(tmp_path: Path, content: bytes, expected: dict[str, str]) -> None:
    path = tmp_path / "titles"
    path.write_bytes(content)
    assert load_titles(path) == expected


def test_titles_of_another_encoding_are_read_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "u.item"
    path.write_bytes("1|Toy Story (1995)|\n2|Caf\xe9|\n".encode("latin-1"))
    with pytest.raises(UsageError, match="--encoding latin-1"):
        load_titles(path)
    assert load_titles(path, "latin-1") == {"1": "Toy Story (1995)", "2": "Café"}


def test_a_file_of_users_is_read_as_ratings_are(tmp_path: Path) -> None:
    """Only a newline ends a line; quotes are dropped; and the columns are the same for one user."""
    ratings, model = tmp_path / "r.tsv", tmp_path / "m.npz"
    names = ["a\u2028b", "a\u0085b", "Doe, Jane", 'say "no"', "c"]
    ratings.write_text(
        "".join(f"{name}\t{item}\t1\n" for name in names[:3] for item in "xy") + "c\tx\t2\n" + '"say ""no"""\ty\t3\n'
    )
    assert run("fit", ratings, "--method", "implicit", "--rank", 1, "--out", model).exit_code == 0
    users = tmp_path / "users.txt"
    quoted = [*names[:3], '"say ""no"""', "c"]
    for chosen in (range(5), *([place] for place in range(5))):
        users.write_text("".join(quoted[place] + "\n" for place in chosen))
        shown = run("recommend", model, "--users", users, "--include-seen", "-n", 1)
        assert shown.exit_code == 0, shown.output
        lines = shown.stdout.rstrip("\n").split("\n")
        assert [line.split("\t")[0] for line in lines] == [names[place] for place in chosen]
        assert all(len(line.split("\t")) == 3 for line in lines)


def test_titles_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "titles"
    path.write_text("1,a\n2\n")
    with pytest.raises(UsageError, match="in line 2"):
        load_titles(path)
    with pytest.raises(UsageError, match="readable text file"):
        load_titles(tmp_path)


def test_parquet_and_interactions(ratings: Path, tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="needs the extra dev")
    table = polars.read_csv(ratings, separator="\t", has_header=False, new_columns=["who", "what", "how", "when"])
    path = tmp_path / "r.parquet"
    table.write_parquet(path)
    options = ("--method", "implicit", "--rank", 2, "--iterations", 2, "--json")
    documents = [
        json.loads(run("fit", *source, *options).stdout)
        for source in ((path, "--columns", "who, what,how"), (path, "--columns", "who,what"), (ratings,))
    ]
    assert len({document["objective"] for document in documents}) == 1
    fails_with(2, "with 'who', 'what', 'how', 'when'", "fit", path)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("".join(",".join(line.split("\t")[:2]) + "\n" for line in lines_of(ratings)))
    assert json.loads(run("fit", pairs, *options).stdout)["objective"] == documents[0]["objective"]


def test_every_command_says_how_it_read(tmp_path: Path) -> None:
    """In one line for people, and in JSON."""
    rng = np.random.default_rng(1)
    pairs = rng.permutation(12 * 9)[:70]
    lines = [f"{place},{pair % 9},x,{pair // 9},{rng.integers(1, 6)}" for place, pair in enumerate(pairs)]
    ratings, model = tmp_path / "r.csv", tmp_path / "m.npz"
    ratings.write_text(",movieId,title,userId,rating\n" + "\n".join(lines) + "\n\n\n")
    line = (
        "70 ratings of 12 users and 9 items; columns userId, movieId, rating by name; not read: (without a name), title"
    )
    line += "; 2 empty lines passed over"
    fit = ("fit", ratings, "--method", "ridge", "--rank", 2, "--out", model)
    assert run(*fit).stdout.startswith(line + "\n")
    split = ("split", ratings, "--out", tmp_path / "part")
    assert run(*split).stdout.startswith(line + "\n")
    evaluate, compare = ("evaluate", model, ratings), ("compare", ratings, "--methods", "ridge", "--rank", 2)
    for command in (evaluate, compare):
        assert line in run(*command).stderr.split("\n")
    for command in (fit, split, evaluate, compare):
        read = json.loads(run(*command, "--json").stdout)["read"]
        assert (read["ratings"], read["users"], read["items"], read["lines"]) == (70, 12, 9, 70)
        assert read["columns"] == ["userId", "movieId", "rating"]
        assert (read["columns_by"], read["header"], read["empty_lines"]) == ("name", True, 2)
