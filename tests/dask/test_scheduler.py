"""``fit --scheduler``: Dask clusters by name, and what is no name of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("distributed")

from coded_als.cli import main
from coded_als.dask.cluster import open_client
from coded_als.delays.traces import read_recording
from coded_als.errors import UsageError

pa: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

FIT = ["fit", "synthetic:m=30,n=20,d=3,noise=0.1", "--rank", "2", "--workers", "4", "--json"]


def test_a_fit_on_a_cluster_by_address_or_file(dask_client: Any, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    # what Dask writes there, too, but for figures of its tasks, which it cannot always write
    file.write_text(json.dumps({"address": dask_client.scheduler_info()["address"]}))
    inline = CliRunner().invoke(main, [*FIT, "--cluster", "inline"])
    for name in (dask_client.scheduler_info()["address"], str(file)):
        run = CliRunner().invoke(main, [*FIT, "--scheduler", name])
        assert run.exit_code == 0, run.output
        assert json.loads(run.stdout)["cluster"] == "dask"
        assert json.loads(run.stdout)["objective"] == pytest.approx(json.loads(inline.stdout)["objective"], rel=1e-9)


def test_workers_on_dask_are_measured_and_the_plan_opens_them_again(dask_client: Any, tmp_path: Path) -> None:
    scheduler = ["--scheduler", dask_client.scheduler_info()["address"]]
    words = ["measure", *scheduler, "--workers", "3", "--rounds", "3", "--share", "200x200", "--json"]
    words += ["--delays", "slow:n=1,delay=100ms", "--record-delays", str(tmp_path / "delays.csv")]
    document = json.loads(CliRunner().invoke(main, words, catch_exceptions=False).stdout)
    late = [said for said in document["findings"] if "ms later than a typical worker, always" in said]
    assert len(late) == 1, document["findings"]
    assert read_recording(tmp_path / "delays.csv").seconds.shape == (3, 3)
    assert document["command"].split()[-2:] == scheduler


@pytest.mark.parametrize(
    "name",
    [
        "tcp://127.0.0.1:9",
        "tls://127.0.0.1:9",
        "nowhere.json",
        "local:0",
        "local:x",
        "127.0.0.1:8786",
        "",
        "/etc/passwd",
    ],
)
def test_a_scheduler_that_is_not_there_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coded_als.dask.cluster.CONNECT_WITHIN_S", 0.5)
    with pytest.raises(UsageError, match="scheduler must be the address") as raised, open_client(name):
        pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"address": 3}'])
def test_a_file_that_no_scheduler_wrote_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "scheduler.json").write_text(content)
    with (
        pytest.raises(UsageError, match="scheduler must be the address"),
        open_client(str(tmp_path / "scheduler.json")),
    ):
        pass


def test_a_mistake_in_a_part_is_one_line_in_all_of_the_output(tmp_path: Path) -> None:
    """Of the workers that are started for it, too."""
    table = pa.table({"u": [1, 2, 3], "i": [1, 2, 3], "r": [1.0, float("nan"), 2.0]})
    parquet.write_table(table, tmp_path / "0.parquet")
    command = [sys.executable, "-m", "coded_als", "fit", f"{tmp_path}/*.parquet", "--columns", "u,i,r", "--scheduler"]
    run = subprocess.run([*command, "local:1", "--workers", "1"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert "must be finite" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr


def test_a_cluster_is_either_ours_or_of_dask() -> None:
    run = CliRunner().invoke(main, [*FIT, "--scheduler", "local:2", "--cluster", "inline"])
    assert run.exit_code == 2
    assert "must not be given together" in run.output
