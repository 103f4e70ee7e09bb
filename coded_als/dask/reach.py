"""Requirements on a Dask cluster before workers are started on it: within reach, and of one version."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np

from coded_als.errors import UsageError

# A machine that cannot be reached mostly says nothing at all.
REACH_WITHIN_S = 3.0


def own_address_towards(scheduler: str) -> str:
    """The address of this machine that a scheduler's machine sees.

    Parameters
    ----------
    scheduler
        As ``tcp://10.0.0.1:8786`` or ``tls://...``.
    """
    parts = urlsplit(scheduler)
    if parts.scheme in ("inproc", "") or parts.hostname is None:
        return "127.0.0.1"
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.connect((parts.hostname, parts.port or 8786))  # sends nothing
        return str(probe.getsockname()[0])


def why_unreachable(endpoint: str) -> str:
    """Why this process cannot connect to an endpoint; nothing where it can."""
    transport, _, rest = endpoint.partition("://")
    if transport == "ipc":
        family, place = socket.AF_UNIX, rest
    else:
        host, _, port = rest.rpartition(":")
        family, place = socket.AF_INET, (host, int(port))  # type: ignore[assignment]
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.settimeout(REACH_WITHIN_S)
        try:
            probe.connect(place)
        except OSError as error:
            return str(error)
    return ""


def require_reachable(endpoint: str, reasons: Mapping[str, str]) -> None:
    """`UsageError` unless every Dask worker can connect to the master.

    Parameters
    ----------
    endpoint
        Where the master listens.
    reasons
        `why_unreachable` of each Dask worker, by address.
    """
    failed = {address: reason for address, reason in reasons.items() if reason}
    if failed:
        address, reason = next(iter(failed.items()))
        raise UsageError(
            f"the master at {endpoint} must be reachable from every Dask worker; it is not from {len(failed)} of "
            f"{len(reasons)}, as from {address}: {reason}. Pass advertise=HOST:PORT, an address of this machine that "
            "they can connect to."
        )


def versions() -> dict[str, str]:
    """What client and workers must have in common."""
    import coded_als

    python = ".".join(platform.python_version_tuple()[:2])
    return {"Python": python, "NumPy": np.__version__, "coded-als": coded_als.__version__}


def require_versions(ours: Mapping[str, str], theirs: Mapping[str, Mapping[str, str]]) -> None:
    """`UsageError` unless the Dask workers have the versions of this process.

    Parameters
    ----------
    ours, theirs
        `versions` here, and of each Dask worker by address.
    """
    for address, found in theirs.items():
        for name, version in ours.items():
            if found.get(name) != version:
                raise UsageError(
                    f"the Dask workers must have the versions of this process; got {name} {found.get(name)} at {address} "
                    f"and {version} here. Install the same environment on both."
                )
