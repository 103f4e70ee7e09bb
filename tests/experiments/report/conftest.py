"""A small sweep and a small reproduction that the tests of reports share."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from coded_als.cli.sweep import command as sweep
from coded_als.experiments.report.html_report import write_report

SPECS = ("exp:mean=20ms", "bimodal:p=0.2,fast=1ms,slow=50ms")
CODES = ("uncoded", "replicated:copies=2", "replicated:copies=4", "systematic", "entangled", "entangled:points=real")
OPTIONS = [
    "--rows",
    "60",
    "--cols",
    "40",
    "--rank",
    "3",
    "--workers",
    "8:14:3",
    "--partitions",
    "2:3",
    "--repeats",
    "3",
    # a figure is the same figure with a tenth of the rounds
    "--als-iterations",
    "10",
    *(part for code in CODES for part in ("--code", code)),
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a sweep over two delay models, with and without a dead worker."""
    out = tmp_path_factory.mktemp("sweep")
    arguments = [*OPTIONS, "--stragglers", "0,1", "--protocol", "fused,paper", "--solver", "als"]
    arguments += ["--delays", SPECS[0], "--delays", SPECS[1], "--out", str(out)]
    assert CliRunner().invoke(sweep, arguments, catch_exceptions=False).exit_code == 0
    return out


@pytest.fixture(scope="session")
def report(folder: Path) -> Path:
    """The report of them, drawn once."""
    return write_report(folder)
