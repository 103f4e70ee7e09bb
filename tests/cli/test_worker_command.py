"""``coded-als worker`` on a terminal says that it waits for a key."""

from __future__ import annotations

import os
import sys

import pytest
from click.testing import CliRunner

from coded_als.cli.worker import command


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that would take the place of this process."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, arguments, environment: calls.append(arguments))
    return calls


@pytest.mark.parametrize(
    ("on_terminal", "key_file", "is_told"), [(True, "-", True), (True, "k", False), (False, "-", False)]
)
def test_a_person_at_a_terminal_is_told_of_the_key_that_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, started: list[list[str]], on_terminal: bool, key_file: str, is_told: bool
) -> None:
    runner = CliRunner()
    with runner.isolation():
        monkeypatch.setattr(type(sys.stdin), "isatty", lambda self: on_terminal)
    found = runner.invoke(command, ["--connect", "tcp://127.0.0.1:5555", "--key-file", key_file])
    assert found.exit_code == 0
    assert ("waiting for the key on stdin" in found.stderr) == is_told
    [arguments] = started
    assert arguments[-4:] == ["--endpoint", "tcp://127.0.0.1:5555", "--key-file", key_file]
