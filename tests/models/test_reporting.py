"""Callbacks and progress bars, the same for all models."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from rich import console

from coded_als import CodedALS, ImplicitALS

MODELS = [CodedALS(2, iterations=5), ImplicitALS(2, iterations=3)]


def ratings() -> np.ndarray:
    return np.where(np.random.default_rng(0).random((9, 8)) < 0.6, 3.0, 0.0)


@pytest.mark.parametrize("model", MODELS, ids=["coded", "implicit"])
def test_a_bar_counts_the_iterations_on_stderr(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    model.fit(ratings(), callback=seen.append, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert type(model).__name__ in err
    assert f"{len(seen)}/{model.iterations}" in err
    assert f"objective {seen[-1].objective:.6g}" in err
    model.fit(ratings())
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(find_spec("ipywidgets") is not None, reason="with widgets the bar is one of them")
def test_a_notebook_without_widgets_gets_the_bar_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    CodedALS(1).fit(np.eye(2), progress=True)
    assert capsys.readouterr().err.count("CodedALS") == 1


def test_the_error_of_a_callback_ends_the_fit() -> None:
    class EnoughError(Exception):
        pass

    def stop(entry: Any) -> None:
        if entry.index == 1:
            raise EnoughError

    for model in MODELS:
        with pytest.raises(EnoughError):
            model.fit(ratings(), callback=stop, progress=True)
