"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# a machine may be busy with other work: no example has a deadline, and slow drawing says nothing about a strategy
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
# Dask workers look at their own stacks a hundred times a second, for a page that no test opens
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, whose licences keep them out of the repository; tests without it are skipped."""
    named = os.environ.get("CODED_ALS_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
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
