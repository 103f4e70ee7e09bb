"""Summaries of fits: what ``fit --json`` prints."""

from __future__ import annotations

from typing import Any, Protocol, TypedDict

from coded_als.als import CodedALS
from coded_als.als.convergence import Outcome
from coded_als.codes import parse_code


class FitSummary(TypedDict, total=False):
    """What a fit came to: of every method down to ``model``, of a cluster, of codes, and of the other methods."""

    method: str
    ratings: str
    read: dict[str, Any]
    m: int
    n: int
    rank: int
    regularization: float
    seed: int
    iterations: int
    objective: float | None
    converged: bool | None
    seconds: float
    seconds_per_iteration: float
    model: str | None

    workers: int
    cluster: str
    delays: str
    policy: str
    virtual_seconds: float | None
    clock_of_seconds_per_iteration: str

    solver: str
    code: str
    precomputation: str
    protocol: str
    weighting: str
    recovery_threshold: int
    share_per_worker: float
    rounds: int
    outcome: Outcome
    remaining: float
    left_out: tuple[int, ...]
    max_error_estimate: float
    responses_per_round: list[int]

    last_change: float | None


class Described(Protocol):
    """Ratings as far as a summary tells of them."""

    @property
    def source(self) -> str:
        """What was read, for people."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Users m and items n."""
        ...


def coded_summary(model: CodedALS, data: Described, workers: int, seconds: float) -> FitSummary:
    """What a fit with codes came to.

    Parameters
    ----------
    model
        Fitted.
    data
        The ratings.
    workers
        W.
    seconds
        Wall seconds of the fit.
    """
    code, summary = parse_code(model.code_), _summary(model, data, seconds)
    summary.update(
        {
            "solver": model.solver,
            "code": model.code_,
            "precomputation": model.precomputation_,
            "protocol": model.protocol,
            "weighting": model.weighting,
            "workers": workers,
            "recovery_threshold": code.threshold(workers),
            "share_per_worker": code.share(workers),
            "rounds": len(model.rounds_),
            "converged": model.converged_,
            "outcome": model.outcome_,
            "remaining": model.history_[-1].remaining,
            "objective": model.objective_,
            "seconds_per_iteration": sum(entry.seconds for entry in model.history_) / len(model.history_),
            "left_out": model.left_out_,
            "max_error_estimate": max(record.error_estimate for record in model.rounds_),
            "responses_per_round": [record.responses for record in model.rounds_],
        }
    )
    return summary


def sparse_summary(model: Any, data: Described, seconds: float) -> FitSummary:
    """What a fit of another method came to.

    Parameters
    ----------
    model
        Fitted.
    data
        The ratings.
    seconds
        Wall seconds of the fit.
    """
    summary = _summary(model, data, seconds)
    summary["last_change"] = _last_change([entry.objective for entry in model.history_])
    return summary


def _summary(model: Any, data: Described, seconds: float) -> FitSummary:
    return {
        "method": model.kind,
        "ratings": data.source,
        "m": data.shape[0],
        "n": data.shape[1],
        "rank": model.rank,
        "regularization": model.regularization,
        "seed": model.seed,
        "iterations": len(model.history_),
        "objective": model.history_[-1].objective,
        # methods without codes run the iterations they are given, and nothing proves that more would change nothing
        "converged": None,
        "seconds": seconds,
        "seconds_per_iteration": seconds / len(model.history_),
    }


def _last_change(objectives: list[float]) -> float | None:
    """What the last iteration changed of the objective, relative to it."""
    if len(objectives) < 2:
        return None
    before, after = objectives[-2:]
    return abs(before - after) / abs(after) if after else None
