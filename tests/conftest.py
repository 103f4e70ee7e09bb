"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, whose licences keep them out of the repository; tests without it are skipped."""
    named = os.environ.get("CODED_ALS_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: set CODED_ALS_DATA to their folder")
    return folder
