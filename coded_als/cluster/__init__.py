"""The seam between the algorithm and its clusters, with the stopping rules and the clusters of this process."""

from coded_als.cluster.rules import (
    AnyOfEach,
    EnoughAndOverdue,
    ErrorEstimator,
    Fastest,
    WellConditioned,
    all_of,
    fastest,
    refusal_of,
    require_satisfiable,
    spared,
)
from coded_als.cluster.seam import (
    Check,
    Cluster,
    Observer,
    Responses,
    Round,
    Status,
    StoppingRule,
    TaskEvent,
    require_stored,
    verdict,
)

__all__ = [
    "AnyOfEach",
    "Check",
    "Cluster",
    "EnoughAndOverdue",
    "ErrorEstimator",
    "Fastest",
    "Observer",
    "Responses",
    "Round",
    "Status",
    "StoppingRule",
    "TaskEvent",
    "WellConditioned",
    "all_of",
    "fastest",
    "refusal_of",
    "require_satisfiable",
    "require_stored",
    "spared",
    "verdict",
]
