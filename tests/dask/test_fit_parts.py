"""``fit`` on part files from the command line, and all that goes on with its models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("distributed")

from coded_als import load_model
from coded_als.cli import main
from coded_als.dask import cluster as reach

pd: Any = pytest.importorskip("pandas")
GENERATOR = np.random.default_rng(6)
PAIRS = GENERATOR.permutation(50 * 30)[:400]
TABLE = pd.DataFrame({"who": PAIRS // 30, "what": PAIRS % 30 + 7, "stars": GENERATOR.integers(1, 6, 400)})
COLUMNS = ["--columns", "who,what,stars"]


@pytest.fixture
def parts(tmp_path: Path) -> str:
    for part in range(3):
        TABLE.iloc[part::3].to_parquet(tmp_path / f"part-{part}.parquet")
    TABLE.to_parquet(tmp_path / "all.parquet.whole")
    return str(tmp_path / "part-*.parquet")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    "method", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("ridge", "implicit")), "coded"]
)
def test_a_model_goes_on_as_one_of_a_table(dask_client: Any, parts: str, tmp_path: Path, method: str) -> None:
    scheduler = dask_client.scheduler_info()["address"]
    TABLE.to_parquet(tmp_path / "table.parquet")
    common = [*COLUMNS, "--method", method, "--rank", "3", "--json"]
    for out in ("model.npz", "model/"):
        fit = run("fit", parts, *common, "--scheduler", scheduler, "--workers", "3", "--out", f"{tmp_path}/{out}")
        assert fit.exit_code == 0, fit.output
    plain = run("fit", f"{tmp_path}/table.parquet", *common, "--out", f"{tmp_path}/plain.npz", *inline(method))
    assert plain.exit_code == 0, plain.output
    read = json.loads(fit.stdout)["read"]
    assert (read["users"], read["lines"], read["columns"]) == (50, 400, ["who", "what", "stars"])
    assert json.loads(fit.stdout)["objective"] == pytest.approx(json.loads(plain.stdout)["objective"], rel=1e-6)
    models = [load_model(tmp_path / name) for name in ("model.npz", "model", "plain.npz")]
    for model in models[:2]:
        assert (model.seen_ != models[2].seen_).nnz == 0  # type: ignore[operator]
        np.testing.assert_array_equal(model.user_ids, models[2].user_ids)
    shown = [
        run("recommend", f"{tmp_path}/{name}", "--user", "5", "-n", "3").stdout.split()
        for name in ("model.npz", "model", "plain.npz")
    ]
    assert shown[0] == shown[1] == shown[2]
    measured = [
        run("evaluate", f"{tmp_path}/{name}", f"{tmp_path}/table.parquet", *COLUMNS).stdout
        for name in ("model", "plain.npz")
    ]
    assert measured[0] == measured[1] != ""
    top = run(
        "recommend", f"{tmp_path}/model", "--all", "-n", "2", "--out", f"{tmp_path}/top", "--scheduler", scheduler
    )
    assert top.exit_code == 0, top.output
    assert "the best 2 items of 50 users" in top.output


def test_a_fit_goes_on_from_a_model_and_ends_early(dask_client: Any, parts: str, tmp_path: Path) -> None:
    common = [*COLUMNS, "--method", "implicit", "--rank", "3", "--scheduler", dask_client.scheduler_info()["address"]]
    first = run("fit", parts, *common, "--workers", "2", "--out", f"{tmp_path}/first.npz")
    assert first.exit_code == 0, first.output
    TABLE.iloc[:90].to_parquet(tmp_path / "validation.parquet")
    stopping = ["--stop-on", "rmse", "--validate", f"{tmp_path}/validation.parquet", "--patience", "2"]
    going_on = ["--start", f"{tmp_path}/first.npz", *stopping, "--out", f"{tmp_path}/model/", "--json"]
    fit = run("fit", parts, *common, "--workers", "2", *going_on)
    assert fit.exit_code == 0, fit.output
    found = json.loads(fit.stdout)
    assert 1 <= found["best_iteration"] <= found["iterations"]
    assert found["validation"] > 0
    refused = run("fit", parts, *common, "--stop-on", "auc", "--validate", "x")
    assert "--stop-on must be a metric such as ndcg@10" in refused.output


def inline(method: str) -> list[str]:
    return ["--cluster", "inline", "--workers", "3", "--precomputation", "none"] if method == "coded" else []


REFUSED: dict[str, tuple[list[str], str]] = {
    "no scheduler named": ([], "Add --scheduler local:2"),
    "no scheduler there": (["--scheduler", "tcp://127.0.0.1:9", *COLUMNS], "scheduler must be the address"),
    "a column": (["--scheduler", "here", "--columns", "who,what,size"], "columns must be among those of"),
    "no columns": (["--scheduler", "here"], "two or three names of columns"),
    "a method": (["--scheduler", "here", "--method", "bpr"], "--scheduler belongs to the coded method"),
    "hold-out": (
        ["--scheduler", "here", "--hold-out-users", "0.1"],
        "--hold-out-users needs the ratings in one process",
    ),
    "out": (["--scheduler", "here", *COLUMNS, "--out", "/nowhere/model/"], "one that is there"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fitted_is_one_line(
    dask_client: Any, parts: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coded_als.dask.cluster.CONNECT_WITHIN_S", 0.5)
    options, message = REFUSED[case]
    address = dask_client.scheduler_info()["address"]
    found = run("fit", parts, *[address if option == "here" else option for option in options])
    assert found.exit_code == 2, found.output
    assert message in found.output
    assert len(found.output.strip().splitlines()) == 1


def test_nothing_is_written_of_a_fit_that_fails(dask_client: Any, parts: str, tmp_path: Path) -> None:
    damaged = tmp_path / "part-2.parquet"
    TABLE.assign(stars=np.nan).to_parquet(damaged)
    address = dask_client.scheduler_info()["address"]
    before = sorted(path.name for path in tmp_path.iterdir())
    found = run("fit", parts, *COLUMNS, "--scheduler", address, "--out", f"{tmp_path}/model/")
    assert found.exit_code == 2
    assert "must have no gaps" in found.output or "must be finite" in found.output
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_other_versions_are_one_line(
    dask_client: Any, parts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {**reach.versions(), "NumPy": "1.0"}
    require = reach.require_versions
    monkeypatch.setattr("coded_als.dask.cluster.require_versions", lambda _, theirs: require(ours, theirs))
    address = dask_client.scheduler_info()["address"]
    found = run("fit", parts, *COLUMNS, "--scheduler", address, "--out", f"{tmp_path}/model/")
    assert found.exit_code == 2
    assert "must have the versions of this process; got NumPy" in found.output
    assert len(found.output.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_repeated_is_for_tables_and_text() -> None:
    found = run("fit", "synthetic:m=30,n=20,d=3,noise=0.1", "--repeated", "last")
    assert found.exit_code == 2
    assert "--repeated is for tables and text" in found.output
