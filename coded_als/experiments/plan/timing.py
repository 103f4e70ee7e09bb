"""The virtual seconds of a scheme: draws, means with intervals, and the reason when it cannot run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from coded_als.checks import require_number
from coded_als.cluster import Fastest, StoppingRule, WellConditioned
from coded_als.cluster.inline import counted_workers
from coded_als.cluster.virtual import Machine, RoundCost, round_seconds
from coded_als.delays import DelayStream, arrival_order
from coded_als.errors import CodedALSError, DecodingError, UsageError
from coded_als.experiments.plan.schemes import Scheme, Size
from coded_als.kernels import Array

# Orders of arrival from which `_typical` learns how many responses a code waits for.
RANDOM_ORDERS = 4
# Levels of the quantiles stored with every cell: enough to draw the distribution of iteration times again, and to see
# where a mixture of fast and slow workers steps.
QUANTILES = (0.0, 0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99, 1.0)


@dataclass(frozen=True)
class Iterations:
    """Iterations to convergence of each solver: a property of the matrix, so an assumption here.

    The defaults are those of MovieLens 100K at rank 20 and a relative objective error of 1e-8: 87 and 13.
    """

    als: int = 87
    lobpcg: int = 13

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
        A delay SPEC.
    machine
        One worker and its link.
    tolerance
        Relative error that a decoded product may have; None: what the scheme's code can keep to.
    iterations
        Iterations of each solver.
    """

    size: Size
    delays: str
    machine: Machine
    tolerance: float | None
    iterations: Iterations

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            require_number("tolerance", self.tolerance, positive=True)

    def tolerance_of(self, scheme: Scheme) -> float:
        """Relative error that a product of this scheme may have."""
        return scheme.tolerance(self.size) if self.tolerance is None else self.tolerance

    def schedule(self, scheme: Scheme) -> list[tuple[RoundCost, StoppingRule]]:
        """Cost and stopping rule of each round of one iteration.

        Raises
        ------
        UsageError
            When the workers are too few.
        """
        return scheme.schedule(self.size, self.tolerance_of(scheme))


class Infeasible(Exception):
    """A scheme cannot run on these workers; the message says why."""


def repetition_seed(seed: int, repetition: int) -> int:
    """Seed of the delays of one repetition: the same for all schemes, so that they meet the same stragglers.

    Parameters
    ----------
    seed
        Of all repetitions.
    repetition
        Which one.
    """
    return int(np.random.SeedSequence([seed, repetition]).generate_state(1, np.uint64)[0])


def iteration_seconds(
    scheme: Scheme, workload: Workload, seed: int, repeats: int, most: int | None = None, *, exact: bool = True
) -> Array:
    """Virtual seconds of every iteration, or of the first ``most``: (repeats, iterations); see `round_times`.

    Parameters
    ----------
    scheme
        What is timed.
    workload
        The matrix, the delays and the machine.
    seed
        Of the delays.
    repeats
        Number of runs.
    most
        The most iterations of each run.
    exact
        Whether a code is asked for its error in every round.
    """
    seconds: Array = round_times(scheme, workload, seed, repeats, most, exact=exact).sum(axis=2)
    return seconds


def round_times(
    scheme: Scheme, workload: Workload, seed: int, repeats: int, most: int | None = None, *, exact: bool = True
) -> Array:
    """Virtual seconds of every round of every iteration, or of the first ``most``: (repeats, iterations, rounds).

    Without ``exact``, a code is not asked for its error in every round; it waits for as many responses as it does
    on average in random order. At hundreds of workers that is the difference between seconds and an hour.

    Parameters
    ----------
    scheme
        What is timed.
    workload
        The matrix, the delays and the machine.
    seed
        Of the delays.
    repeats
        Number of runs.
    most
        The most iterations of each run.
    exact
        Whether a code is asked for its error in every round.

    Raises
    ------
    Infeasible
        When the workers are too few or an iteration cannot be decoded to the tolerance.
    """
    try:
        schedule = workload.schedule(scheme)
        if not exact:
            schedule = [(cost, _typical(rule, scheme.workers)) for cost, rule in schedule]
    except (UsageError, DecodingError) as error:
        raise Infeasible(str(error)) from None
    iterations = min(workload.iterations.of(scheme.solver), most or 10**9)
    seconds = np.empty((repeats, iterations, len(schedule)))
    for repetition in range(repeats):
        stream_seed = repetition_seed(seed, repetition)
        _require_feasible(schedule, workload, DelayStream(workload.delays, scheme.workers, stream_seed))
        stream = DelayStream(workload.delays, scheme.workers, stream_seed)
        seconds[repetition] = round_seconds(stream, schedule, workload.machine, iterations)
    stuck = int(np.isinf(seconds).any(axis=2).sum())
    if stuck:
        raise Infeasible(
            f"{stuck} of {repeats * iterations} iterations could not be decoded to {workload.tolerance_of(scheme):.0e} from all "
            "that responded."
        )
    return seconds


def _typical(rule: StoppingRule, workers: int) -> StoppingRule:
    """The rule that counts responses where ``rule`` looks at what they decode to."""
    if not isinstance(rule, WellConditioned):
        return rule
    rng = np.random.default_rng(0)
    orders = [tuple(rng.permutation(workers).tolist()) for _ in range(RANDOM_ORDERS)]
    return Fastest(math.ceil(np.mean([len(counted_workers(order, rule)) for order in orders])))


def _require_feasible(schedule: list[tuple[RoundCost, StoppingRule]], workload: Workload, stream: DelayStream) -> None:
    """Try the rules on the workers that respond in the first iteration."""
    for cost, rule in schedule:
        reachable = arrival_order(stream.next_round(cost.operations))
        refusal: CodedALSError | None = None if rule.satisfied(reachable) else rule.refusal(reachable)
        if refusal is not None:
            raise Infeasible(str(refusal))


def mean_and_interval(totals: Array) -> tuple[float, float | None, float | None]:
    """Mean of repetitions and its 95 % interval by Student's t; no interval from a single one."""
    mean = float(totals.mean())
    if totals.size < 2:
        return mean, None, None
    half = float(stats.t.ppf(0.975, totals.size - 1) * totals.std(ddof=1) / np.sqrt(totals.size))
    return mean, mean - half, mean + half


def summary(seconds: Array, clock: str) -> dict[str, Any]:
    """Columns for a table from the seconds of iterations (repeats, iterations), named after their clock.

    The quantiles of the iterations carry their levels, and the middle 95 % of the repetitions' own quantiles.

    Parameters
    ----------
    seconds
        (repeats, iterations).
    clock
        ``"virtual"`` or ``"wall"``.
    """
    mean, low, high = mean_and_interval(seconds.sum(axis=1))
    # seconds that some iteration took: between a fast and a slow one there may be none
    quantiles = np.quantile(seconds, QUANTILES, method="inverted_cdf").tolist()
    of_each = np.quantile(seconds, QUANTILES, axis=1, method="inverted_cdf")
    low_of, high_of = np.quantile(of_each, (0.025, 0.975), axis=1, method="inverted_cdf")
    named = dict(zip(QUANTILES, quantiles, strict=True))
    return {
        f"{clock}_seconds_mean": mean,
        f"{clock}_seconds_low95": low,
        f"{clock}_seconds_high95": high,
        f"{clock}_iteration_seconds_p50": named[0.5],
        f"{clock}_iteration_seconds_p95": named[0.95],
        f"{clock}_iteration_seconds_p99": named[0.99],
        f"{clock}_iteration_seconds_quantiles": {
            "levels": list(QUANTILES),
            "seconds": quantiles,
            "low95": low_of.tolist(),
            "high95": high_of.tolist(),
        },
    }
