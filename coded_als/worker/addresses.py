"""Addresses of masters, as their workers see them: whether anybody listens there, and what is left of one that was killed."""

from __future__ import annotations

import contextlib
import os
import socket
from urllib.parse import urlsplit

# How long a connection to a master may take, where it is only asked whether there is one.
LISTENS_WITHIN_S = 2.0


def is_deserted(endpoint: str) -> bool:
    """Whether nobody listens at an address any more, for certain: its machine says so."""
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
