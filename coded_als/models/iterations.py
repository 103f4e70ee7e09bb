"""Iterations of a fit, one record each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Iteration:
    """One iteration of a fit.

    Parameters
    ----------
    index
        1, 2, 3, ...
    objective
        What the model minimises, regularisation included, where that is cheap; a running estimate for the
        stochastic models (each says of what).
    seconds
        Seconds that it took, on the wall or, on a cluster, on the cluster's clock.
    """

    index: int
    objective: float
    seconds: float
