"""The master's side of a cluster of processes."""

from coded_als.master.local import LocalCluster
from coded_als.master.remote import RemoteCluster

__all__ = ["LocalCluster", "RemoteCluster"]
