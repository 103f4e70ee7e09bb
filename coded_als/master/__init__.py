"""The master's side of a cluster of processes."""

from coded_als.master.local import LocalCluster

__all__ = ["LocalCluster"]
