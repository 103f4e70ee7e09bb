"""Delays drawn for the schemes that are compared: the same for all of them.

A mean of runs is a sum of means of rounds, even if the rounds of a run depend on each other. So where rounds are alike,
as those of the package's own models are, all of which begin as they go on, each draw is one iteration by itself: bursts
do not make neighbouring draws alike. Half of the draws are made as the delays are. In the others some workers, one on
average, or two, four and so on to all, or all that hold copies of one block, are pushed into a long delay: the slow
state of a model that has one, else its slowest quarter, its slowest thirty-second and so on. A draw then weighs its
density under the delays over that of the mixture of all these ways, at most 2 (the balance heuristic: E. Veach and L.
Guibas, "Optimally combining sampling techniques for Monte Carlo rendering", SIGGRAPH 1995; A. Owen and Y. Zhou, "Safe
and effective importance sampling", JASA 95, 2000). So an event of one in a million rounds is met, and weighs a
millionth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Array
from coded_als.checks import require_number
from coded_als.cluster.backups import backups_of
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.rules import Fastest, WellConditioned, counted_workers
from coded_als.cluster.seam import StoppingRule
from coded_als.cluster.waiting import RoundCost, pieces_waiting_s, waiting_s
from coded_als.codes.pieces import PieceLayout
from coded_als.delays.models import (
    DelayModel,
    LogNormal,
    LogNormalSlowDown,
    Pareto,
    ShiftedExponential,
    Sum,
    Trace,
    bootstrapped,
    depends_on_operations,
    factors_of,
    is_stationary,
    slows,
    traces_of,
)
from coded_als.delays.spec import parse_delays
from coded_als.delays.streams import DelayStream, hashed_uniforms
from coded_als.errors import CodedALSError, DecodingError, UsageError
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import typical_iterations
from coded_als.planner.statistics import Sampling

# Cost and stopping rule of each round of an iteration.
Schedule = list[tuple[RoundCost, StoppingRule]]
# Iterations drawn in a run of a model from elsewhere; longer runs are scaled up from them.
DRAWN_ITERATIONS = 20
# Pieces of all workers of which rounds are drawn, and of each of many: coarser ones only end a little later.
MOST_PIECES, LEAST_PIECES = 2**11, 8
# Numbers of one kind that are drawn at a time, 128 MB: of more than 2,600 workers fewer draws than requested.
MOST_NUMBERS = 2**24
# Shares of the slowest into which delays without a slow state are pushed.
SLOWEST = tuple(2.0**-power for power in (2, 5, 8, 11, 14))
# Least draws in a stratum for a variance to be believed.
LEAST_STRATUM = 10
# Copies of a block that are all slow at once are met on purpose up to so many.
MOST_COPIES = 8


def repetition_seed(seed: int, repetition: int) -> int:
    """Seed of the delays of one repetition: the same for all schemes, so that they meet the same stragglers."""
    return int(np.random.SeedSequence([seed, repetition]).generate_state(1, np.uint64)[0])


class DelayDraws(Protocol):
    """Delays of draws that are the same for all schemes."""

    @property
    def sampling(self) -> Sampling:
        """The sampling of the draws."""
        ...

    def __len__(self) -> int: ...

    def delays(self, schedule: Schedule, iterations: int) -> Array:
        """Seconds that each worker adds to each round of each iteration, (draws, iterations, rounds, W).

        ``schedule``: the rounds of an iteration; ``iterations``: the most of each draw.
        """
        ...

    def slowness(self, schedule: Schedule, iterations: int) -> Array | None:
        """Factor of the usual time of each worker's work, (repeats, iterations, rounds, W); None where nothing slows it."""
        ...


class Draws:
    """The delays of several runs on W workers; drawn once for all schemes where they do not depend on the work.

    ``model``: the delays; ``workers``: W; ``seed, repeats``: each repetition has a seed of its own.
    """

    def __init__(self, model: DelayModel, workers: int, seed: int, repeats: int) -> None:
        self._model, self._workers = model, workers
        self._seeds = [repetition_seed(seed, number) for number in range(repeats)]
        self._drawn: Array | None = None

    def __len__(self) -> int:
        return len(self._seeds)

    @property
    def sampling(self) -> Sampling:
        """Independent runs that count the same."""
        return Sampling.plain(len(self))

    def delays(self, schedule: Schedule, iterations: int) -> Array:
        """Seconds that each worker adds to each round of each iteration, (repeats, iterations, rounds, W)."""
        return self._of_rounds(schedule, iterations)[..., 0, :]

    def slowness(self, schedule: Schedule, iterations: int) -> Array | None:
        return self._of_rounds(schedule, iterations)[..., 1, :] if slows(self._model) else None

    def _of_rounds(self, schedule: Schedule, iterations: int) -> Array:
        """Delays and slowness, (repeats, iterations, rounds, 2, W)."""
        rounds = len(schedule)
        if depends_on_operations(self._model):
            found = self._fresh([cost.operations for cost, _ in schedule] * iterations)
        else:
            if self._drawn is None or self._drawn.shape[1] < iterations * rounds:
                self._drawn = self._fresh([0.0] * (iterations * rounds))
            found = self._drawn[:, : iterations * rounds]
        return found.reshape(len(self), iterations, rounds, 2, self._workers)

    def _fresh(self, operations: list[float]) -> Array:
        streams = [DelayStream(self._model, self._workers, seed) for seed in self._seeds]
        drawn = [[stream.disturb(count) for count in operations] for stream in streams]
        return np.array([[(one.delays_s, one.slowness) for one in rounds] for rounds in drawn])


class RoundDraws:
    """The delays of single rounds on W workers, each drawn as the first of a run; all rounds of an iteration meet the same.

    Where the delays hold a recording, the draws go through its rounds in their order, as often as it takes: the recording is
    the sample then, and drawing its rounds at random would add nothing but noise.

    ``model``: the delays: those of a round do not depend on which it is, but for recordings; ``workers``: W; ``seed,
    draws``: number of draws, each with numbers of its own; of a recording whole turns.
    """

    def __init__(self, model: DelayModel, workers: int, seed: int, draws: int) -> None:
        self._model = model
        rounds = max((len(trace.seconds) for trace in traces_of(model)), default=0)
        if rounds:
            # nothing is drawn where the recording is all there is
            draws = rounds if isinstance(model, Trace) else -(-draws // rounds) * rounds
        pushes = _pushes({} if rounds else _slowest(model), workers, draws)
        self._numbers = _numbers(model, workers, seed, pushes, draws)
        self.sampling = Sampling(_weights(self._numbers, pushes, draws), _strata(pushes, draws), rounds)
        self._drawn: dict[float, Array] = {}
        self._slowness: Array | None = None

    def __len__(self) -> int:
        return len(self.sampling)

    def slowness(self, schedule: Schedule, iterations: int) -> Array | None:
        if not slows(self._model):
            return None
        if self._slowness is None:
            self._slowness = np.array([self._factors(draw) for draw in range(len(self))])
        return np.repeat(self._slowness[:, None, None], len(schedule), axis=2)

    def delays(self, schedule: Schedule, iterations: int) -> Array:
        """Seconds that each worker adds to each round of one iteration, (draws, 1, rounds, W)."""
        asked = [cost.operations if depends_on_operations(self._model) else 0.0 for cost, _ in schedule]
        return np.stack([self._of(operations) for operations in asked], axis=1)[:, None]

    def _of(self, operations: float) -> Array:
        """Delays of one round, (draws, W); those of the last amount of work are kept."""
        if operations not in self._drawn:
            self._drawn = {operations: np.array([self._one(draw, operations) for draw in range(len(self))])}
        return self._drawn[operations]

    def _one(self, draw: int, operations: float) -> Array:
        return self._model.draw(lambda k: self._numbers[k][draw], draw, operations, None)[0]

    def _factors(self, draw: int) -> Array:
        state = self._model.draw(lambda k: self._numbers[k][draw], draw, 0.0, None)[1]
        return factors_of(self._model, lambda k: self._numbers[k][draw], draw, state)


class SomeDraws:
    """Some of the draws of others, which count the same.

    ``draws``: all; ``picked``: numbers of those that are meant, (k,).
    """

    def __init__(self, draws: DelayDraws, picked: NDArray[np.intp]) -> None:
        self._draws, self._picked = draws, picked
        self.sampling = Sampling.plain(len(picked))

    def __len__(self) -> int:
        return len(self._picked)

    def delays(self, schedule: Schedule, iterations: int) -> Array:
        """As of all draws, (k, iterations, rounds, W)."""
        return self._draws.delays(schedule, iterations)[self._picked]

    def slowness(self, schedule: Schedule, iterations: int) -> Array | None:
        found = self._draws.slowness(schedule, iterations)
        return None if found is None else found[self._picked]


def draws_of(model: DelayModel, workers: int, seed: int, draws: int) -> DelayDraws:
    """Delays to compare schemes by: single rounds, or runs where a model is not known to begin as it goes on."""
    if is_stationary(model):
        return RoundDraws(model, workers, seed, min(draws, MOST_NUMBERS // workers))
    return Draws(bootstrapped(model), workers, seed, max(2, draws // DRAWN_ITERATIONS))


@dataclass(frozen=True)
class _Push:
    """One way to make draws: numbers of one kind are, with a chance, taken from below a bound; all others are uniform.

    With ``blocks``, those of the workers that have one and the same number modulo ``blocks``, any alike: they are the
    copies of one block.
    """

    kind: int
    bound: float
    draws: range
    chance: float = 1.0
    blocks: int = 1

    def density(self, numbers: Mapping[int, Array]) -> Array:
        """Logarithm of the density at all draws, (draws,); that of uniform numbers is 0."""
        from scipy.special import logsumexp, xlogy

        below = numbers[self.kind] < self.bound
        if self.blocks > 1:
            groups = [below[:, block :: self.blocks] for block in range(self.blocks)]
            of_each = [np.where(g.all(axis=1), -g.shape[1] * math.log(self.bound), -np.inf) for g in groups]
            return np.asarray(logsumexp(of_each, axis=0)) - math.log(self.blocks)
        slow = below.sum(axis=1)
        # x * log(y) is 0 for x = 0 and any y
        pushed = xlogy(slow, 1 - self.chance + self.chance / self.bound)
        return np.asarray(pushed + xlogy(below.shape[1] - slow, 1 - self.chance))

    def apply(self, numbers: Mapping[int, Array], choices: Array) -> None:
        """Push some of the numbers of these draws.

        ``choices``: uniform numbers of all draws that decide which, (draws, W).
        """
        part = slice(self.draws.start, self.draws.stop)
        chosen = choices[part] < self.chance
        if self.blocks > 1:
            blocks = (choices[part, :1] * self.blocks).astype(int)
            chosen = np.arange(choices.shape[1]) % self.blocks == blocks
        numbers[self.kind][part] *= np.where(chosen, self.bound, 1.0)


def _slowest(model: DelayModel, offset: int = 0) -> dict[int, tuple[float, ...]]:
    """Below which bounds a number makes a long delay, for each kind of number that the model uses."""
    if isinstance(model, Sum):
        parts = (_slowest(part, offset + model.offset(index)) for index, part in enumerate(model.models))
        return {k: bounds for part in parts for k, bounds in part.items()}
    if isinstance(model, (ShiftedExponential, Pareto, LogNormal, LogNormalSlowDown)):
        return {offset: SLOWEST}
    slow = getattr(model, "slow_share", 0.0)
    return {offset: (slow,)} if 0 < slow < 1 else {}


def _pushes(slowest: Mapping[int, tuple[float, ...]], workers: int, draws: int) -> list[_Push]:
    """The ways to push, with half of the draws or less between them; none where the draws are too few for it."""
    ways = _ways(workers)
    each = draws // 2 // len(ways)
    if not slowest or each < LEAST_STRATUM:
        return []
    most = max(map(len, slowest.values()))
    aims = [(kind, bounds[index % len(bounds)]) for index in range(most) for kind, bounds in slowest.items()]
    found, start = [], draws - each * len(ways)
    for chance, blocks in ways:
        edges = np.linspace(start, start + each, len(aims) + 1).astype(int).tolist()
        for (kind, bound), (first, last) in zip(aims, pairwise(edges), strict=True):
            found.append(_Push(kind, bound, range(first, last), chance, blocks))
        start += each
    return found


def _ways(workers: int) -> list[tuple[float, int]]:
    """The chance that a worker is pushed and, where those of a block are, the number of blocks."""
    some = [(2.0**j / workers, 1) for j in range(workers.bit_length())]
    copies = {workers // copies for copies in range(2, MOST_COPIES + 1)}
    return some + [(1.0, blocks) for blocks in sorted(copies) if blocks > 1]


def _strata(pushes: Sequence[_Push], draws: int) -> tuple[int, ...]:
    """Numbers of draws that are pushed alike, those that are not first."""
    counts: dict[tuple[float, int], int] = {}
    for push in pushes:
        way = push.chance, push.blocks
        counts[way] = counts.get(way, 0) + len(push.draws)
    return (draws - sum(counts.values()), *counts.values())


def _used(model: DelayModel, workers: int) -> list[int]:
    """The kinds of numbers that a model uses in a round."""
    asked: set[int] = set()

    def note(k: int) -> Array:
        asked.add(k)
        return np.full(workers, 0.5)

    factors_of(model, note, 0, model.draw(note, 0, 1.0, None)[1])
    return sorted(asked)


def _numbers(model: DelayModel, workers: int, seed: int, pushes: Sequence[_Push], draws: int) -> dict[int, Array]:
    """Every number that the model uses, (draws, W); some pushed below a bound."""
    rows = np.arange(draws, dtype=np.uint64)[:, None]
    ids = np.broadcast_to(np.arange(workers, dtype=np.uint64), (draws, workers))
    found = {k: hashed_uniforms(seed, rows, k % 2**32, ids) for k in _used(model, workers)}
    # numbers of their own decide which workers are pushed; 2^31 is beyond those of any model
    choices = hashed_uniforms(seed, rows, 2**31, ids)
    for push in pushes:
        push.apply(found, choices)
    return found


def _weights(numbers: Mapping[int, Array], pushes: Sequence[_Push], draws: int) -> Array:
    """The weight of each draw, (draws,): one over the density of the mixture, for that of uniform numbers is 1."""
    if not pushes:
        return np.ones(draws)
    from scipy.special import logsumexp

    as_they_are = draws - sum(len(push.draws) for push in pushes)
    densities = np.array([np.zeros(draws), *(push.density(numbers) for push in pushes)])
    shares = np.array([as_they_are, *(len(push.draws) for push in pushes)]) / draws
    return np.asarray(np.exp(-logsumexp(densities, axis=0, b=shares[:, None])))


# Orders of arrival from which `_typical` learns the number of responses that a code waits for.
RANDOM_ORDERS = 4


@dataclass(frozen=True)
class Workload:
    """A problem, the machines and the delays."""

    size: Size  # the problem
    delays: str | DelayModel  # a delay SPEC or a model
    machine: Machine  # master, workers and the link between them
    # relative error that a decoded product may have; None: the tolerance of the scheme's code
    tolerance: float | None = None
    # iterations to convergence of each solver: a property of the matrix, so an assumption here
    iterations: Mapping[str, int] = field(default_factory=typical_iterations)

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

    def iterations_of(self, scheme: Scheme) -> float:
        """Iterations of the scheme, with the width of its block."""
        return self.iterations[scheme.solver] * scheme.longer(self.size)

    def probe_s(self, scheme: Scheme) -> float:
        """Seconds at the master of the probe that proves a narrow block."""
        return self.machine.computing_s(scheme.probe_operations(self.size))

    def tolerance_of(self, scheme: Scheme) -> float:
        """Relative error that a product of this scheme may have."""
        return scheme.tolerance(self.size) if self.tolerance is None else self.tolerance

    def schedule(self, scheme: Scheme) -> Schedule:
        """Cost and stopping rule of each round of one iteration; `UsageError` when the workers are too few."""
        schedule = scheme.schedule(self.size, self.tolerance_of(scheme))
        # of many workers no more than can be drawn in time
        pieces = min(scheme.pieces(self.size, self.machine), max(LEAST_PIECES, MOST_PIECES // scheme.workers))
        if pieces == 1:
            return schedule
        layout, backups = PieceLayout(scheme.workers, pieces), backups_of(scheme.family)
        return [(cost, EveryPiece(rule, layout, scheme.rows, backups)) for cost, rule in schedule]

    def master_s(self, scheme: Scheme) -> float:
        """Seconds of the master's arithmetic in one iteration, when no worker computes."""
        return self.machine.computing_s(scheme.master_operations(self.size))

    def startup_s(self, scheme: Scheme) -> float:
        """Seconds until every worker has its share of D: computing D, encoding it and sending the shares."""
        return scheme.startup_s(self.size, self.machine)


class Infeasible(Exception):
    """A scheme cannot run on these workers; the message names the reason."""


def iteration_seconds(
    scheme: Scheme, workload: Workload, draws: DelayDraws, most: int | None = None, *, exact: bool = True
) -> Array:
    """Virtual seconds of every iteration, or of the first ``most``: (repeats, iterations); see `round_times`."""
    seconds: Array = round_times(scheme, workload, draws, most, exact=exact).sum(axis=2)
    return seconds


def round_times(
    scheme: Scheme, workload: Workload, draws: DelayDraws, most: int | None = None, *, exact: bool = True
) -> Array:
    """Virtual seconds of every round of every iteration, or of the first ``most``: (repeats, iterations, rounds).

    The master's arithmetic of an iteration counts in its last round. Without ``exact``, a code's error is not evaluated
    in every round; it waits for as many responses as it does on average in random order. At hundreds of workers that is
    the difference between seconds and an hour.

    Raises Infeasible when the workers are too few or an iteration cannot be decoded to the tolerance.
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

    No code's error is evaluated: no round ends with fewer responses than its threshold. Copies of blocks have no
    error to ask for.

    Raises Infeasible when fewer workers respond than the threshold.
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
    """Seconds with the mean of `iteration_seconds`, with the code's error evaluated in few draws alone.

    The wait beyond the threshold in these draws counts for the others of their stratum too. So the mean says no more
    than these draws do, and the interval accounts for it.

    Returns (draws, iterations).
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
    """Try the rules on the workers that respond in the first iteration of each repetition."""
    try:
        schedule = workload.schedule(scheme)
    except (UsageError, DecodingError) as error:
        raise Infeasible(str(error)) from None
    _require_satisfiable(schedule, draws)


def _drawn_seconds(
    scheme: Scheme, schedule: Schedule, workload: Workload, draws: DelayDraws, most: int | None
) -> Array:
    """Seconds of each round, (repeats, iterations, rounds)."""
    iterations = min(workload.iterations[scheme.solver], most or 10**9)
    delays, slowness = draws.delays(schedule, iterations), draws.slowness(schedule, iterations)
    seconds = np.empty(delays.shape[:3])
    for index, (cost, rule) in enumerate(schedule):
        late = delays[:, :, index].reshape(-1, scheme.workers)
        slower = None if slowness is None else slowness[:, :, index].reshape(late.shape)
        if isinstance(rule, EveryPiece):
            ended_s = pieces_waiting_s(cost, late, workload.machine, slower, rule)
        else:
            ended_s = waiting_s(cost.response_s(late, workload.machine, slower), rule)
        seconds[:, :, index] = ended_s.reshape(seconds.shape[:2])
    seconds[:, :, -1] += workload.master_s(scheme)
    return seconds


def _typical(rule: StoppingRule, workers: int) -> StoppingRule:
    """The rule that counts responses in place of one that evaluates the error of a code."""
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
