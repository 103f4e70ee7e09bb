"""A plan as one JSON-able document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TypedDict

from coded_als.als.choice import MARGIN, Candidate, Duel, Verdict
from coded_als.als.statistics import Estimate
from coded_als.als.timing import Workload
from coded_als.experiments.plan.plan import Plan
from coded_als.experiments.plan.telling import assumptions, fit_command


class CandidateRow(TypedDict):
    """A candidate as columns; those of its scheme first."""

    label: str
    code: str
    workers: int
    partitions: int | None
    protocol: str
    solver: str
    rows: bool
    virtual_seconds_mean: float
    virtual_seconds_low95: float | None
    virtual_seconds_high95: float | None
    virtual_seconds_are_uncertain: bool
    virtual_seconds_are_a_lower_bound: bool
    startup_seconds: float
    master_seconds: float
    worker_storage_bytes: int
    worker_operations: float


class Speedup(TypedDict):
    """How many times as fast the code is; without an interval where the draws do not suffice for one."""

    ratio: float
    low95: float | None
    high95: float | None


class DuelRow(TypedDict):
    """The best with a code against the best without, none of which uses more than ``at_most`` of what is ``limited``."""

    limited: str
    at_most: float
    verdict: Verdict
    draws_needed: int | None
    without_a_code: CandidateRow | None
    with_a_code: CandidateRow | None
    speedup: Speedup | None


class Exclusion(TypedDict):
    """A scheme that cannot run, and why."""

    label: str
    reason: str


class PlanDocument(TypedDict):
    """What ``plan --json`` prints."""

    verdict: Verdict
    draws: int
    draws_needed: int | None
    rounds_recorded: int | None
    unseen_share: float
    margin: float
    workers: int
    size: dict[str, Any]
    machine: dict[str, Any]
    iterations: dict[str, int]
    delays: str
    recommended: CandidateRow
    command: str
    speedup_of_the_best_code: Speedup | None
    at_equal_memory: list[DuelRow]
    at_equal_work: list[DuelRow]
    candidates: list[CandidateRow]
    excluded: list[Exclusion]
    assumptions: list[str]


def plan_document(plan: Plan, workers: int, workload: Workload) -> PlanDocument:
    """The plan as one JSON-able document.

    Parameters
    ----------
    plan
        The plan.
    workers
        W.
    workload
        The problem, the delays and the machine.
    """
    return {
        "verdict": plan.verdict,
        "draws": len(plan.recommended.sampling),
        "draws_needed": plan.overall.draws_needed,
        "rounds_recorded": plan.recommended.sampling.rounds or None,
        "unseen_share": plan.overall.unseen,
        "margin": MARGIN,
        "workers": workers,
        "size": asdict(workload.size),
        "machine": asdict(workload.machine),
        "iterations": asdict(workload.iterations),
        "delays": str(workload.delays),
        "recommended": candidate_row(plan.recommended),
        "command": fit_command(plan.recommended, workload),
        "speedup_of_the_best_code": _speedup(plan.overall),
        "at_equal_memory": [_duel_row(duel, "worker_storage_bytes") for duel in plan.at_equal_memory],
        "at_equal_work": [_duel_row(duel, "worker_operations") for duel in plan.at_equal_work],
        "candidates": [candidate_row(candidate) for candidate in plan.candidates],
        "excluded": [{"label": label, "reason": reason} for label, reason in plan.excluded],
        "assumptions": assumptions(workload),
    }


def candidate_row(candidate: Candidate) -> CandidateRow:
    """A candidate as columns."""
    estimate, scheme = candidate.estimate, candidate.scheme
    return {
        "label": scheme.label,
        "code": scheme.code,
        "workers": scheme.workers,
        "partitions": scheme.partitions,
        "protocol": scheme.protocol,
        "solver": scheme.solver,
        "rows": scheme.rows,
        "virtual_seconds_mean": estimate.value,
        "virtual_seconds_low95": estimate.low if estimate.is_random else None,
        "virtual_seconds_high95": estimate.high if estimate.is_random else None,
        "virtual_seconds_are_uncertain": estimate.low is None,
        "virtual_seconds_are_a_lower_bound": candidate.at_least,
        "startup_seconds": candidate.startup_s,
        "master_seconds": candidate.master_s,
        "worker_storage_bytes": candidate.worker_bytes,
        "worker_operations": candidate.worker_operations,
    }


def _speedup(duel: Duel) -> Speedup | None:
    speedup: Estimate | None = duel.speedup
    return None if speedup is None else {"ratio": speedup.value, "low95": speedup.low, "high95": speedup.high}


def _duel_row(duel: Duel, limited: str) -> DuelRow:
    return {
        "limited": limited,
        "at_most": duel.limit,
        "verdict": duel.verdict,
        "draws_needed": duel.draws_needed,
        "without_a_code": None if duel.plain is None else candidate_row(duel.plain),
        "with_a_code": None if duel.coded is None else candidate_row(duel.coded),
        "speedup": _speedup(duel),
    }
