"""Does coding pay on a given cluster, and with which code? Every scheme that fits, timed under the same delays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coded_als.als.choice import MARGIN, REPEATS, Candidate, Race, contestants
from coded_als.als.schemes import Scheme
from coded_als.als.timing import Workload
from coded_als.delays import require_workers
from coded_als.errors import UsageError
from coded_als.experiments.plan.timing import ratio_and_interval

Verdict = Literal["coding pays", "coding does not pay", "no clear difference"]
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Duel:
    """The best scheme with a code against the best without one, where neither may use more than a limit of something.

    Parameters
    ----------
    limit
        Of each worker: bytes of storage, or multiplications in an iteration.
    plain, coded
        The fastest of each kind; None where none can run within the limit.
    """

    limit: float
    plain: Candidate | None
    coded: Candidate | None

    @property
    def speedup(self) -> Interval | None:
        """How many times as fast the code is, with its 95 % interval."""
        if self.plain is None or self.coded is None:
            return None
        return ratio_and_interval(self.plain.totals_s, self.coded.totals_s)

    @property
    def verdict(self) -> Verdict:
        """Coding pays when it is faster by the margin or more, with 95 % confidence."""
        if self.coded is None:
            return "coding does not pay"
        if self.plain is None or self.speedup is None:
            return "coding pays"
        _, low, high = self.speedup
        if low >= 1 + MARGIN:
            return "coding pays"
        return "coding does not pay" if high < 1 + MARGIN else "no clear difference"


@dataclass(frozen=True)
class Plan:
    """What is recommended, and what it was compared with.

    Parameters
    ----------
    recommended
        The fastest that decodes accurately; without a code where that is within the margin of it.
    overall
        The best code against the best scheme without one.
    at_equal_memory, at_equal_work
        The same where a worker may hold, or compute, no more than with each number of copies.
    candidates
        All schemes that can run, fastest first; some are known by a lower bound alone, above the fastest of their kind.
    excluded
        Label and reason of those that cannot.
    """

    recommended: Candidate
    overall: Duel
    at_equal_memory: tuple[Duel, ...]
    at_equal_work: tuple[Duel, ...]
    candidates: tuple[Candidate, ...]
    excluded: tuple[tuple[str, str], ...]

    @property
    def verdict(self) -> Verdict:
        return self.overall.verdict


def make_plan(
    workers: int, workload: Workload, *, memory_bytes: float = np.inf, repeats: int = REPEATS, seed: int = 0
) -> Plan:
    """Time every scheme that fits on W workers.

    Parameters
    ----------
    workers
        W.
    workload
        What is run where, under which delays.
    memory_bytes
        The most that a worker can hold.
    repeats, seed
        Repetitions, each with delays of its own.

    Raises
    ------
    UsageError
        When none can run, or the workers are none or too many.
    """
    require_workers(workers)
    race = Race(workload, contestants(workload.size, workers), memory_bytes=memory_bytes, repeats=repeats, seed=seed)
    recommended = race.chosen()
    if recommended is None:
        reason = next(iter(race.excluded.values()))
        raise UsageError(
            f"some scheme must be able to run on {workers} workers; none is ({reason}). Add workers or memory."
        )
    for name in {candidate.scheme.family.name for candidate in race.bounds}:
        race.fastest(bound for bound in race.bounds if bound.scheme.family.name == name)
    return Plan(
        recommended,
        _duel(race, race.accurate, np.inf, _memory),
        _duels(race, _memory),
        _duels(race, _work),
        candidates=tuple(race.known()),
        excluded=tuple((scheme.label, reason) for scheme, reason in race.excluded.items()),
    )


def _memory(candidate: Candidate) -> float:
    return candidate.worker_bytes


def _work(candidate: Candidate) -> float:
    return candidate.worker_operations


def _duels(race: Race, measure: Callable[[Candidate], float]) -> tuple[Duel, ...]:
    """A duel at what each number of copies uses, the most first, between schemes with the solver that is fastest."""
    solver = race.accurate[0].scheme.solver
    alike = [bound for bound in race.accurate if bound.scheme.solver == solver]
    limits = {measure(bound) for bound in alike if _is_plain(bound.scheme)}
    return tuple(_duel(race, alike, limit, measure) for limit in sorted(limits, reverse=True))


def _duel(race: Race, among: Sequence[Candidate], limit: float, measure: Callable[[Candidate], float]) -> Duel:
    within = [bound for bound in among if measure(bound) <= limit]
    plain = race.fastest(bound for bound in within if _is_plain(bound.scheme))
    coded = race.fastest(bound for bound in within if not _is_plain(bound.scheme))
    return Duel(limit, plain, coded)


def _is_plain(scheme: Scheme) -> bool:
    return not scheme.family.coded
