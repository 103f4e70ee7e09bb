"""`tune`: successive halving within a budget, and the command of the winner."""

from __future__ import annotations

import itertools
import json
import shlex
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coded_als import ImplicitALS, UsageError, tune
from coded_als.cli import main
from coded_als.data import holdout, load_ratings
from coded_als.data.ratings import from_matrix
from coded_als.evaluation import evaluate_ranking, search
from coded_als.evaluation.search import latest_out, parted
from coded_als.models.registry import model_kinds
from tests.evaluation.test_search import some_ratings


def count_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a millisecond pass each time that a search looks at its clock."""
    seconds = itertools.count(0.0, 1e-3)
    monkeypatch.setattr(search, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))


@pytest.mark.parametrize(
    "method", [pytest.param(one, marks=pytest.mark.slow) if one == "sharded" else one for one in model_kinds()]
)
def test_every_method_is_tuned_to_no_less_than_its_defaults(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = some_ratings()
    if method in ("ease", "coded", "popularity"):
        # a fit that a busy machine cuts short has another figure than one to the end
        count_seconds(monkeypatch)
    found = tune(method, data, budget=0.6, k=5)
    assert found.figure >= (found.candidates[0].figure or 0.0)
    assert found.figure in [one.figure for one in found.candidates]
    model: Any = found.make_model()
    kept, held_out = holdout(data, 0.2, seed=0)
    if method in ("ease", "coded", "popularity"):
        assert evaluate_ranking(model.fit(kept), held_out, 5).ndcg == pytest.approx(found.figure)


def test_a_third_goes_on_from_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # however busy the machine is, the first thirds are not cut short
    count_seconds(monkeypatch)
    found = tune("implicit", some_ratings(), budget=0.3, k=5)
    steps = [one.iterations for one in found.candidates]
    assert steps[0] == 12
    assert steps[1:14] == [2] * 9 + [4] * 3 + [12]
    alive = {json.dumps(dict(one.parameters)): one for one in found.candidates[1:10]}
    best = sorted(found.candidates[1:10], key=lambda one: -(one.figure or 0.0))[:3]
    assert [one.parameters for one in found.candidates[10:13]] == [one.parameters for one in best]
    winner = found.candidates[13]
    assert json.dumps(dict(winner.parameters)) in alive
    kept, held_out = holdout(some_ratings(), 0.2, seed=0)
    straight = ImplicitALS(**dict(winner.parameters)).fit(kept)
    assert evaluate_ranking(straight, held_out, 5).ndcg == pytest.approx(winner.figure, abs=0.02)


def test_the_budget_ends_a_running_fit() -> None:
    started = time.perf_counter()
    found = tune("implicit", some_ratings(), budget=0.3, ranges={"rank": [4]}, parameters={"iterations": 30})
    assert time.perf_counter() - started < 20
    assert {one.iterations for one in found.candidates} <= {4, 10, 30}
    assert found.parameters["iterations"] == 30


def test_the_latest_ratings_are_held_out_by_time(tmp_path: Path) -> None:
    lines = [f"{user}\t{item}\t3\t{1000 - 10 * user - item}" for user in range(20) for item in range(8)]
    (tmp_path / "r.tsv").write_text("\n".join(lines))
    data = load_ratings(str(tmp_path / "r.tsv"))
    early, late = latest_out(data, 0.25)
    assert early.times is not None and late.times is not None  # noqa: PT018
    assert early.times.max() < late.times.min()
    assert late.entries == 40
    with pytest.raises(UsageError, match="has none"):
        tune("ease", some_ratings(), split="time")


def test_a_share_of_the_ratings_of_each_user_is_held_out() -> None:
    data = some_ratings()
    counts = np.diff(data.matrix.indptr)
    for fraction in (0.2, 0.9):
        kept, held_out = parted(data, fraction, "user", 3)
        held = np.diff(held_out.matrix.indptr)
        np.testing.assert_array_equal(np.diff(kept.matrix.indptr) + held, counts)
        np.testing.assert_array_equal(held, np.minimum(np.round(fraction * counts), counts - 1))
        assert ((kept.matrix + held_out.matrix) != data.matrix).nnz == 0
    other = parted(data, 0.9, "user", 4)[1].matrix
    assert (other != held_out.matrix).nnz > 0
    assert (parted(data, 0.9, "user", 3)[1].matrix != held_out.matrix).nnz == 0
    with pytest.raises(UsageError, match="rating of some user"):
        parted(data, 1e-9, "user", 0)
    dense = from_matrix(data.matrix.toarray(), "a test")
    assert (parted(dense, 0.9, "user", 3)[1].matrix == held_out.matrix.toarray()).all()
    assert tune("ease", data, budget=0.1, split="user").figure > 0


def test_mistakes_are_said() -> None:
    data = some_ratings()
    for given in ({"budget": 0}, {"metric": "auc"}, {"ranges": {"x": [1]}}, {"split": "item"}, {"validation": 2.0}):
        with pytest.raises(UsageError):
            tune("implicit", data, **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="method must be one of"):
        tune("knn", data)
    with pytest.raises(UsageError, match="does not fit with its own parameters"):
        tune("sgd", data, parameters={"learning_rate": 1e6}, ranges={})


def test_the_command_of_the_winner_runs(tmp_path: Path) -> None:
    data = some_ratings()
    rows, columns, values = data.triples()
    file = tmp_path / "r.tsv"
    file.write_text("\n".join(f"{u}\t{i}\t{r}" for u, i, r in zip(rows, columns, values, strict=True)))
    arguments = ["tune", str(file), "--methods", "implicit,ease", "--budget", "500ms", "-k", "5"]
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert [one["method"] for one in document["methods"]] == ["implicit", "ease"]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    words = shlex.split(told.stdout.strip().splitlines()[-1])
    assert words[:2] == ["coded-als", "fit"]
    words[-1] = str(tmp_path / "m.npz")
    assert CliRunner().invoke(main, words[1:]).exit_code == 0
    assert (tmp_path / "m.npz").exists()
    refused = CliRunner().invoke(main, ["tune", str(file), "--metric", "rmse"])
    assert refused.exit_code == 2
    assert "predicts ratings" in refused.stderr


def test_settings_are_parameters_of_the_method() -> None:
    ratings = "synthetic:m=60,n=40,d=5,noise=0.5,density=0.3,seed=1"
    for setting, code in {
        "unobserved_weight=0.3": 0,
        "alpha": 2,
        "=3": 2,
        "nothing=1": 2,
        "unobserved_weight=x": 2,
    }.items():
        result = CliRunner().invoke(main, ["fit", ratings, "--method", "implicit", "--set", setting])
        assert result.exit_code == code, result.output
        assert result.stderr.count("Error") == (code == 2)


@pytest.mark.slow
def test_a_minute_on_real_ratings_is_worth_it(shared_data: Path) -> None:
    data = load_ratings(str(shared_data / "ml-100k" / "u.data"))
    train, test = holdout(data, 0.2, seed=5)
    found = tune("implicit", train, budget=60.0)
    model: Any = found.make_model()
    tuned = evaluate_ranking(model.fit(train), test, 10).ndcg
    untuned = evaluate_ranking(ImplicitALS().fit(train), test, 10).ndcg
    assert tuned >= 0.43
    assert untuned < tuned
    assert np.isfinite(found.figure)
