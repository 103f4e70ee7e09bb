"""``fit --scheduler``: Dask clusters by name, and what is no name of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("distributed")

from coded_als.cli import main
from coded_als.dask.scheduler import open_client
from coded_als.errors import UsageError

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


@pytest.mark.parametrize("name", ["tcp://127.0.0.1:9", "nowhere.json", "local:0", "local:x", "127.0.0.1:8786", ""])
def test_a_scheduler_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="scheduler must be the address") as raised, open_client(name):
        pass
    assert "\n" not in str(raised.value)


def test_a_cluster_is_either_ours_or_of_dask() -> None:
    run = CliRunner().invoke(main, [*FIT, "--scheduler", "local:2", "--cluster", "inline"])
    assert run.exit_code == 2
    assert "must not be given together" in run.output
