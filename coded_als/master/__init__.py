"""The master's side of a cluster of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily

# Loaded on first use: a cluster on this machine needs no keys.
_HOMES = {
    "LocalCluster": "coded_als.master.local",
    "RemoteCluster": "coded_als.master.remote",
}
__all__ = ["LocalCluster", "RemoteCluster"]

if TYPE_CHECKING:
    from coded_als.master.local import LocalCluster
    from coded_als.master.remote import RemoteCluster

__getattr__ = lazily(__name__, _HOMES)
