"""Fits of the command line: on a cluster of their own, with codes or policies, or in this process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from coded_als.cli.common import progress
from coded_als.cli.methods import make_model
from coded_als.cli.recordings import Recordings
from coded_als.cli.summaries import FitSummary, sparse_summary
from coded_als.data import RatingData
from coded_als.models.checkpoint import Checkpoint

# the options that every method takes; the others steer the coded method or its cluster
COMMON = ("rank", "regularization", "iterations", "seed")
CHECKPOINT = ("checkpoint", "checkpoint_every", "resume")
CLUSTER = (
    "workers",
    "cluster_kind",
    "scheduler",
    "delays",
    "round_timeout_s",
    "record_trace",
    "trace",
    "live",
    "serve",
    "policy",
)
# methods whose half-steps a policy may spread over the workers, and the options that steer that
ON_CLUSTER = ("ridge", "implicit")
SHARDS = (
    "policy",
    "workers",
    "cluster_kind",
    "scheduler",
    "delays",
    "round_timeout_s",
    "verify",
    "record_trace",
    "trace",
)


@dataclass(frozen=True)
class Fitted:
    """A fitted model, what it came to, and what was recorded meanwhile."""

    model: Any
    summary: FitSummary
    recorders: Recordings = field(default_factory=list)


def fit_sparse(data: RatingData, method: str, options: dict[str, Any], checkpoint: Checkpoint | None) -> Fitted:
    """Fit one of the other methods in this process.

    Parameters
    ----------
    data
        The ratings.
    method
        Which of the other methods.
    options
        Those of the command, by parameter.
    checkpoint
        Where its state goes, or None.
    """
    model: Any = make_model(method, {name: options[name] for name in COMMON})
    started = time.perf_counter()
    with progress(f"fitting {method}") as line:
        model.fit(data.matrix, callback=line.iteration, checkpoint=checkpoint)
    return Fitted(model, sparse_summary(model, data, time.perf_counter() - started))
