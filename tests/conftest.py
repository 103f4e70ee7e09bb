"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# A machine may be busy with other work: no example has a deadline, and slow drawing says nothing about a strategy. The suite
# draws the same examples in every run, so that a failure is of the change at hand; `make properties` draws new ones.
settings.register_profile("new examples", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same examples", settings.get_profile("new examples"), derandomize=True)
settings.load_profile("same examples")
# An idle Dask cluster of two workers takes a fifteenth of a core: it looks at its own stacks, clocks and memory many times
# a second, for pages that no test opens. With these it takes a seventieth.
RARELY = {
    "WORKER__PROFILE__ENABLED": "False",
    "WORKER__MEMORY__MONITOR_INTERVAL": "2s",
    "ADMIN__TICK__INTERVAL": "1s",
    "ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}
for option, value in RARELY.items():
    os.environ.setdefault(f"DASK_DISTRIBUTED__{option}", value)


@cache
def unit_of(file: str) -> str:
    """The unit of tests that a file belongs to: all files that use the Dask cluster of the session are one unit."""
    return "dask" if "dask_client" in (ROOT / file).read_text(encoding="utf-8") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to the processes of ``make test``, and all files that use the Dask cluster to one process."""
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid.split("::", 1)[0])

    return Units(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, whose licences keep them out of the repository; tests without it are skipped."""
    named = os.environ.get("CODED_ALS_DATA")
    folder = Path(named) if named else ROOT / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set CODED_ALS_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def dask_client() -> Iterator[Any]:
    """A client of a Dask cluster of two processes; tests without Dask are skipped."""
    distributed = pytest.importorskip("distributed")
    # the dashboard on a free port
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with cluster, distributed.Client(cluster) as client:
        yield client
