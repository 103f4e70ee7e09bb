"""Clusters of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from coded_als.cluster import Cluster
from coded_als.experiments.clusters import open_cluster


def cluster_of(options: Mapping[str, Any]) -> AbstractContextManager[Cluster]:
    """The cluster that the options of a command ask for."""
    return open_cluster(
        options["cluster_kind"],
        options["workers"],
        options["delays"],
        options["seed"],
        options["scheduler"],
        options["round_timeout_s"],
    )


def cluster_name(options: Mapping[str, Any]) -> str:
    """What a summary calls that cluster."""
    return str(options["cluster_kind"]) if options["scheduler"] is None else "dask"
