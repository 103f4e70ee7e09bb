"""The worker's process: what it imports, its threads, its command line, its credentials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from coded_als.worker.__main__ import main
from coded_als.worker.credentials import Credentials


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_worker_imports_nothing_heavy() -> None:
    modules = run("import sys, coded_als.worker.__main__; print(*sys.modules)").split()
    assert {"numpy", "zmq", "msgpack", "coded_als.kernels"} <= set(modules)
    assert not {"scipy", "click", "rich", "coded_als.cluster", "coded_als.master", "multiprocessing"} & set(modules)


def test_a_worker_has_one_blas_thread() -> None:
    code = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '8'; import coded_als.worker.__main__; print(*map(os.environ.get, ['OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS']))"
    assert run(code).split() == ["1"] * 4


def test_credentials_come_back(tmp_path: object) -> None:
    import io

    for credentials in (Credentials(b"\x00job"), Credentials(b"job", zmq.curve_keypair()[0])):
        assert Credentials.read(io.StringIO(credentials.text())) == credentials


@pytest.mark.parametrize(
    "text", ["", "\n", "not hex\n\n", "61\nshort\n", "61\n" + 39 * "a" + '"\n', "61\n" + 40 * "ä" + "\n"]
)
def test_a_damaged_key_file_is_a_clear_error(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(text, encoding="utf-8")
    assert main(["--endpoint", "tcp://127.0.0.1:9", "--id", "0", "--key-file", str(key_file)]) == 2
    assert "Copy the file that the master wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--endpoint", "tcp://127.0.0.1:9", "--id", "-1"],
        ["--endpoint", "x", "--id", "0", "--fleet", "2"],
        ["--endpoint", "x", "--enlist", "--id", "0"],
    ],
)
def test_wrong_usage_exits_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_key_file_that_cannot_be_read_is_an_error(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--endpoint", "tcp://127.0.0.1:9", "--id", "0", "--key-file", f"{tmp_path}/none"]) == 2
    assert "key file" in capsys.readouterr().err


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp://", "tcp://127.0.0.1:port"])
def test_an_endpoint_that_is_no_address_is_refused_in_one_line(
    endpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("abcd\n\n")
    assert main(["--endpoint", endpoint, "--id", "0", "--key-file", str(key_file)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: endpoint must be the master's address")
