"""The choice of a code, and plans: every scheme that fits on a cluster, timed under its delays, and the fastest of them.

Every scheme has a lower bound that costs nothing to compute: with its threshold of responses a round cannot end. Schemes
are timed in the order of their bounds, and a scheme with a bound above the fastest is left at its bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.arrays import Array
from coded_als.cluster.machine import Machine
from coded_als.codes import CODES, Entangled, Replicated, Systematic, Uncoded
from coded_als.delays.models import DelayModel, NoDelay, Trace, traces_of
from coded_als.delays.streams import require_workers
from coded_als.errors import UsageError, readable
from coded_als.planner.default import ChosenCode, affordable, default_choice
from coded_als.planner.schemes import Scheme, Size, holds_gram
from coded_als.planner.solvers import SOLVERS, default_solver, solvers_of
from coded_als.planner.statistics import Estimate, Sampling
from coded_als.planner.timing import (
    DRAWN_ITERATIONS,
    DelayDraws,
    Infeasible,
    Workload,
    draws_of,
    least_iteration_seconds,
    repetition_seed,
    require_decodable,
    sampled_iteration_seconds,
)

# A scheme without a code is taken when it is within this of the fastest: less than that no model of a cluster can tell.
MARGIN = 0.05
# A code is not chosen if its products may have a larger relative error: a fit to the default tolerance could not prove
# it.
ACCURATE = 1e-10
# Up to the first number of workers the error estimate of a code is evaluated in every draw; up to the second in so many of the
# first draws, and in twice as many of four times the draws; beyond, a round waits for the average number of responses.
CHEAP_WORKERS, EXACT_WORKERS, EXACT_DRAWS = 16, 60, 200
# Draws of every scheme, and the most of two that these do not distinguish: they are drawn anew, four times as many each
# time.
DRAWS, MOST_DRAWS, MORE = 400, 6400, 4

# Share of tasks of a recording, longer than any that was finished, up to which a code is said not to pay.
MOST_UNSEEN = 0.02

Verdict = Literal["coding pays", "coding does not pay", "cannot tell yet"]


@dataclass(frozen=True)
class Candidate:
    """A scheme and its expected time."""

    scheme: Scheme
    totals_s: Array  # seconds of a whole fit by each draw, start-up included, (draws,)
    sampling: Sampling  # how the draws were made: they do not count the same
    startup_s: float  # seconds before the first iteration
    master_s: float  # seconds of the master's own arithmetic over all iterations
    worker_bytes: int  # storage of one worker
    worker_operations: float  # multiplications of one worker in an iteration
    at_least: bool = False  # whether the seconds are a lower bound

    @property
    def mean_s(self) -> float:
        return self.sampling.mean(self.totals_s)

    @property
    def estimate(self) -> Estimate:
        """The mean with its 95 % interval."""
        return self.sampling.estimate(self.totals_s)

    @property
    def coded(self) -> bool:
        """Whether it uses a code; none and copies are no code."""
        return self.scheme.family.coded


@dataclass(frozen=True)
class Duel:
    """The best scheme with a code against the best without one, where neither may use more than a limit of something."""

    limit: float  # of each worker: bytes of storage, or multiplications in an iteration
    # the fastest of each kind, under the same delays; None where none can run within the limit
    plain: Candidate | None
    coded: Candidate | None
    # of a recording the share of tasks that were broken off later than any that was finished. A scheme without a code
    # would have waited for them, for an unknown time.
    unseen: float = 0.0

    @property
    def speedup(self) -> Estimate | None:
        """The ratio of times without and with the code, with its 95 % interval."""
        if self.plain is None or self.coded is None:
            return None
        return self.coded.sampling.ratio(self.plain.totals_s, self.coded.totals_s)

    @property
    def verdict(self) -> Verdict:
        """Coding pays when it is faster by the margin or more, with 95 % confidence."""
        if self.coded is None:
            return "coding does not pay"
        speedup = self.speedup
        if speedup is None:
            return "coding pays"
        if speedup.low is not None and speedup.low >= 1 + MARGIN:
            return "coding pays"
        is_below = speedup.high is not None and speedup.high < 1 + MARGIN
        return "coding does not pay" if is_below and not self.is_blind else "cannot tell yet"

    @property
    def is_blind(self) -> bool:
        """Whether a recording has too few long delays to show that a code does not pay."""
        return self.unseen > MOST_UNSEEN

    @property
    def faster(self) -> Candidate | None:
        """The candidate to take: the code where it is faster by more than the margin, as far as is known."""
        if self.plain is None or self.speedup is None:
            return self.plain or self.coded
        return self.coded if self.speedup.value > 1 + MARGIN else self.plain

    @property
    def draws_needed(self) -> int | None:
        """Estimated number of draws, or rounds of a recording, for a verdict.

        None if there is a verdict, or if no number is enough.
        """
        if self.coded is None or self.speedup is None or self.verdict != "cannot tell yet":
            return None
        if self.speedup.high is not None and self.speedup.high < 1 + MARGIN:
            return None
        sampling = self.coded.sampling
        return self.speedup.draws_to_tell_from(1 + MARGIN, sampling.rounds or len(sampling))


def schemes(
    workers: int, solvers: Sequence[str] | None = None, *, formed: bool = True, sparse: bool = False
) -> Iterator[Scheme]:
    """Every member of every family of codes that the workers allow, with each protocol and solver (all, unless given)."""
    solvers = tuple(SOLVERS) if solvers is None else solvers
    if sparse:
        copies = (code for family in (Uncoded, Replicated) for code in family.candidates(workers))
        yield from (Scheme(code.spec, workers, solver=solver, rows=True) for code in copies for solver in solvers)
    if not formed:
        return
    for family in CODES.values():
        for code in family.candidates(workers):
            if code == Systematic(workers) and workers > 1:
                continue  # plain blocks alone: no code, and no worker to spare
            yield from (Scheme(code.spec, workers, solver=solver) for solver in solvers)
            if isinstance(code, Entangled) and code.h:
                able = (solver for solver in solvers_of("paper") if solver in solvers)
                yield from (Scheme(code.spec, workers, protocol="paper", solver=solver) for solver in able)


class Race:
    """The candidates of one cluster; seconds are drawn on demand, with the same delays for all.

    ``workload``: the problem, the machines and the delays; ``contestants``: the schemes, all for the same number of
    workers; ``memory_bytes``: the most that a worker can hold; ``draws, seed``: draws of every scheme, the same for
    all; ``most_draws``: the most draws of two that are compared.
    """

    def __init__(
        self,
        workload: Workload,
        contestants: Iterable[Scheme],
        *,
        memory_bytes: float = np.inf,
        draws: int = DRAWS,
        most_draws: int = MOST_DRAWS,
        seed: int = 0,
    ) -> None:
        self._workload = workload
        self._draws: dict[tuple[int, int], DelayDraws] = {}
        self._count, self._most, self._seed = draws, most_draws, seed
        self._unseen = max((trace.unseen for trace in traces_of(workload.recorded)), default=0.0)
        self._again: dict[tuple[Scheme, int], Candidate] = {}
        self._timed: dict[Scheme, Candidate] = {}
        self._best_widths: dict[Scheme, Scheme] = {}
        self.excluded: dict[Scheme, str] = {}
        bounds = []
        self._workers = 0
        for scheme in contestants:
            self._workers = scheme.workers
            try:
                stored = scheme.storage_bytes(workload.size)
                if stored > memory_bytes:
                    raise Infeasible(f"a worker would hold {readable(stored)}, and has {readable(memory_bytes)}.")
                bounds.append(self._bounded(scheme))
            except (Infeasible, UsageError) as reason:
                self.excluded[scheme] = str(reason)
        self.bounds = sorted(bounds, key=lambda candidate: candidate.mean_s)

    @property
    def accurate(self) -> list[Candidate]:
        """The candidates at their bounds with products accurate enough for a fit, fastest first."""
        return [bound for bound in self.bounds if bound.scheme.family.tolerance <= ACCURATE]

    def fastest(self, among: Iterable[Candidate] | None = None) -> Candidate | None:
        """The fastest of some candidates (all, unless given), or None where none can run."""
        best: Candidate | None = None
        for bound in sorted(self.bounds if among is None else among, key=lambda candidate: candidate.mean_s):
            if best is not None and bound.mean_s >= best.mean_s:
                break
            found = self.timed(bound.scheme)
            if found is not None and (best is None or found.mean_s < best.mean_s):
                best = found
        return best

    def chosen(self, among: Sequence[Candidate] | None = None) -> Candidate | None:
        """The fastest that decodes accurately, of some or all; one without a code where that is within the margin of it."""
        return self.duel(self.accurate if among is None else among).faster

    def default(self, memory_bytes: float = np.inf) -> tuple[ChosenCode, Candidate] | None:
        """The choice of a fit that names no code, with the usual solver; None where no worker holds enough, or it cannot run."""
        size, workers, solver = self._workload.size, self._workers, default_solver()
        try:
            choice = default_choice(size, workers, solver, self._workload.machine, memory_bytes)
        except UsageError:
            return None
        if size.entries is not None or not isinstance(self._workload.model, NoDelay):
            alike = [bound for bound in self.accurate if bound.scheme.solver == solver]
            able = set(affordable((bound.scheme for bound in alike), size, memory_bytes))
            best = self.chosen([bound for bound in alike if bound.scheme in able])
            choice = choice.beside(None if best is None else best.scheme, size)
        found = self.timed(Scheme(choice.code.spec, workers, solver=solver, rows=choice.rows))
        return None if found is None else (choice, found)

    def duel(self, among: Sequence[Candidate], limit: float = np.inf, *, widened: bool = False) -> Duel:
        """The best with a code among some at their bounds against the best without, drawn until they are distinguished.

        Their draws are fresh: those by which they were found the best flatter them. ``widened`` gives both the width of
        their block that takes the least time: compared at the usual widths and shown at the best one, a code would lose
        to a rival whose block is merely wider.
        """
        draws = self._count
        while True:
            plain = self.fastest(bound for bound in among if not bound.coded)
            coded = self.fastest(bound for bound in among if bound.coded)
            if widened:
                plain, coded = self._widened(plain), self._widened(coded)
            duel = Duel(limit, plain, coded, self._unseen)
            if draws > self._count:
                plain, coded = (found and self._drawn_again(found.scheme, draws) for found in (plain, coded))
                if (plain is None, coded is None) != (duel.plain is None, duel.coded is None):
                    continue  # one turned out unable to run: the next best takes its place
                duel = Duel(limit, plain, coded, self._unseen)
            if duel.verdict != "cannot tell yet" or draws * MORE > self._most or self._is_all:
                return duel
            draws *= MORE

    def timed(self, scheme: Scheme) -> Candidate | None:
        """The candidate with its seconds instead of their bound; None where it turns out that it cannot run."""
        if scheme not in self._timed and scheme not in self.excluded:
            found = self._drawn(scheme, self._draws_of(scheme.workers, self._count))
            if found is not None:
                self._timed[scheme] = found
        return self._timed.get(scheme)

    def _widened(self, candidate: Candidate | None) -> Candidate | None:
        """The candidate with the width of its block that takes the least time, where its solver leaves that free."""
        if candidate is None:
            return None
        if candidate.scheme not in self._best_widths:
            self._best_widths[candidate.scheme] = with_best_block(candidate.scheme, self._workload)
        return self.timed(self._best_widths[candidate.scheme]) or candidate

    def _drawn_again(self, scheme: Scheme, draws: int) -> Candidate | None:
        """The candidate with more draws, others than those of the race; None where it turns out that it cannot run."""
        if (scheme, draws) not in self._again and scheme not in self.excluded:
            found = self._drawn(scheme, self._draws_of(scheme.workers, draws))
            if found is None:
                self._timed.pop(scheme, None)
            else:
                self._again[scheme, draws] = found
        return self._again.get((scheme, draws))

    def _drawn(self, scheme: Scheme, draws: DelayDraws) -> Candidate | None:
        try:
            # many tiny systems: BLAS threads that spin for each other take a hundred times as long
            with threadpool_limits(1, "blas"):
                drawn = sampled_iteration_seconds(
                    scheme,
                    self._workload,
                    draws,
                    DRAWN_ITERATIONS,
                    _exact_draws(scheme.workers, len(draws)),
                    exact=scheme.workers <= EXACT_WORKERS,
                )
            return self._candidate(scheme, drawn, draws.sampling, at_least=False)
        except (Infeasible, UsageError) as reason:
            self.excluded[scheme] = str(reason)
            return None

    @property
    def _is_all(self) -> bool:
        """Whether no further draws can be had: every round of a recording has been met."""
        return isinstance(self._workload.recorded, Trace)

    def known(self) -> list[Candidate]:
        """Every candidate that can run as far as is known, fastest first, each by the most draws that it has."""
        most = {scheme: found for (scheme, _), found in sorted(self._again.items(), key=lambda item: item[0][1])}
        best = self._timed | most
        found = [best.get(bound.scheme, bound) for bound in self.bounds if bound.scheme not in self.excluded]
        return sorted(found, key=lambda candidate: candidate.mean_s)

    def _bounded(self, scheme: Scheme) -> Candidate:
        """The candidate at its lower bound."""
        draws = self._draws_of(scheme.workers, self._count)
        if isinstance(family := scheme.family, Entangled) and family.points != "circle":
            # it may have lost its digits with any responses: worth knowing of a scheme that is not timed, too
            require_decodable(scheme, self._workload, draws)
        drawn, exact = least_iteration_seconds(scheme, self._workload, draws, DRAWN_ITERATIONS)
        found = self._candidate(scheme, drawn, draws.sampling, at_least=not exact)
        if exact:
            self._timed[scheme] = found
        return found

    def _candidate(self, scheme: Scheme, drawn: Array, sampling: Sampling, *, at_least: bool) -> Candidate:
        workload = self._workload
        iterations = workload.iterations_of(scheme)
        startup_s = workload.startup_s(scheme)
        probe_s = workload.probe_s(scheme)
        return Candidate(
            scheme,
            drawn.sum(axis=1) * (iterations / drawn.shape[1]) + startup_s + probe_s,
            sampling,
            startup_s,
            iterations * workload.master_s(scheme) + probe_s,
            scheme.storage_bytes(workload.size),
            scheme.worker_operations(workload.size),
            at_least,
        )

    def _draws_of(self, workers: int, draws: int) -> DelayDraws:
        if (workers, draws) not in self._draws:
            seed = repetition_seed(self._seed, draws)
            self._draws[workers, draws] = draws_of(self._workload.recorded, workers, seed, draws)
        return self._draws[workers, draws]


def _exact_draws(workers: int, draws: int) -> int:
    """Number of draws that evaluate a code's error: each takes 10 ms at thirty workers, more at more."""
    return draws if workers <= CHEAP_WORKERS else round(EXACT_DRAWS * math.sqrt(draws / DRAWS))


def choose(
    size: Size,
    workers: int,
    solver: str,
    delays: str | DelayModel | None,
    machine: Machine,
    tolerance: float | None = None,
    memory_bytes: float = np.inf,
) -> Scheme | None:
    """The fastest scheme that `auto` may take under known delays; None where nothing is known of them."""
    if delays is None:
        return None
    workload = Workload(size, delays, machine, tolerance)
    if isinstance(workload.model, NoDelay):
        return None
    able = affordable(contestants(size, workers, (solver,)), size, memory_bytes)
    candidate = Race(workload, able).chosen()
    return None if candidate is None else candidate.scheme


# Draws by which widths of a block are compared: they differ in the columns only, and all meet the same delays.
WIDTH_DRAWS = 40


def with_best_block(scheme: Scheme, workload: Workload, least: int = 1) -> Scheme:
    """The scheme with the width of its block, of at least so many columns, that is expected to take the least time."""
    size = workload.size
    widths = [width for width in SOLVERS[scheme.solver].blocks(size.rank, size.length) if width >= least]
    if len(widths) < 2:
        return scheme
    draws = draws_of(workload.recorded, scheme.workers, 0, 1 if isinstance(workload.model, NoDelay) else WIDTH_DRAWS)

    def seconds(candidate: Scheme) -> float:
        iteration = float(least_iteration_seconds(candidate, workload, draws, DRAWN_ITERATIONS)[0].mean())
        iteration += workload.machine.computing_s(candidate.reading_operations(size))
        return workload.iterations_of(candidate) * iteration + workload.probe_s(candidate)

    try:
        return min((replace(scheme, block=width) for width in widths), key=seconds)
    except (Infeasible, UsageError):
        return scheme


def contestants(size: Size, workers: int, solvers: Sequence[str] | None = None) -> Iterator[Scheme]:
    """The schemes for a problem: of a sparse one also its rows, and D only where this machine can hold it."""
    sparse = size.entries is not None
    return schemes(workers, solvers, formed=not sparse or holds_gram(size.length), sparse=sparse)


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
    """Time every scheme that fits on W workers."""
    require_workers(workers)
    race = Race(workload, contestants(workload.size, workers), memory_bytes=memory_bytes, most_draws=repeats, seed=seed)
    overall = race.duel(race.accurate, widened=True)
    recommended = overall.faster
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
        default and race.fastest(bound for bound in race.accurate if bound.worker_bytes <= default[1].worker_bytes),
        _duels(race, attrgetter("worker_bytes")),
        _duels(race, attrgetter("worker_operations")),
        candidates=tuple(_with_finalists(race.known(), overall)),
        excluded=tuple((scheme.label, reason) for scheme, reason in race.excluded.items()),
    )


def _with_finalists(known: list[Candidate], overall: Duel) -> list[Candidate]:
    """All candidates, fastest first, with those of the verdict at the width of their blocks beside the usual one."""
    names = {candidate.scheme for candidate in known}
    finalists = [one for one in (overall.plain, overall.coded) if one is not None and one.scheme not in names]
    return sorted([*known, *finalists], key=attrgetter("mean_s"))


def _duels(race: Race, measure: Callable[[Candidate], float]) -> tuple[Duel, ...]:
    """A duel at the use of each number of copies, the most first, between schemes with the fastest solver."""
    solver = race.accurate[0].scheme.solver
    alike = [bound for bound in race.accurate if bound.scheme.solver == solver]
    limits = {measure(bound) for bound in alike if not bound.coded}
    return tuple(
        race.duel([bound for bound in alike if measure(bound) <= limit], limit)
        for limit in sorted(limits, reverse=True)
    )
