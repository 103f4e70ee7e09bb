"""What the first use of compiled loops says, and to whom."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from coded_als.baselines import compiled


@pytest.mark.parametrize("terminal", [True, False])
def test_people_are_told_once_that_it_compiles(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled._say_that_it_compiles.cache_clear()
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(compiled, "_is_on_disk", lambda function, folder: False)
    one, other = (compiled.compiled(function) for function in (_sum, _product))
    assert one(np.arange(4.0)) == 6
    assert other(np.arange(1.0, 4.0)) == 6
    assert capsys.readouterr().err.count("compiling their loops") == (1 if terminal else 0)


def test_code_on_disk_is_found_until_its_source_is_newer(tmp_path: Path) -> None:
    source = Path(__file__)
    assert not compiled._is_on_disk(_sum, None)
    assert not compiled._is_on_disk(_sum, str(tmp_path))
    index = tmp_path / f"{source.stem}._sum-12.py311.nbi"
    index.touch()
    assert compiled._is_on_disk(_sum, str(tmp_path))
    os.utime(index, (0, source.stat().st_mtime - 1))
    assert not compiled._is_on_disk(_sum, str(tmp_path))


def _sum(values):
    return values.sum()


def _product(values):
    return values.prod()
