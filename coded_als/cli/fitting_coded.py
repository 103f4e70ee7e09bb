"""Fits with codes, on a cluster of their own."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

from coded_als.als import CodedALS, CodedIteration
from coded_als.cli.clusters import cluster_name, cluster_of
from coded_als.cli.common import Progress, progress
from coded_als.cli.fitting import CLUSTER, Fitted
from coded_als.cli.live import looked_at
from coded_als.cli.methods import make_model
from coded_als.cli.recordings import recorders_on
from coded_als.cli.summaries import coded_summary
from coded_als.data import RatingData
from coded_als.models.checkpoint import Checkpoint


def fit_coded(data: RatingData, options: dict[str, Any], checkpoint: Checkpoint | None) -> Fitted:
    """Fit `CodedALS` on a cluster of its own.

    Parameters
    ----------
    data
        The ratings.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.
    """
    parameters = {name: value for name, value in options.items() if name not in CLUSTER}
    parameters["solver"] = parameters["solver"] or ("als" if parameters["protocol"] == "paper" else "lobpcg")
    model = make_model("coded", parameters)
    assert isinstance(model, CodedALS)
    model.plan(data.matrix, options["workers"])
    started = time.perf_counter()
    with (
        progress("starting workers") if not options["live"] else nullcontext(Progress(None)) as line,
        cluster_of(options) as cluster,
        looked_at(model, data.shape, cluster, options) as status,
    ):
        recorders = recorders_on(cluster, options)
        line.say("giving out the data")

        def tell(entry: CodedIteration) -> None:
            line.iteration(entry)
            if status is not None:
                status.iteration(entry)

        model.fit(data.matrix, cluster, callback=tell, checkpoint=checkpoint)
        virtual_s = cluster.seconds() if cluster.virtual else None
    summary = coded_summary(model, data, options["workers"], time.perf_counter() - started)
    summary.update(
        {
            "cluster": cluster_name(options),
            "delays": options["delays"],
            "virtual_seconds": virtual_s,
            "clock_of_seconds_per_iteration": "virtual" if virtual_s is not None else "wall",
        }
    )
    return Fitted(model, summary, recorders)
