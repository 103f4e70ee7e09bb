"""The progress of experiments: silent without a terminal, and with the time that is left on one."""

from __future__ import annotations

import io
import sys

import pytest

from coded_als.cli.common import cell_progress


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


def test_progress_says_cells_and_time_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with cell_progress() as tell:
        tell(2, 10)
        for done in range(3, 11):
            tell(done, 10, {"status": "done"})
    shown = terminal.getvalue()
    assert "10/10" in shown
    assert "so far" in shown
    assert "left" in shown


def test_progress_is_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with cell_progress() as tell:
        tell(1, 2)
        tell(2, 2, {"status": "done"})
    assert capfd.readouterr() == ("", "")
