"""The master's side of a cluster of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coded_als.lazy import lazily, public_names

# Loaded on first use: a cluster on this machine needs no keys.
_HOMES = {
    "coded_als.master.local": "LocalCluster",
    "coded_als.master.remote": "RemoteCluster",
}
__all__ = public_names(_HOMES)

if TYPE_CHECKING:
    from coded_als.master.local import LocalCluster as LocalCluster
    from coded_als.master.remote import RemoteCluster as RemoteCluster

__getattr__ = lazily(__name__, _HOMES)
