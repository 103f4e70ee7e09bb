"""A report of 1,400 cells: as small as promised, whatever the cells hold."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coded_als.experiments.report.html_report import write_report
from tests.browser import PROGRAM, browser_page

PLAIN = ("uncoded", "replicated", "replicated:copies=3", "systematic")
CODES = [*((code, None) for code in PLAIN), *product(("entangled", "entangled:points=real"), range(2, 7))]
DELAYS = ("none", "exp:mean=20ms", "bimodal:p=0.2,fast=5ms,slow=1s", "pareto:scale=5ms,alpha=1.5", "slow:n=2,delay=30s")
LEVELS = [0.0, 0.01, *np.arange(1, 20) / 20, 0.99, 1.0]


def row(cell: dict[str, Any], numbers: np.random.Generator) -> dict[str, Any]:
    """A stored row with figures of full length that mean nothing."""
    middle, *spread = np.sort(numbers.lognormal(size=4)).tolist()
    seconds = np.sort(numbers.lognormal(size=len(LEVELS)))
    quantiles = {"levels": LEVELS, "seconds": seconds, "low95": 0.9 * seconds, "high95": 1.1 * seconds}
    return {
        "cell": cell,
        "status": "done",
        "reason": None,
        "iterations": 11,
        "worker_storage_bytes": int(numbers.integers(1e5, 1e7)),
        "worker_operations": float(numbers.integers(1e6, 1e9)),
        **{f"virtual_iteration_seconds_p{level}": value for level, value in zip((50, 95, 99), spread, strict=True)},
        "virtual_iteration_seconds_quantiles": {name: list(map(float, part)) for name, part in quantiles.items()},
        "virtual_seconds_mean": middle,
        "virtual_seconds_low95": 0.8 * middle,
        "virtual_seconds_high95": 1.2 * middle,
    }


def stored(folder: Path) -> Path:
    """The folder of a sweep that nobody ran."""
    cells = [
        {"code": code, "partitions": h, "workers": workers, "delays": delays}
        | {"protocol": "fused", "solver": "lobpcg", "stragglers": 0}
        for delays, workers, (code, h) in product(DELAYS, range(12, 52, 2), CODES)
    ]
    assert len(cells) == 1400
    numbers = np.random.default_rng(0)
    (folder / "results.jsonl").write_text("".join(json.dumps(row(cell, numbers)) + "\n" for cell in cells))
    (folder / "spec.json").write_text(json.dumps({"kind": "sweep", "cluster": "virtual", "cells": cells}))
    (folder / "environments.jsonl").write_text('{"command": "coded-als sweep", "python": "3"}\n')
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(stored(tmp_path_factory.mktemp("large")))


@pytest.mark.slow
def test_a_report_of_1400_cells_is_below_3_mb(report: Path) -> None:
    assert 5e5 < report.stat().st_size < 3e6
    assert report.read_text().count("<figure>") == 1 + 4 * len(DELAYS)


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [500, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_a_report_of_1400_cells_opens_without_an_error(report: Path, width: int, dark: bool) -> None:
    with browser_page() as page:
        page.open(report.as_uri(), width=width, dark=dark)
        assert page.value("document.querySelectorAll('figure svg').length") == 1 + 4 * len(DELAYS)
        assert page.problems == []
