"""What surrounds the loop: the socket of one worker, and a fleet of forked ones."""

from __future__ import annotations

import ctypes
import gc
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import zmq

from coded_als.worker.credentials import Credentials
from coded_als.worker.loop import Worker

HEARTBEAT_MS = 2000
HEARTBEAT_TIMEOUT_MS = 10_000


def run_worker(
    worker: int, endpoint: str, credentials: Credentials, parent_lives: Callable[[], bool] = lambda: True
) -> str:
    """Connect one worker and let it work; the master's reason for ending it, empty where it gave none."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    # the routing id of one life of one process: a restarted worker is not mistaken for its predecessor
    socket.setsockopt(zmq.ROUTING_ID, b"w" + secrets.token_bytes(15))
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    if credentials.server_key:
        socket.curve_serverkey = credentials.server_key
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.connect(endpoint)
    try:
        return Worker(socket, worker, credentials.job, os.getpid(), parent_lives).serve()
    finally:
        context.destroy(linger=0)


def run_fleet(workers: int, endpoint: str) -> None:
    """Start local workers and end them when stdin does, which is when the master closes or dies."""
    credentials = Credentials.read(sys.stdin)
    if hasattr(os, "fork"):
        _run_forked(workers, endpoint, credentials)
    else:
        _run_spawned(workers, endpoint, credentials)


def end_with_stdin() -> None:
    """Let this process die as soon as whoever holds the other end of its stdin does."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _run_forked(workers: int, endpoint: str, credentials: Credentials) -> None:
    gc.freeze()  # the children share the parent's pages, and a collection would copy them
    fleet = os.getpid()
    children: set[int] = set()
    for worker in range(workers):
        child = os.fork()
        if child == 0:
            _be_a_child(fleet, worker, endpoint, credentials)
        children.add(child)

    def reap(*_: object) -> None:
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.discard(child)

    signal.signal(signal.SIGCHLD, reap)
    reap()
    sys.stdin.read()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)


def _be_a_child(fleet: int, worker: int, endpoint: str, credentials: Credentials) -> None:
    """Everything that a forked worker does; never returns."""
    status = 1
    try:
        # not stdin: the fleet alone must hold its end of the master's pipe
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if sys.platform == "linux":
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        run_worker(worker, endpoint, credentials, parent_lives=lambda: os.getppid() == fleet)
        status = 0
    except BaseException as error:
        print(f"worker {worker}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _run_spawned(workers: int, endpoint: str, credentials: Credentials) -> None:
    """One interpreter per worker, each with a pipe on its stdin that ends with this process."""
    command = [sys.executable, "-P", "-m", "coded_als.worker", "--endpoint", endpoint, "--key-file", "-", "--id"]
    children = [
        subprocess.Popen([*command, str(worker)], stdin=subprocess.PIPE, text=True) for worker in range(workers)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(credentials.text())
        child.stdin.flush()
    sys.stdin.read()
    for child in children:
        child.kill()
    for child in children:
        child.wait()
