"""Enlisted workers: orders in pieces, deaths by signal, and the end of whoever gave the orders."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coded_als.errors import UsageError
from coded_als.master.link import Link
from coded_als.wire import Hello, Stop, decode, encode
from coded_als.worker.credentials import Credentials
from coded_als.worker.forks import MASTER_GONE, Orders, enlisting
from tests.master.processes import all_end_within, is_running

CREDENTIALS = Credentials(b"job")


@given(
    numbers=st.lists(st.integers(0, 10**6), max_size=5),
    cuts=st.lists(st.integers(0, 100), max_size=10),
)
def test_orders_are_the_same_in_whatever_pieces_they_come(numbers: list[int], cuts: list[int]) -> None:
    given = [(number, Credentials(bytes([number % 256]), b"k" * 40, b"s" * 40)) for number in numbers]
    text = b"".join(enlisting(*one) for one in given)
    ends = [*sorted(cut for cut in cuts if cut < len(text)), len(text)]
    orders, found = Orders(), []
    for first, last in zip([0, *ends], ends, strict=False):
        found += orders.read(text[first:last])
    assert found == given


@pytest.mark.parametrize(
    "said", [b"x\n61\n\n\n", b"\n61\n\n\n", b"-1\n61\n\n\n", "²\n61\n\n\n".encode(), b"1\nzz\n\n\n"]
)
def test_what_is_no_order_is_refused(said: bytes) -> None:
    with pytest.raises(UsageError):
        list(Orders().read(said))


@contextmanager
def enlisted() -> Iterator[tuple[subprocess.Popen[bytes], Callable[[int], dict[int, int]], Callable[[], None]]]:
    """The process; what waits for so many introductions and tells the process id of each number; what tells all to end."""
    link = Link("tcp://127.0.0.1:*", CREDENTIALS.password)
    command = [sys.executable, "-m", "coded_als.worker", "--enlist", "--endpoint", link.endpoint]

    def introduced(count: int) -> dict[int, int]:
        process_ids: dict[int, int] = {}
        deadline = time.monotonic() + 20
        while len(process_ids) < count and time.monotonic() < deadline:
            frames = link.receive(0.1)
            if frames is not None:
                hello = decode(frames[1:])
                assert isinstance(hello, Hello)
                process_ids[hello.worker] = hello.process_id
                routes[hello.worker] = frames[0].bytes
        return process_ids

    def dismiss() -> None:
        for number, route in routes.items():
            link.send(route, encode(Stop(CREDENTIALS.job, number)))

    routes: dict[int, bytes] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process, introduced, dismiss
        finally:
            process.kill()
            link.close()


def tell(process: subprocess.Popen[bytes], *numbers: int) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(enlisting(number, CREDENTIALS) for number in numbers))
    process.stdin.flush()


def test_workers_are_started_as_they_are_named_and_again_when_they_are_killed() -> None:
    with enlisted() as (process, introduced, _):
        tell(process, 3, 7)
        first = introduced(2)
        assert first.keys() == {3, 7}
        tell(process, 7, 5)  # 7 runs already
        second = introduced(1)
        assert second.keys() == {5}
        os.kill(first[3], signal.SIGKILL)
        again = introduced(1)
        assert again.keys() == {3}
        assert again[3] != first[3]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(5) == 0
        assert not any(map(is_running, [again[3], first[7], second[5]]))


def test_workers_end_with_the_process_however_it_ends() -> None:
    with enlisted() as (process, introduced, _):
        tell(process, 0, 1)
        process_ids = introduced(2).values()
        process.kill()
        assert all_end_within(list(process_ids), 4.0)


def test_the_process_ends_when_all_workers_were_told_to() -> None:
    with enlisted() as (process, introduced, dismiss):
        tell(process, 0, 1)
        assert introduced(2).keys() == {0, 1}
        dismiss()
        assert process.wait(5) == 0


@pytest.mark.parametrize("kind", ["ipc", "tcp"])
@pytest.mark.parametrize("lives", [True, False])
@pytest.mark.parametrize("end", ["stdin", "patience"])
def test_what_a_killed_master_has_left_is_deleted_and_nothing_of_one_that_lives(
    tmp_path: Path, kind: str, lives: bool, end: str
) -> None:
    """Whether whoever gave the orders is gone, or the workers have found nobody for long: the cable may be cut."""
    (tmp_path / "address").mkdir()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0.npy").touch()
    listening = socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET)
    address = str(tmp_path / "address" / "master")
    listening.bind(address if kind == "ipc" else ("127.0.0.1", 0))
    listening.listen()
    endpoint = f"ipc://{address}" if kind == "ipc" else f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    if not lives:
        listening.close()
    code = (
        "import sys\nfrom coded_als.worker import loop, __main__\n"
        "loop.GIVE_UP_AFTER_S, loop.LOOK_AFTER_PARENT_S = 0.2, 0.02\n"
        f"sys.exit(__main__.main(['--enlist', '--endpoint', {endpoint!r}, '--parts', {str(tmp_path / 'parts')!r}]))"
    )
    with listening, subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        if end == "stdin":
            process.stdin.close()
        else:
            tell(process, 0, 1)
        assert process.wait(30) == (0 if end == "stdin" else MASTER_GONE)
    assert (tmp_path / "parts" / "0.npy").exists() == lives
    assert (tmp_path / "address").exists() == (lives or kind == "tcp")
