"""The worker's process: what it imports, its threads, its command line, and where there is no fork."""

from __future__ import annotations

import subprocess
import sys

import pytest

from coded_als.master.link import Link
from coded_als.worker.__main__ import main
from coded_als.worker.credentials import Credentials
from tests.master.processes import all_end_within


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_worker_imports_nothing_heavy() -> None:
    modules = run("import sys, coded_als.worker.__main__; print(*sys.modules)").split()
    assert {"numpy", "zmq", "msgpack", "coded_als.kernels"} <= set(modules)
    assert not {"scipy", "click", "rich", "coded_als.cluster", "coded_als.master", "multiprocessing"} & set(modules)


def test_a_worker_has_one_blas_thread() -> None:
    code = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '8'; import coded_als.worker.__main__; print(*map(os.environ.get, ['OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS']))"
    assert run(code).split() == ["1"] * 4


def test_credentials_come_back(tmp_path: object) -> None:
    import io

    for credentials in (Credentials(b"\x00job"), Credentials(b"job", b"key")):
        assert Credentials.read(io.StringIO(credentials.text())) == credentials


@pytest.mark.parametrize(
    "arguments", [[], ["--endpoint", "tcp://127.0.0.1:9"], ["--endpoint", "x", "--id", "0", "--fleet", "2"]]
)
def test_wrong_usage_exits_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_a_key_file_that_cannot_be_read_is_an_error(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--endpoint", "tcp://127.0.0.1:9", "--id", "0", "--key-file", f"{tmp_path}/none"]) == 1
    assert "key file" in capsys.readouterr().err


def test_without_fork_a_fleet_has_one_interpreter_each() -> None:
    link = Link("tcp://127.0.0.1:*")
    code = f"import os; del os.fork; from coded_als.worker.__main__ import main; main(['--fleet', '2', '--endpoint', {link.endpoint!r}])"
    fleet = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)
    assert fleet.stdin is not None
    fleet.stdin.write(Credentials(b"job").text())
    fleet.stdin.flush()
    try:
        from coded_als.wire import decode

        hellos = []
        while len(hellos) < 2:
            frames = link.receive(10.0)
            assert frames is not None
            hellos.append(decode(frames[1:]))
        assert sorted(hello.worker for hello in hellos) == [0, 1]
        fleet.stdin.close()
        assert fleet.wait(5) == 0
        assert all_end_within([hello.number for hello in hellos], 5.0)
    finally:
        fleet.kill()
        fleet.wait()
        link.close()
