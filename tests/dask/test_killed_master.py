"""A master that was killed: nothing of it stays on the Dask cluster, nor on the machines."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from coded_als.dask import DaskCluster
from coded_als.worker.forks import MASTER_GONE
from tests.dask.test_cluster import eventually


def swap_process(name: str, code: int, dask_worker: Any) -> None:
    """Let the process of the workers here have ended with this exit code."""
    plugin = dask_worker.plugins[name]
    before = plugin._process
    plugin._process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"], stdin=subprocess.PIPE)
    plugin._process.wait()
    before.kill()
    before.wait()


def is_on_the_scheduler(client: Any, name: str) -> bool:
    found: bool = client.run_on_scheduler(lambda dask_scheduler: name in dask_scheduler.worker_plugins)
    return found


def test_the_plugin_leaves_when_no_worker_has_a_master_any_more(dask_client: Any) -> None:
    with DaskCluster(dask_client, 2) as cluster:
        name = cluster.starter.name
        cluster.starter._over.set()  # as of a master that is gone
        first, second = (str(address) for address in dask_client.scheduler_info(n_workers=-1)["workers"])
        dask_client.run(swap_process, name, MASTER_GONE, workers=[first])

        def has_given_up(dask_worker: Any) -> bool:
            return not dask_worker.plugins[name].has_workers

        assert eventually(lambda: dask_client.run(has_given_up, workers=[first])[first])
        # the other one's workers have their master still: a cable may be cut
        assert is_on_the_scheduler(dask_client, name)
        dask_client.run(swap_process, name, MASTER_GONE, workers=[second])
        assert eventually(lambda: not is_on_the_scheduler(dask_client, name))
        assert eventually(lambda: not any(dask_client.run(lambda dask_worker: name in dask_worker.plugins).values()))
        assert not glob.glob(f"{tempfile.gettempdir()}/{name}*")


def test_the_plugin_stays_when_workers_end_for_another_reason(dask_client: Any) -> None:
    with DaskCluster(dask_client, 2) as cluster:
        name = cluster.starter.name
        cluster.starter._over.set()
        dask_client.run(swap_process, name, 0)

        def has_noticed(dask_worker: Any) -> bool:
            return dask_worker.plugins[name]._process is None

        assert eventually(lambda: all(dask_client.run(has_noticed).values()))
        assert is_on_the_scheduler(dask_client, name)


@pytest.mark.slow
def test_nothing_is_left_of_a_master_that_was_killed(dask_client: Any, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy as np\n"
        "from distributed import Client\n"
        "from coded_als.dask import DaskCluster\n"
        "cluster = DaskCluster(Client(sys.argv[1]), 2)\n"
        "print(cluster.starter.name, cluster._link.endpoint, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    address = dask_client.scheduler_info()["address"]
    run = subprocess.run([sys.executable, "-c", code, address], stdout=subprocess.PIPE, text=True, timeout=120)
    name, endpoint = run.stdout.split()
    assert is_on_the_scheduler(dask_client, name)
    assert eventually(lambda: not is_on_the_scheduler(dask_client, name), 180)
    assert eventually(lambda: not glob.glob(f"{tempfile.gettempdir()}/{name}*"))
    assert not os.path.exists(endpoint.removeprefix("ipc://"))
    assert not os.path.exists(os.path.dirname(endpoint.removeprefix("ipc://")))


@pytest.mark.slow
def test_nothing_is_left_of_a_master_that_was_killed_with_the_dask_cluster_that_it_had_started(tmp_path: Path) -> None:
    code = (
        "import os, signal, tempfile\n"
        "from distributed import Client, LocalCluster\n"
        "from coded_als.dask import DaskCluster\n"
        "if __name__ == '__main__':\n"
        "    dask = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=':0')\n"
        "    cluster = DaskCluster(Client(dask), 2)\n"
        "    found = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith('coded-als-')]\n"
        "    print(len(found), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "master.py").write_text(code)
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, str(tmp_path / "master.py")]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, env=environment)
    assert int(run.stdout) == 2
    assert eventually(lambda: not list((tmp_path / "tmp").glob("coded-als-*")), 180)
