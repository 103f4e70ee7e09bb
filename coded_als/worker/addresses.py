"""Addresses of masters: private ones, the machines that reach one, a test for a listener, the remains of a killed master."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import tempfile
from contextlib import ExitStack
from urllib.parse import urlsplit

# How long a connection to a master may take, where it is only asked whether there is one.
LISTENS_WITHIN_S = 2.0
# The longest path that a Unix socket may have, on the systems that allow least.
MOST_PATH_CHARACTERS = 100


def is_deserted(endpoint: str) -> bool:
    """Whether no process listens at an address any more, for certain: its machine says so."""
    try:
        if endpoint.startswith("ipc://"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(endpoint.removeprefix("ipc://"))
        else:
            parts = urlsplit(endpoint)
            socket.create_connection((parts.hostname or "", parts.port or 0), LISTENS_WITHIN_S).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except (OSError, ValueError):  # it cannot be reached just now, which says nothing
        return False
    return False


def remove_address(endpoint: str) -> None:
    """Remove the socket of a master that was killed, and the folder that it made for it."""
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        with contextlib.suppress(OSError):
            os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))


def is_on_this_machine(bind: str) -> bool:
    """Whether only processes of this machine can connect to an address."""
    transport, _, rest = bind.partition("://")
    if transport == "ipc":
        return True
    host = rest.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, an interface or a star
        return False


def private_address(resources: ExitStack) -> str:
    """A Unix socket in a folder that only this user may enter, so that other users cannot even connect."""
    folder = tempfile.mkdtemp(prefix="coded-als-")
    resources.callback(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "master")
    return f"ipc://{path}" if len(path) <= MOST_PATH_CHARACTERS else "tcp://127.0.0.1:*"
