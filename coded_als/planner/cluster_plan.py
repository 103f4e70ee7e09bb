"""Does coding pay on a given cluster, and with which code? Every scheme that fits, timed under the same delays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coded_als.delays.streams import require_workers
from coded_als.errors import UsageError
from coded_als.planner.choice import MOST_DRAWS, Candidate, Duel, Race, Verdict, contestants
from coded_als.planner.default import ChosenCode
from coded_als.planner.timing import Workload


@dataclass(frozen=True)
class Plan:
    """The recommended scheme, and its rivals."""

    recommended: Candidate  # the fastest that decodes accurately; without a code where that is within the margin of it
    overall: Duel  # the best code against the best scheme without one
    # the choice of a fit that names no code, its time, and the fastest scheme that takes no more memory; None if it cannot run
    default: tuple[ChosenCode, Candidate] | None
    in_default_memory: Candidate | None
    # the same where a worker may hold, or compute, no more than with each number of copies
    at_equal_memory: tuple[Duel, ...]
    at_equal_work: tuple[Duel, ...]
    # all schemes that can run, fastest first; some are known by a lower bound alone, above the fastest of their kind
    candidates: tuple[Candidate, ...]
    excluded: tuple[tuple[str, str], ...]  # label and reason of those that cannot

    @property
    def verdict(self) -> Verdict:
        return self.overall.verdict


def make_plan(
    workers: int, workload: Workload, *, memory_bytes: float = np.inf, repeats: int = MOST_DRAWS, seed: int = 0
) -> Plan:
    """Time every scheme that fits on W workers.

    Raises UsageError when none can run, or the workers are none or too many.
    """
    require_workers(workers)
    race = Race(workload, contestants(workload.size, workers), memory_bytes=memory_bytes, most_draws=repeats, seed=seed)
    overall = race.duel(race.accurate)
    recommended = race.widened(overall.faster)
    if recommended is None:
        reason = next(iter(race.excluded.values()))
        raise UsageError(f"no code can run on {workers} workers: {reason.rstrip('.')}. Add workers or memory.")
    default = race.default(memory_bytes)
    for name in {candidate.scheme.family.name for candidate in race.bounds}:
        race.fastest(bound for bound in race.bounds if bound.scheme.family.name == name)
    return Plan(
        recommended,
        overall,
        default,
        None if default is None else _fastest_within(race, default[1]),
        _duels(race, _memory),
        _duels(race, _work),
        candidates=tuple(race.known()),
        excluded=tuple((scheme.label, reason) for scheme, reason in race.excluded.items()),
    )


def _fastest_within(race: Race, default: Candidate) -> Candidate | None:
    """The fastest that decodes accurately and stores no more on a worker than the default."""
    return race.fastest(bound for bound in race.accurate if bound.worker_bytes <= default.worker_bytes)


def _memory(candidate: Candidate) -> float:
    return candidate.worker_bytes


def _work(candidate: Candidate) -> float:
    return candidate.worker_operations


def _duels(race: Race, measure: Callable[[Candidate], float]) -> tuple[Duel, ...]:
    """A duel at the use of each number of copies, the most first, between schemes with the fastest solver."""
    solver = race.accurate[0].scheme.solver
    alike = [bound for bound in race.accurate if bound.scheme.solver == solver]
    limits = {measure(bound) for bound in alike if not bound.coded}
    return tuple(
        race.duel([bound for bound in alike if measure(bound) <= limit], limit)
        for limit in sorted(limits, reverse=True)
    )
