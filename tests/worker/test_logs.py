"""Logs of workers and masters: JSON lines, levels, and the threads that a worker computes with."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from coded_als.cli import main
from coded_als.master.key_files import make_keys
from coded_als.worker.blas_threads import VARIABLES, threads_asked_for
from coded_als.worker.logs import start_logging
from tests.master.test_keys import Worker, cluster_of, credentials_of


@pytest.fixture
def quiet() -> Iterator[None]:
    logger = logging.getLogger("coded_als")
    yield
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
def test_a_line_of_the_log_is_a_document_with_the_fields_of_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("info", as_json=True)
    log = logging.getLogger("coded_als.master.membership")
    log.info('a "quoted"\nmessage', extra={"event": "joined", "worker": 3, "key": None})
    log.debug("below the level")
    [line] = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert document.pop("time")[10] == "T"
    assert document == {"level": "info", "message": 'a "quoted"\nmessage', "event": "joined", "worker": 3}


@pytest.mark.usefixtures("quiet")
def test_a_log_that_nobody_reads_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    start_logging("info", as_json=False)
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        logging.getLogger("coded_als").warning("dropped")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.close()


@pytest.mark.parametrize(
    ("words", "threads"), [([], 1), (["--threads", "3"], 3), (["--id", "2", "--threads=2", "--parts", "x"], 2)]
)
def test_the_threads_are_read_before_numpy_is(words: list[str], threads: int) -> None:
    assert threads_asked_for(words) == threads


def test_a_worker_has_one_blas_thread_unless_it_is_told() -> None:
    code = (
        "import os\nimport coded_als.worker.__main__\nfrom threadpoolctl import threadpool_info\n"
        f"print(*{{os.environ[name] for name in {VARIABLES!r}}}, *{{one['num_threads'] for one in threadpool_info()}})"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "7"}
    for words, wanted in (([], {"1"}), (["--threads", "2"], {"2"})):
        command = [sys.executable, "-c", code, *words]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        variables, in_use = run.stdout.split()
        assert {variables} == wanted
        assert int(in_use) <= int(variables)


def test_the_command_passes_its_options_to_the_process_that_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda path, arguments, environment: calls.append((arguments, environment)))
    words = ["--connect", "tcp://h:1", "--key-file", "k", "--threads", "4", "--log-level", "info", "--log-json"]
    assert CliRunner().invoke(main, ["worker", *words]).exit_code == 0
    [(arguments, environment)] = calls
    assert arguments[-5:] == ["--threads", "4", "--log-level", "info", "--log-json"]
    assert environment["OPENBLAS_NUM_THREADS"] == "4"


def test_a_worker_says_that_the_master_does_not_admit_its_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coded_als.worker.loop.GIVE_UP_AFTER_S", 1.0)
    for name in ("keys", "others"):
        make_keys(tmp_path / name, 1)
    stranger = credentials_of(tmp_path / "others", 0)
    known = credentials_of(tmp_path / "keys", 0)
    # the master's key, and a key that it does not know
    credentials = type(known)(known.job, known.server_key, stranger.secret_key)
    with caplog.at_level(logging.INFO), cluster_of(tmp_path / "keys", 1, 0) as (cluster, port):
        refused = Worker(port, credentials)
        while refused.is_alive():
            cluster._membership.step(0.01)
    events = [getattr(record, "event", None) for record in caplog.records]
    of_worker = [record.getMessage() for record in caplog.records if record.name == "coded_als.worker.loop"]
    assert "a worker: the master does not admit this key" in of_worker
    assert "worker 0: admitted" in of_worker
    assert of_worker.count("a worker: the master does not admit this key") == 1
    assert {"joined", "connected", "admitted", "refused"} <= set(events)
