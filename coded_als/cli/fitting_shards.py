"""Fits with the half-steps on the workers of a cluster, under a straggler policy."""

from __future__ import annotations

import time
from typing import Any

from coded_als.cli.clusters import cluster_name, cluster_of
from coded_als.cli.common import progress
from coded_als.cli.fitting import COMMON, Fitted
from coded_als.cli.methods import make_model
from coded_als.cli.recordings import recorders_on
from coded_als.cli.summaries import sparse_summary
from coded_als.data import RatingData
from coded_als.models.checkpoint import Checkpoint


def fit_shards(data: RatingData, method: str, options: dict[str, Any], checkpoint: Checkpoint | None) -> Fitted:
    """Fit one of the ALS models with its half-steps on the workers of a cluster, under a straggler policy.

    Parameters
    ----------
    data
        The ratings.
    method
        One of `ON_CLUSTER`.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.
    """
    from coded_als.baselines import fit_on_cluster
    from coded_als.baselines.policies import parse_policy

    policy = parse_policy(options["policy"])
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    if method == "ridge":
        model.biases = False  # the workers' half-steps know none
    workers = options["workers"]
    policy.shards(workers)
    started = time.perf_counter()
    with progress("starting workers") as line, cluster_of(options) as cluster:
        recorders = recorders_on(cluster, options)
        told: dict[str, Any] = {"callback": line.iteration, "checkpoint": checkpoint}
        fit_on_cluster(model, data.matrix, cluster, policy, verify=options["verify"], **told)
        clock = "virtual" if cluster.virtual else "wall"
    summary = sparse_summary(model, data, time.perf_counter() - started)
    summary.update(
        {
            "policy": options["policy"],
            "workers": workers,
            "cluster": cluster_name(options),
            "delays": options["delays"],
            "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
            "clock_of_seconds_per_iteration": clock,
        }
    )
    return Fitted(model, summary, recorders)
