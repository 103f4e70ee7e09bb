"""The local fleet: deaths at one moment, masters that leave copies of themselves, processes that are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from coded_als.master.link import Link
from coded_als.wire import decode
from coded_als.worker.credentials import Credentials
from tests.master.processes import all_end_within, is_running

FLEET = """
import os, signal, sys
from coded_als.worker.__main__ import main
{before}
sys.exit(main(["--fleet", "{workers}", "--endpoint", "{endpoint}"]))
"""


@contextmanager
def fleet_of(workers: int, before: str = "") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A fleet by itself, and the process ids of its workers."""
    credentials = Credentials(b"job")
    link = Link("tcp://127.0.0.1:*", credentials.password)
    code = FLEET.format(before=before, workers=workers, endpoint=link.endpoint)
    fleet = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert fleet.stdin is not None
        fleet.stdin.write(credentials.text())
        fleet.stdin.flush()
        process_ids: dict[int, int] = {}
        deadline = time.monotonic() + 20
        while len(process_ids) < workers and fleet.poll() is None and time.monotonic() < deadline:
            frames = link.receive(0.1)
            if frames is not None:
                hello = decode(frames[1:])
                process_ids[hello.worker] = hello.process_id
        yield fleet, [process_ids[worker] for worker in sorted(process_ids)]
    finally:
        fleet.kill()
        fleet.__exit__(None, None, None)
        link.close()


def test_a_fleet_ends_with_its_stdin() -> None:
    with fleet_of(3) as (fleet, process_ids):
        assert len(process_ids) == 3
        assert fleet.stdin is not None
        fleet.stdin.close()
        assert fleet.wait(5) == 0
        assert not any(map(is_running, process_ids))


def test_a_death_while_another_is_dealt_with_takes_nobody_along() -> None:
    again = (
        "waitpid = os.waitpid\nos.waitpid = lambda *given: (signal.raise_signal(signal.SIGCHLD), waitpid(*given))[1]"
    )
    with fleet_of(6, before=again) as (fleet, process_ids):
        for process_id in process_ids[:4]:
            os.kill(process_id, signal.SIGKILL)
        # gone, and not as zombies: the fleet has dealt with all of them
        deadline = time.monotonic() + 5
        while any(map(exists, process_ids[:4])) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not any(map(exists, process_ids[:4]))
        assert fleet.poll() is None
        assert all(map(is_running, process_ids[4:]))


def exists(process_id: int) -> bool:
    """Whether a process is there, a zombie too."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


MASTER = """
import os, subprocess, sys
from coded_als.master import LocalCluster
cluster = LocalCluster(2)
print(*cluster.process_ids.values(), flush=True)
if os.fork() == 0:
    os.close(1)
    os.read(0, 1)
    os._exit(0)
os.kill(os.getpid(), 9)
"""


def test_a_forked_copy_of_a_killed_master_keeps_nobody_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", MASTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as master:
        assert master.stdout is not None
        process_ids = [int(word) for word in master.stdout.readline().split()]
        assert master.wait(10) == -signal.SIGKILL
        assert len(process_ids) == 2
        assert all_end_within(process_ids, 4.0)


def test_a_system_that_refuses_processes_is_a_clear_error() -> None:
    before = "def refuse(): raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = refuse"
    with fleet_of(2, before) as (fleet, process_ids):
        assert process_ids == []
        assert fleet.stderr is not None
        assert "Lower workers or raise the limit (ulimit -u)" in fleet.stderr.read()
        assert fleet.wait(5) == 2
