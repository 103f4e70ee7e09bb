"""The process around a worker's loop: its socket, and the end of its stdin."""

from __future__ import annotations

import os
import resource
import secrets
import sys
import threading
from collections.abc import Callable

import numpy as np
import zmq
from zmq.utils.garbage import gc

from coded_als.errors import UsageError
from coded_als.wire import SharedMemoryView
from coded_als.worker.credentials import Credentials
from coded_als.worker.loop import Worker
from coded_als.worker.parts import PartFolder
from coded_als.worker.turns import Turn

HEARTBEAT_MS = 2000
HEARTBEAT_TIMEOUT_MS = 10_000


def run_worker(
    worker: int,
    endpoint: str,
    credentials: Credentials,
    parent_lives: Callable[[], bool] = lambda: True,
    remote: bool = False,
    memory_limit_bytes: int | None = None,
    parts: PartFolder | None = None,
    turn: Turn | None = None,
    memory: str = "",
) -> str:
    """Connect one worker and let it work; the master's reason for ending it, empty where it gave none.

    Its number may be `coded_als.wire.ANY_NUMBER`.

    Raises UsageError for an endpoint that is no address.
    """
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    # the routing id of one life of one process: a restarted worker is not mistaken for its predecessor
    socket.setsockopt(zmq.ROUTING_ID, b"w" + secrets.token_bytes(15))
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    if memory_limit_bytes is not None:
        # before a larger frame is received the connection is dropped; any other growth beyond it fails
        socket.setsockopt(zmq.MAXMSGSIZE, memory_limit_bytes)
    monitor = None
    if remote:
        watched = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        monitor = socket.get_monitor_socket(watched)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    if credentials.server_key:
        socket.curve_serverkey = credentials.server_key
        secret_key = credentials.secret_key or zmq.curve_keypair()[1]
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_public(secret_key), secret_key
    else:
        socket.plain_username, socket.plain_password = str(worker).encode(), credentials.password
    try:
        _connect(socket, endpoint)
        if memory_limit_bytes is not None:
            limit_memory(memory_limit_bytes)
        process = os.getpid()
        shared = SharedMemoryView.open(memory) if memory else None
        return Worker(socket, worker, credentials.job, process, parent_lives, monitor, parts, turn, shared).serve()
    finally:
        context.destroy(linger=0)


def _connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise UsageError(
            f"endpoint must be the master's address, like tcp://HOST:PORT; got {endpoint!r}: {error}."
        ) from None


def limit_memory(limit_bytes: int) -> None:
    """Limit the memory of this process to this much more than it has now."""
    # BLAS and ZeroMQ take memory with the first large product and message: both end the process where they get none
    square = np.ones((256, 256))
    square @ square
    gc.start()
    has_bytes = 0
    if sys.platform == "linux":
        try:
            with open("/proc/self/statm") as file:
                has_bytes = int(file.read().split()[0]) * resource.getpagesize()
        except OSError as error:
            raise UsageError(
                f"a limit of memory must be counted from the worker's present memory; {error.filename} cannot be read "
                f"({error.strerror}). Mount /proc, or start the worker without --memory-limit."
            ) from None
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = has_bytes + limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def end_with_stdin() -> None:
    """Let this process die as soon as the holder of the other end of its stdin does."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
