"""Clusters on Dask: its workers start ours, and its data frames feed them (extra ``dask``)."""

from coded_als.dask.cluster import DaskCluster

__all__ = ["DaskCluster"]
