"""Commands on workers of other machines: options that contradict each other, and a fit over ``--listen``."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from coded_als.cli import main
from coded_als.errors import CodedALSError
from coded_als.master import RemoteCluster
from coded_als.master.key_files import WORKER_FILE, make_keys
from coded_als.models.persistence import load_model
from tests.master.test_keys import Worker, credentials_of
from tests.master.test_remote import free_port

FIT = ("fit", "synthetic:m=80,n=50,d=3,noise=0.1", "--rank", "3", "--code", "systematic:p=2")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


@contextmanager
def workers_at(port: int, keys: Path, *numbers: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Worker processes with these keys."""
    command = [sys.executable, "-m", "coded_als", "worker", "--connect", f"tcp://127.0.0.1:{port}", "--key-file"]
    started = [
        subprocess.Popen([*command, str(keys / WORKER_FILE.format(number))], stderr=subprocess.PIPE, text=True)
        for number in numbers
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", 3)
    return tmp_path / "keys"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "tcp://127.0.0.1:1", "--scheduler", "local:1"], "--listen and --scheduler must not"),
        (["--listen", "tcp://127.0.0.1:1", "--cluster", "local"], "--listen and --cluster must not"),
        (["--scheduler", "local:1", "--cluster", "inline"], "--scheduler and --cluster must not"),
        (["--listen", "tcp://127.0.0.1:1"], "--listen must come with --keys FOLDER"),
        (["--keys", "x"], "--keys must come with --listen"),
        (["--join-timeout", "5s"], "--join-timeout must come with --listen"),
        (["--rejoin-timeout", "5s"], "--rejoin-timeout must come with --listen"),
        (["--listen", "tcp://127.0.0.1:1", "--keys", "/no/such"], "keys must be a folder"),
    ],
)
def test_options_of_a_cluster_that_contradict_each_other_are_refused(words: list[str], said: str) -> None:
    found = run(*FIT, *words)
    assert found.exit_code == 2
    assert said in found.stderr


def test_keys_of_too_few_workers_are_refused_before_ratings_are_read(keys: Path) -> None:
    found = run("fit", "no-such-file", "--listen", "tcp://127.0.0.1:1", "--keys", keys, "--workers", 4)
    assert found.exit_code == 2
    assert "got none for 3" in found.stderr


def test_a_fit_over_an_address_equals_one_on_this_machine(keys: Path, tmp_path: Path) -> None:
    port, models = free_port(), {place: tmp_path / f"{place}.npz" for place in ("remote", "inline")}
    with workers_at(port, keys, 0, 1, 2) as started:
        address = ("--listen", f"tcp://127.0.0.1:{port}", "--keys", keys, "--workers", 3, "--join-timeout", "60s")
        found = run(*FIT, *address, "--out", models["remote"], "--json")
        assert found.exit_code == 0, found.output
        assert [process.wait(10) for process in started] == [0, 0, 0]
    assert json.loads(found.stdout)["cluster"] == "remote"
    assert run(*FIT, "--cluster", "inline", "--workers", 3, "--out", models["inline"]).exit_code == 0
    one, other = (load_model(path) for path in models.values())
    product = one.user_factors_ @ one.item_factors_.T
    assert np.allclose(product, other.user_factors_ @ other.item_factors_.T, rtol=0, atol=1e-8)


def test_the_workers_that_are_missing_are_named(
    keys: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coded_als.master.remote.NAMED_EVERY_S", 0.2)
    port = free_port()
    worker = Worker(port, credentials_of(keys, 1))
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(CodedALSError, match=r"3 workers must join within 2 s; 1 did, and workers 0, 2 did not"),
    ):
        RemoteCluster(f"tcp://127.0.0.1:{port}", 3, keys=keys, join_timeout_s=2)
    worker.join(10)
    said = [record.getMessage() for record in caplog.records]
    assert f"waiting at tcp://127.0.0.1:{port} for workers 0, 2" in said
    assert "worker 1 (127.0.0.1) joined with key 1" in said


def test_methods_are_compared_on_the_workers_of_other_machines(keys: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ratings = tmp_path / "ratings.csv"
    pairs = [(user, item, int(rng.integers(1, 6))) for user in range(40) for item in rng.permutation(30)[:8]]
    ratings.write_text("".join(f"{user},{item},{value}\n" for user, item, value in pairs))
    words = ["compare", ratings, "--methods", "coded,implicit", "--rank", 3, "--json"]
    here = run(*words)
    assert here.exit_code == 0, here.output
    port = free_port()
    threads = [Worker(port, credentials_of(keys, number)) for number in range(3)]
    there = run(*words, "--listen", f"tcp://127.0.0.1:{port}", "--keys", keys, "--workers", 3)
    assert there.exit_code == 0, there.output
    for thread in threads:
        thread.join(10)
    for one, other in zip(json.loads(here.stdout)["methods"], json.loads(there.stdout)["methods"], strict=True):
        assert {**one, "seconds": 0} == pytest.approx({**other, "seconds": 0})
