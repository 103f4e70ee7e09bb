"""The choice of a code: every scheme that fits on a cluster, timed under its delays, and the fastest of them.

Every scheme has a lower bound that costs nothing to compute: with its threshold of responses a round cannot end. Schemes
are timed in the order of their bounds, and those whose bound is above the fastest are left at their bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from coded_als.als.draws import Draws
from coded_als.als.schemes import Scheme, Size
from coded_als.als.spread import holds_gram
from coded_als.als.timing import Infeasible, Workload, iteration_seconds, least_iteration_seconds, require_decodable
from coded_als.arrays import Array
from coded_als.cluster.machine import Machine
from coded_als.codes import CODES, Entangled, Replicated, Uncoded
from coded_als.delays import DelayModel, NoDelay
from coded_als.errors import UsageError, readable

# A scheme without a code is taken when it is within this of the fastest: less than that no model of a cluster can tell.
MARGIN = 0.05
# A code whose products may have a larger relative error is not chosen: a fit to the default tolerance could not prove it.
ACCURATE = 1e-10
# Up to it every round asks the code for its error.
EXACT_WORKERS = 60
# Repetitions of a choice, and iterations drawn in each; longer runs are scaled up from them.
REPEATS, DRAWN_ITERATIONS = 20, 20


@dataclass(frozen=True)
class Candidate:
    """A scheme and its expected time.

    Parameters
    ----------
    scheme
        What would run.
    totals_s
        Seconds of each repetition, start-up included, (repeats,).
    startup_s
        Seconds before the first iteration.
    master_s
        Seconds of the master's own arithmetic over all iterations.
    worker_bytes
        Storage of one worker.
    worker_operations
        Multiplications of one worker in an iteration.
    at_least
        Whether the seconds are a lower bound.
    """

    scheme: Scheme
    totals_s: Array
    startup_s: float
    master_s: float
    worker_bytes: int
    worker_operations: float
    at_least: bool = False

    @property
    def mean_s(self) -> float:
        return float(self.totals_s.mean())


def schemes(
    workers: int, solvers: Sequence[str] = ("lobpcg", "als"), *, formed: bool = True, sparse: bool = False
) -> Iterator[Scheme]:
    """Every member of every family of codes that the workers allow, with each protocol and solver.

    Parameters
    ----------
    workers
        W.
    solvers
        Names of the solvers.
    formed
        With D formed.
    sparse
        With the rows of a sparse R in every number of copies.
    """
    if sparse:
        copies = (code for family in (Uncoded, Replicated) for code in family.candidates(workers))
        yield from (Scheme(code.spec, workers, solver=solver, rows=True) for code in copies for solver in solvers)
    if not formed:
        return
    for family in CODES.values():
        for code in family.candidates(workers):
            yield from (Scheme(code.spec, workers, solver=solver) for solver in solvers)
            if "als" in solvers and isinstance(code, Entangled) and code.h:
                yield Scheme(code.spec, workers, protocol="paper", solver="als")


class Race:
    """The candidates of one cluster; seconds are drawn when they are asked for, the same delays for all.

    Parameters
    ----------
    workload
        What is run where.
    contestants
        The schemes, all for the same number of workers.
    memory_bytes
        The most that a worker can hold.
    repeats, seed
        Repetitions, each with delays of its own.
    """

    def __init__(
        self,
        workload: Workload,
        contestants: Iterable[Scheme],
        *,
        memory_bytes: float = np.inf,
        repeats: int = REPEATS,
        seed: int = 0,
    ) -> None:
        self._workload = workload
        self._draws: dict[int, Draws] = {}
        self._repeats, self._seed = repeats, seed
        self._timed: dict[Scheme, Candidate] = {}
        self.excluded: dict[Scheme, str] = {}
        bounds = []
        for scheme in contestants:
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
        """Those at their bounds whose products are as good as a fit wants them, fastest first."""
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

    def chosen(self) -> Candidate | None:
        """The fastest that decodes accurately; one without a code where that is within the margin of it."""
        best = self.fastest(self.accurate)
        plain = self.fastest(bound for bound in self.accurate if not bound.scheme.family.coded)
        if best is None or plain is None or plain.mean_s > (1 + MARGIN) * best.mean_s:
            return best
        return plain

    def timed(self, scheme: Scheme) -> Candidate | None:
        """The candidate with its seconds instead of their bound; None where it turns out that it cannot run."""
        if scheme not in self._timed and scheme not in self.excluded:
            try:
                exact = scheme.workers <= EXACT_WORKERS
                draws = self._draws_of(scheme.workers)
                # many tiny systems: BLAS threads that spin for each other take a hundred times as long
                with threadpool_limits(1, "blas"):
                    drawn = iteration_seconds(scheme, self._workload, draws, DRAWN_ITERATIONS, exact=exact)
                self._timed[scheme] = self._candidate(scheme, drawn, at_least=False)
            except (Infeasible, UsageError) as reason:
                self.excluded[scheme] = str(reason)
        return self._timed.get(scheme)

    def known(self) -> list[Candidate]:
        """Every candidate that can run as far as is known, fastest first."""
        found = [self._timed.get(bound.scheme, bound) for bound in self.bounds if bound.scheme not in self.excluded]
        return sorted(found, key=lambda candidate: candidate.mean_s)

    def _bounded(self, scheme: Scheme) -> Candidate:
        """The candidate at its lower bound."""
        draws = self._draws_of(scheme.workers)
        if isinstance(family := scheme.family, Entangled) and family.points != "circle":
            # it may have lost its digits whoever responds: worth knowing of a scheme that is not timed, too
            require_decodable(scheme, self._workload, draws)
        drawn, exact = least_iteration_seconds(scheme, self._workload, draws, DRAWN_ITERATIONS)
        found = self._candidate(scheme, drawn, at_least=not exact)
        if exact:
            self._timed[scheme] = found
        return found

    def _candidate(self, scheme: Scheme, drawn: Array, *, at_least: bool) -> Candidate:
        workload = self._workload
        iterations, startup_s = workload.iterations.of(scheme.solver), workload.startup_s(scheme)
        return Candidate(
            scheme,
            drawn.sum(axis=1) * (iterations / drawn.shape[1]) + startup_s,
            startup_s,
            iterations * workload.master_s(scheme),
            scheme.storage_bytes(workload.size),
            scheme.worker_operations(workload.size),
            at_least,
        )

    def _draws_of(self, workers: int) -> Draws:
        if workers not in self._draws:
            self._draws[workers] = Draws(self._workload.model, workers, self._seed, self._repeats)
        return self._draws[workers]


def choose(
    size: Size,
    workers: int,
    solver: str,
    delays: str | DelayModel | None,
    machine: Machine,
    tolerance: float | None = None,
) -> Scheme | None:
    """The scheme that a plan for this cluster and solver recommends; None where nothing is known of delays.

    Parameters
    ----------
    size, workers, solver
        What runs: the problem, W and the solver.
    delays
        Those that the workers will meet; None, or a model without any, is no knowledge.
    machine
        Where it runs.
    tolerance
        Relative error that a decoded product may have; None: what the code can keep to.
    """
    if delays is None:
        return None
    workload = Workload(size, delays, machine, tolerance)
    if isinstance(workload.model, NoDelay):
        return None
    candidate = Race(workload, contestants(size, workers, (solver,))).chosen()
    return None if candidate is None else candidate.scheme


def contestants(size: Size, workers: int, solvers: Sequence[str] = ("lobpcg", "als")) -> Iterator[Scheme]:
    """The schemes for a problem: of a sparse one also its rows, and D only where this machine can hold it.

    Parameters
    ----------
    size
        Of the problem.
    workers
        W.
    solvers
        Names of the solvers.
    """
    sparse = size.entries is not None
    return schemes(workers, solvers, formed=not sparse or holds_gram(size.length), sparse=sparse)
