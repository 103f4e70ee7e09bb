"""The virtual seconds of a scheme's iterations, drawn without running it: workers, link and master together.

One cost function for plans, sweeps and the choice of a code: what it says of a scheme is what all of them say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from coded_als.als.draws import DelayDraws, Schedule, SomeDraws
from coded_als.als.schemes import Scheme, Size
from coded_als.arrays import Array
from coded_als.checks import require_number
from coded_als.cluster import Fastest, StoppingRule, WellConditioned
from coded_als.cluster.inline import counted_workers
from coded_als.cluster.machine import Machine
from coded_als.cluster.waiting import waiting_s
from coded_als.delays import DelayModel, bootstrapped, parse_delays
from coded_als.errors import CodedALSError, DecodingError, UsageError

# Orders of arrival from which `_typical` learns how many responses a code waits for.
RANDOM_ORDERS = 4


@dataclass(frozen=True)
class Iterations:
    """Iterations to convergence of each solver: a property of the matrix, so an assumption here.

    The defaults are those of MovieLens 100K at rank 20 and the default tolerance, as `benchmarks/plan_constants.py`
    counts them.
    """

    als: int = 97
    lobpcg: int = 11

    def of(self, solver: str) -> int:
        return self.lobpcg if solver == "lobpcg" else self.als


@dataclass(frozen=True)
class Workload:
    """What is run, on which machines, under which delays.

    Parameters
    ----------
    size
        The problem.
    delays
        A delay SPEC or a model.
    machine
        Master, workers and the link between them.
    tolerance
        Relative error that a decoded product may have; None: what the scheme's code can keep to.
    iterations
        Iterations of each solver.
    """

    size: Size
    delays: str | DelayModel
    machine: Machine
    tolerance: float | None = None
    iterations: Iterations = Iterations()

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            require_number("tolerance", self.tolerance, positive=True)

    @cached_property
    def recorded(self) -> DelayModel:
        """The delays; of a trace the rounds in their order."""
        return parse_delays(self.delays) if isinstance(self.delays, str) else self.delays

    @property
    def model(self) -> DelayModel:
        """The delays of runs; of a trace the rounds at random, since those to come are like it and not the same."""
        return bootstrapped(self.recorded)

    def tolerance_of(self, scheme: Scheme) -> float:
        """Relative error that a product of this scheme may have."""
        return scheme.tolerance(self.size) if self.tolerance is None else self.tolerance

    def schedule(self, scheme: Scheme) -> Schedule:
        """Cost and stopping rule of each round of one iteration.

        Raises
        ------
        UsageError
            When the workers are too few.
        """
        return scheme.schedule(self.size, self.tolerance_of(scheme))

    def master_s(self, scheme: Scheme) -> float:
        """Seconds of the master's arithmetic in one iteration, when no worker computes."""
        return self.machine.computing_s(scheme.master_operations(self.size))

    def startup_s(self, scheme: Scheme) -> float:
        """Seconds until every worker has its share of D: computing D, encoding it and sending the shares."""
        return scheme.startup_s(self.size, self.machine)


class Infeasible(Exception):
    """A scheme cannot run on these workers; the message says why."""


def iteration_seconds(
    scheme: Scheme, workload: Workload, draws: DelayDraws, most: int | None = None, *, exact: bool = True
) -> Array:
    """Virtual seconds of every iteration, or of the first ``most``: (repeats, iterations); see `round_times`.

    Parameters
    ----------
    scheme
        What runs.
    workload
        The problem, the delays and the machine.
    draws
        The delays, the same for all schemes.
    most
        The most iterations to draw.
    exact
        Whether every round asks the code for its error.
    """
    seconds: Array = round_times(scheme, workload, draws, most, exact=exact).sum(axis=2)
    return seconds


def round_times(
    scheme: Scheme, workload: Workload, draws: DelayDraws, most: int | None = None, *, exact: bool = True
) -> Array:
    """Virtual seconds of every round of every iteration, or of the first ``most``: (repeats, iterations, rounds).

    The master's arithmetic of an iteration counts in its last round. Without ``exact``, a code is not asked for its error
    in every round; it waits for as many responses as it does on average in random order. At hundreds of workers that is
    the difference between seconds and an hour.

    Parameters
    ----------
    scheme, workload
        What runs where.
    draws
        The delays, the same for all schemes.
    most
        The most iterations to draw.
    exact
        Whether every round asks the code for its error.

    Raises
    ------
    Infeasible
        When the workers are too few or an iteration cannot be decoded to the tolerance.
    """
    require_decodable(scheme, workload, draws)
    schedule = workload.schedule(scheme)
    if not exact:
        schedule = [(cost, _typical(rule, scheme.workers)) for cost, rule in schedule]
    seconds = _drawn_seconds(scheme, schedule, workload, draws, most)
    stuck = int(np.isinf(seconds).any(axis=2).sum())
    if stuck:
        raise Infeasible(
            f"{stuck} of {seconds[:, :, 0].size} iterations could not be decoded to {workload.tolerance_of(scheme):.0e} from "
            "all that responded."
        )
    return seconds


def least_iteration_seconds(
    scheme: Scheme, workload: Workload, draws: DelayDraws, most: int | None = None
) -> tuple[Array, bool]:
    """Lower bounds of `iteration_seconds`, (repeats, iterations), and whether they are the seconds themselves.

    A code is not asked for its error: no round ends with fewer responses than its threshold. Copies of blocks have no
    error to ask for.

    Parameters
    ----------
    scheme
        What runs.
    workload
        The problem, the delays and the machine.
    draws
        The delays, the same for all schemes.
    most
        The most iterations to draw.

    Raises
    ------
    Infeasible
        When fewer workers respond than the threshold.
    """
    try:
        schedule = workload.schedule(scheme)
    except UsageError as error:
        raise Infeasible(str(error)) from None
    bounded = [(cost, Fastest(rule.needed) if isinstance(rule, WellConditioned) else rule) for cost, rule in schedule]
    _require_satisfiable(bounded, draws)
    seconds: Array = _drawn_seconds(scheme, bounded, workload, draws, most).sum(axis=2)
    if np.isinf(seconds).any():
        raise Infeasible(f"{int(np.isinf(seconds).sum())} of {seconds.size} iterations lacked responses. Add workers.")
    return seconds, all(ours is rule for (_, ours), (_, rule) in zip(bounded, schedule, strict=True))


def sampled_iteration_seconds(
    scheme: Scheme, workload: Workload, draws: DelayDraws, most: int, exact_draws: int, *, exact: bool = True
) -> Array:
    """Seconds whose mean is that of `iteration_seconds`, where the code is asked for its error in few draws alone.

    What it waits for beyond its threshold counts in these for the others of their stratum too. So no more is told by the
    mean, and the interval knows of it.

    Parameters
    ----------
    scheme, workload, draws, most, exact
        As there.
    exact_draws
        About how many of the draws.

    Returns
    -------
    (draws, iterations)
    """
    seconds, known = least_iteration_seconds(scheme, workload, draws, most)
    if known:
        return seconds
    shares = draws.sampling.thinned(max(1, len(draws) // exact_draws))
    picked = np.flatnonzero(shares)
    beyond = iteration_seconds(scheme, workload, SomeDraws(draws, picked), most, exact=exact) - seconds[picked]
    seconds[picked] += shares[picked, None] * beyond
    return seconds


def require_decodable(scheme: Scheme, workload: Workload, draws: DelayDraws) -> None:
    """Try the rules on the workers that respond in the first iteration of each repetition.

    Parameters
    ----------
    scheme
        What runs.
    workload
        The problem, the delays and the machine.
    draws
        The delays, the same for all schemes.

    Raises
    ------
    Infeasible
    """
    try:
        schedule = workload.schedule(scheme)
    except (UsageError, DecodingError) as error:
        raise Infeasible(str(error)) from None
    _require_satisfiable(schedule, draws)


def _drawn_seconds(
    scheme: Scheme, schedule: Schedule, workload: Workload, draws: DelayDraws, most: int | None
) -> Array:
    """Seconds of each round, (repeats, iterations, rounds)."""
    delays = draws.delays(schedule, min(workload.iterations.of(scheme.solver), most or 10**9))
    seconds = np.empty(delays.shape[:3])
    for index, (cost, rule) in enumerate(schedule):
        arrivals = cost.response_s(delays[:, :, index].reshape(-1, scheme.workers), workload.machine)
        seconds[:, :, index] = waiting_s(arrivals, rule).reshape(seconds.shape[:2])
    seconds[:, :, -1] += workload.master_s(scheme)
    return seconds


def _typical(rule: StoppingRule, workers: int) -> StoppingRule:
    """The rule that counts responses where ``rule`` looks at what they decode to."""
    if not isinstance(rule, WellConditioned):
        return rule
    rng = np.random.default_rng(0)
    orders = [tuple(rng.permutation(workers).tolist()) for _ in range(RANDOM_ORDERS)]
    return Fastest(math.ceil(np.mean([len(counted_workers(order, rule)) for order in orders])))


def _require_satisfiable(schedule: Schedule, draws: DelayDraws) -> None:
    """Try the rules on the workers that respond in the first iteration of each repetition."""
    responds = np.isfinite(draws.delays(schedule, 1)[:, 0])
    for index, (_, rule) in enumerate(schedule):
        # as bytes: this is asked of a thousand schemes, and sorting rows takes longer than all else
        for workers in sorted({row.tobytes() for row in responds[:, index]}):
            reachable = tuple(np.flatnonzero(np.frombuffer(workers, bool)).tolist())
            refusal: CodedALSError | None = None if rule.satisfied(reachable) else rule.refusal(reachable)
            if refusal is not None:
                raise Infeasible(str(refusal))
