"""BLAS is held to one thread, and found again where modules have brought another one."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import threadpoolctl

from coded_als.blas import one_blas_thread


def test_libraries_are_looked_for_where_modules_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    class Counted(threadpoolctl.ThreadpoolController):
        def __init__(self) -> None:
            looked.append(len(sys.modules))
            super().__init__()

    with one_blas_thread():
        monkeypatch.setattr(threadpoolctl, "ThreadpoolController", Counted)
    monkeypatch.setitem(sys.modules, "a_module_that_brings_its_blas", ModuleType("its_blas"))
    for _ in range(3):
        with one_blas_thread():
            pass
    assert len(looked) == 1
