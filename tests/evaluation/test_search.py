"""The search of parameters: what it tries, what it chooses, and what it never sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als import RidgeALS
from coded_als.cli import compare, main
from coded_als.data import RatingData, holdout, load_ratings
from coded_als.data.ratings import from_triples
from coded_als.errors import UsageError
from coded_als.evaluation import evaluate_ranking, evaluate_ratings
from coded_als.evaluation.search import ERRORS, LISTS, RANGES, Attempt, Range, search
from coded_als.models.registry import model_class, model_kinds


def some_ratings(seed: int = 0, users: int = 60, items: int = 40) -> RatingData:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((users, 3)) @ rng.standard_normal((3, items))
    rows, columns = np.nonzero(rng.random((users, items)) < 0.3)
    values = np.clip(np.rint(3 + scores[rows, columns]), 1, 5)
    return from_triples(rows, columns, values, None, np.arange(rows.size), "some")


def pairs(data: RatingData) -> set[tuple[Any, Any]]:
    rows, columns, _ = data.triples()
    return set(zip(data.user_ids[rows].tolist(), data.item_ids[columns].tolist(), strict=True))


RIDGE = {"rank": Range(1, 20, whole=True), "regularization": Range(0.1, 50)}


@pytest.mark.parametrize("metric", [*LISTS, *ERRORS])
def test_the_best_candidate_is_chosen_by_the_figure_that_a_fit_of_one_s_own_has(metric: Any) -> None:
    train, model = some_ratings(), RidgeALS(3, 5.0, threads=1)
    heard: list[Attempt] = []
    found = search(model, RIDGE, train, budget=5, metric=metric, k=4, seed=2, tried=heard.append)
    assert heard == list(found.candidates)
    assert (len(heard), found.metric) == (5, metric)
    assert found.candidates[0].parameters == {"rank": 3, "regularization": 5.0}
    kept, held_out = holdout(train, 0.2, seed=2)
    for candidate in found.candidates:
        fitted = RidgeALS(**model.get_params() | dict(candidate.parameters)).fit(kept)
        scores: Any = evaluate_ratings(fitted, held_out) if metric in ERRORS else evaluate_ranking(fitted, held_out, 4)
        assert candidate.figure == pytest.approx(getattr(scores, metric), rel=1e-6)
    figures = [candidate.figure for candidate in found.candidates]
    assert found.best.figure == (min if metric in ERRORS else max)(figures)  # type: ignore[type-var]
    assert model.get_params() == RidgeALS(3, 5.0, threads=1).get_params()
    assert not hasattr(model, "user_factors_")


def test_a_larger_budget_tries_the_same_and_more() -> None:
    train, model = some_ratings(), RidgeALS(3, threads=1, iterations=1)
    few, many = (search(model, RIDGE, train, budget=budget, seed=1).candidates for budget in (2, 4))
    assert [one.parameters for one in many[:2]] == [one.parameters for one in few]


def test_ranges_are_kept_and_ranks_fit_the_data() -> None:
    generator = np.random.default_rng(0)
    drawn = [Range(2, 5, whole=True).draw(generator) for _ in range(300)]
    assert set(drawn) == {2, 3, 4, 5}
    drawn = [Range(0.001, 10).draw(generator) for _ in range(300)]
    assert 0.001 <= min(drawn) < 0.002
    assert 5 < max(drawn) <= 10
    assert 90 < sum(value < 0.1 for value in drawn) < 210  # even in the logarithm
    small = some_ratings(users=9, items=7)
    found = search(RidgeALS(2, threads=1, iterations=1), {"rank": Range(50, 90, whole=True)}, small, budget=3)
    assert [one.parameters["rank"] for one in found.candidates] == [2, min(small.shape), min(small.shape)]


@pytest.mark.parametrize("kind", model_kinds())
def test_every_method_has_ranges_of_its_own_parameters(kind: str) -> None:
    model = model_class(kind)()
    assert RANGES[kind].keys() <= model.get_params().keys()
    for name, values in RANGES[kind].items():
        for value in (values.low, values.high) if isinstance(values, Range) else values:
            type(model)(**model.get_params() | {name: int(value) if name == "rank" else value})


class Fails(RidgeALS):
    kind = "test-fails"

    def __init__(self, rank: int = 2, worst: int = 9) -> None:
        super().__init__(rank, iterations=1, threads=1)
        self.worst = worst

    def fit(self, *arguments: Any, **options: Any) -> Any:
        if self.rank < self.worst:
            raise UsageError(f"rank {self.rank} fails here")
        return super().fit(*arguments, **options)


def test_a_candidate_that_fails_is_not_chosen_and_all_that_fail_are_an_error() -> None:
    found = search(Fails(), {"rank": Range(9, 20, whole=True)}, some_ratings(), budget=3)
    assert found.candidates[0].failure == "rank 2 fails here"
    assert found.candidates[0].figure is None
    assert found.best.parameters["rank"] >= 9
    with pytest.raises(UsageError, match="all fail, the first: rank 2 fails here"):
        search(Fails(worst=99), {"rank": Range(9, 20, whole=True)}, some_ratings(), budget=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget must be a whole number of at least 1; got 0"),
        ({"budget": 2, "metric": "auc"}, "metric must be one of ndcg"),
        ({"budget": 2, "validation": 1.0}, "fraction must leave ratings in both parts"),
    ],
)
def test_searches_that_cannot_be_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search(RidgeALS(2), RIDGE, some_ratings(), **options)
    with pytest.raises(UsageError, match=r"ranges must be of parameters, rank, .*; got 'ranks'"):
        search(RidgeALS(2), {"ranks": Range(1, 2)}, some_ratings(), budget=1)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    rows, columns, values = (data := some_ratings()).triples()
    users, items = data.user_ids[rows], data.item_ids[columns]
    path = tmp_path / "r.tsv"
    written = [f"{user}\t{item}\t{value}\n" for user, item, value in zip(users, items, values, strict=True)]
    path.write_text("".join(written) + "new\t1\t3\n")
    return path


ARGUMENTS = ("--methods", "ridge,coded", "-k", "3", "--seed", "4")


def compared(lines: Path, *arguments: Any) -> Any:
    done = CliRunner().invoke(main, ["compare", str(lines), *ARGUMENTS, *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def test_the_test_part_chooses_nothing(lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[set[tuple[Any, Any]]] = []
    parts: list[tuple[RatingData, RatingData]] = []

    def split(data: RatingData, fraction: float, *, seed: int) -> tuple[RatingData, RatingData]:
        train, test = holdout(data, fraction, seed=seed)
        if parts:  # another test part, of the same training part
            test = test.select(np.arange(test.entries) % 3 == 0)
        parts.append((train, test))
        return parts[-1]

    def seen(model: Any, data: RatingData, *arguments: Any) -> Any:
        searched.append(pairs(data))
        return evaluate_ranking(model, data, *arguments)

    monkeypatch.setattr(compare, "holdout", split)
    monkeypatch.setitem(search.__globals__, "evaluate_ranking", seen)
    one, two = (json.loads(compared(lines, "--tune", 3, "--json").stdout) for _ in range(2))
    assert one["tune"] == 3
    assert len(searched) == 2 * 2 * 3
    assert len(set(map(frozenset, searched))) == 1  # the same validation part for every method and candidate
    assert searched[0] < pairs(parts[0][0])
    assert not searched[0] & pairs(parts[0][1])
    for before, after in zip(one["methods"], two["methods"], strict=True):
        assert before["parameters"] == after["parameters"]
        assert before["validation_ndcg"] == after["validation_ndcg"]
        assert before["ndcg"] != after["ndcg"]


def test_figures_of_the_test_part_are_those_of_a_fit_to_all_training_ratings(lines: Path) -> None:
    document = json.loads(compared(lines, "--tune", 2, "--json").stdout)
    row = document["methods"][0]
    train, test = holdout(load_ratings(lines), 0.2, seed=4)
    scores = evaluate_ranking(RidgeALS(**{"seed": 4} | row["parameters"]).fit(train), test, 3)
    assert row["ndcg"] == pytest.approx(scores.ndcg, rel=1e-6)
    assert (document["users"], document["users_without_training"]) == (scores.users, scores.users_without_training)
    assert row["parameters"].keys() == {"rank", "regularization"}
    assert json.loads(compared(lines, "--tune", 2, "--rank", 2, "--json").stdout)["methods"][0][
        "parameters"
    ].keys() == {"regularization"}


def test_the_output_says_whether_methods_are_tuned(lines: Path) -> None:
    for style in ("table", "markdown", "csv"):
        plain, tuned = (compared(lines, "--rank", 2, "--format", style, *more) for more in ((), ("--tune", 2)))
        assert "Every method runs at its defaults. --tune N" in plain.output
        assert "Each method had 2 candidates, compared by NDCG@3 on a part of the training ratings" in tuned.output
        for done in (plain, tuned):
            assert "Lists are those of " in done.output
            assert "others of the test part have no ratings in training and are left out." in done.output
        assert "regularization=" in tuned.stdout
        assert "regularization=" not in plain.stdout
        if style == "csv":
            assert len(plain.stdout.splitlines()) == len(tuned.stdout.splitlines()) == 3
            assert tuned.stdout.splitlines()[0] == plain.stdout.splitlines()[0] + ",validation_ndcg,parameters"
    assert json.loads(compared(lines, "--rank", 2, "--json").stdout)["tune"] is None
