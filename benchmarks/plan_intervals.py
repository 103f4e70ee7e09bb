"""Are the intervals of a plan true? Twelve clusters with rare, heavy and bursty delays, 200 seeds each.

For each cluster and seed the plan's comparison of the best code with the best scheme without one is made as
`coded-als plan` makes it (block eigensolver alone, W = 10). Its three intervals (seconds without a code, seconds with one, how many
times as fast) are held against the means of 100,000 fits of the same schemes. These are simulated here with NumPy's
generator, round after round with the bursts as they come, and nothing of the plan's draws is used: only the cost of a round
with known delays is shared. The recording is made anew for each seed, and is held against the law that it was recorded from.

A mean of 100,000 fits has an error itself, which for a rare delay is larger than that of the plan: a coded round may be slow once
in a million. Where workers are slow or fast and nothing between, the expectation is added up over all 1,024 sets of slow
workers instead, and ``within`` counts the intervals that hold it. Elsewhere it counts those that hold the mean of the fits
when the error of that mean is added to theirs. ``bare`` counts in all clusters those that hold the mean of the fits as it stands.

Bar: within at least 93 % of all and 90 % of each cluster; "cannot tell yet" at most 20 %. A verdict is wrong where the
best schemes that any seed has taken say otherwise.

    python benchmarks/plan_intervals.py [--seeds 200] [--only WORD] [--fits 100000]

With ``--real`` six such clusters are tried on eight worker processes instead, whose delays are long beside the
times of this machine: the plan is made for the speeds of this machine, both schemes of its comparison are fitted under ``--seeds`` seeds,
and the measured speedup stands beside the plan's, each with its interval. A verdict is contradicted where the measured interval
lies on the other side of the margin.

    python benchmarks/plan_intervals.py --real --seeds 12 [--only WORD]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from coded_als import CodedALS, LocalCluster
from coded_als.cluster import StoppingRule, WellConditioned
from coded_als.cluster.machine import Machine
from coded_als.cluster.waiting import waiting_s
from coded_als.delays import Trace
from coded_als.experiments.calibration import calibrated
from coded_als.planner.choice import MARGIN, Candidate, Race, schemes
from coded_als.planner.schemes import Scheme, Size
from coded_als.planner.solvers import GUARD_VECTORS, typical_iterations
from coded_als.planner.statistics import Estimate, Sampling
from coded_als.planner.timing import Workload

WORKERS, SIZE, ITERATIONS = 10, Size(2000, 300, 10), typical_iterations()["lobpcg"]
RECORDED, BATCH = 400, 5000
Delays = np.ndarray
# (generator, fits, rounds of each) to seconds (fits, rounds, W)
Law = Callable[[np.random.Generator, int, int], Delays]


def bimodal(p: float, fast: float, slow: float) -> Law:
    return lambda rng, fits, rounds: np.where(rng.random((fits, rounds, WORKERS)) < p, slow, fast)


def markov(fast: float, slow: float, enter: float, leave: float) -> Law:
    def law(rng: np.random.Generator, fits: int, rounds: int) -> Delays:
        state = rng.random((fits, WORKERS)) < enter / (enter + leave)
        found = np.empty((fits, rounds, WORKERS))
        for index in range(rounds):
            found[:, index] = np.where(state, slow, fast)
            chance = rng.random((fits, WORKERS))
            state = np.where(state, chance >= leave, chance < enter)
        return found

    return law


def pareto(scale: float, alpha: float) -> Law:
    return lambda rng, fits, rounds: scale * (1 + rng.pareto(alpha, (fits, rounds, WORKERS)))


def exponential(mean: float) -> Law:
    return lambda rng, fits, rounds: rng.exponential(mean, (fits, rounds, WORKERS))


def lasting(n: int, delay: float) -> Law:
    """The same n workers of a fit are late by so much, others in the next fit."""

    def law(rng: np.random.Generator, fits: int, rounds: int) -> Delays:
        late = rng.permuted(np.tile(np.arange(WORKERS) < n, (fits, 1)), axis=1)
        return np.repeat(np.where(late, delay, 0.0)[:, None], rounds, axis=1)

    return law


def added(*laws: Law) -> Law:
    return lambda rng, fits, rounds: sum(law(rng, fits, rounds) for law in laws)


@dataclass(frozen=True)
class Cluster:
    """Delays as a plan is told of them, and as they are drawn here; without a SPEC the plan is given a recording."""

    name: str
    spec: str
    law: Law
    slow_share: float = 0.0

    def workload(self, seed: int) -> Workload:
        if self.spec:
            return Workload(SIZE, self.spec, Machine())
        rng = np.random.default_rng(seed + 10**6)
        return Workload(SIZE, Trace(self.law(rng, 1, RECORDED)[0]), Machine())


CLUSTERS = (
    Cluster("rare and very slow", "bimodal:p=0.002,fast=5ms,slow=5s", bimodal(0.002, 0.005, 5.0), 0.002),
    Cluster("rare and slow", "bimodal:p=0.02,fast=5ms,slow=500ms", bimodal(0.02, 0.005, 0.5), 0.02),
    Cluster(
        "bursts of 10 rounds", "markov:fast=2ms,slow=1s,enter=0.02,leave=0.1", markov(0.002, 1.0, 0.02, 0.1), 1 / 6
    ),
    Cluster(
        "bursts of 50 rounds",
        "markov:fast=2ms,slow=300ms,enter=0.002,leave=0.02",
        markov(0.002, 0.3, 0.002, 0.02),
        1 / 11,
    ),
    Cluster(
        "rare bursts of 3",
        "markov:fast=2ms,slow=2s,enter=0.0005,leave=0.3",
        markov(0.002, 2.0, 0.0005, 0.3),
        0.0005 / 0.3005,
    ),
    Cluster("pareto 2.2", "pareto:scale=5ms,alpha=2.2", pareto(0.005, 2.2)),
    Cluster("pareto 2.5", "pareto:scale=20ms,alpha=2.5", pareto(0.02, 2.5)),
    Cluster("pareto 3", "pareto:scale=1ms,alpha=3", pareto(0.001, 3.0)),
    Cluster("exp, two slow", "exp:mean=20ms+slow:n=2,delay=100ms", added(exponential(0.02), lasting(2, 0.1))),
    Cluster(
        "exp, rarely slow",
        "exp:mean=10ms+bimodal:p=0.005,fast=0s,slow=3s",
        added(exponential(0.01), bimodal(0.005, 0.0, 3.0)),
    ),
    Cluster("pareto, one dead", "pareto:scale=5ms,alpha=2.5+dead:n=1", added(pareto(0.005, 2.5), lasting(1, math.inf))),
    Cluster(f"recording of {RECORDED}", "", added(exponential(0.01), bimodal(0.003, 0.0, 1.0))),
)


@cache
def enough(rule: WellConditioned) -> np.ndarray:
    """Whether each set of workers, a number whose bits are its members, satisfies a rule."""
    sets = ([w for w in range(WORKERS) if number >> w & 1] for number in range(2**WORKERS))
    return np.array([len(members) >= rule.needed and rule.satisfied(members) for members in sets])


def ends_s(arrivals: np.ndarray, rule: StoppingRule) -> np.ndarray:
    """Seconds until each round ends, (rounds,)."""
    if not isinstance(rule, WellConditioned):
        return waiting_s(arrivals, rule)
    order = np.argsort(arrivals, axis=1, kind="stable")
    there = np.cumsum(1 << order, axis=1)
    last = np.argmax(enough(rule)[there], axis=1)
    return np.take_along_axis(arrivals, np.take_along_axis(order, last[:, None], axis=1), axis=1)[:, 0]


def simulated(cluster: Cluster, scheme: Scheme, fits: int) -> tuple[float, float]:
    """Mean seconds of so many fits, and its standard error."""
    workload, rng, totals = cluster.workload(0), np.random.default_rng(20), []
    ((cost, rule),) = workload.schedule(scheme)
    for _ in range(fits // BATCH):
        delays = cluster.law(rng, BATCH, ITERATIONS).reshape(-1, WORKERS)
        rounds = ends_s(cost.response_s(delays, workload.machine), rule).reshape(BATCH, ITERATIONS)
        totals.append(rounds.sum(axis=1))
    found = np.concatenate(totals) + ITERATIONS * workload.master_s(scheme) + workload.startup_s(scheme)
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(found.size))


def expected(cluster: Cluster, scheme: Scheme) -> float:
    """Expected seconds of a fit, from the chance of every set of slow workers."""
    workload = cluster.workload(0)
    ((cost, rule),) = workload.schedule(scheme)
    slow = np.array([[number >> w & 1 for w in range(WORKERS)] for number in range(2**WORKERS)], bool)
    chances = np.where(slow, cluster.slow_share, 1 - cluster.slow_share).prod(axis=1)
    model: Any = workload.recorded
    rounds = ends_s(cost.response_s(np.where(slow, model.slow, model.fast), workload.machine), rule)
    return ITERATIONS * (float(chances @ rounds) + workload.master_s(scheme)) + workload.startup_s(scheme)


def holds(estimate: Estimate, mean: float, error: float) -> bool:
    """Whether an interval holds a mean that is known up to an error."""
    assert estimate.low is not None
    assert estimate.high is not None
    side = estimate.high - estimate.value if mean > estimate.value else estimate.value - estimate.low
    return abs(mean - estimate.value) <= math.hypot(side, 1.96 * error) + 1e-9 * mean


@dataclass
class Counts:
    """Of one cluster: plans, those that cannot tell, wrong verdicts, and the fate of the three kinds of intervals."""

    plans: int = 0
    cannot_tell: int = 0
    wrong: int = 0
    draws: int = 0

    def __post_init__(self) -> None:
        self.given, self.within, self.bare = np.zeros(3, int), np.zeros(3, int), np.zeros(3, int)

    def row(self) -> str:
        covered = "".join(
            f"{f'{100 * w / g:.1f} ({100 * b / g:.0f})' if g else '-':>14}"
            for g, w, b in zip(self.given, self.within, self.bare, strict=True)
        )
        return (
            f"{covered}{100 * self.cannot_tell / self.plans:13.1f}{100 * self.wrong / self.plans:8.1f}"
            f"{self.draws / self.plans:9.0f}"
        )

    def add(self, other: Counts) -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def compared(cluster: Cluster, seeds: int, fits: int) -> Counts:
    counts, means, verdicts = Counts(), {}, []

    def truth(candidate: Candidate) -> tuple[float, float, float]:
        """The mean of the fits, the expectation as well as it is known, and the error of that."""
        scheme = candidate.scheme
        if scheme not in means:
            mean, error = simulated(cluster, scheme, fits)
            means[scheme] = (mean, expected(cluster, scheme), 0.0) if cluster.slow_share else (mean, mean, error)
        return means[scheme]

    for seed in range(seeds):
        race = Race(cluster.workload(seed), schemes(WORKERS, ("lobpcg",)), seed=seed)
        duel = race.duel(race.accurate)
        plain, coded, speedup = duel.plain, duel.coded, duel.speedup
        if plain is None or coded is None or speedup is None:
            raise SystemExit(f"{cluster.name}: nothing to compare")
        below, above = truth(coded), truth(plain)
        error = math.hypot(above[2], above[1] / below[1] * below[2]) / below[1]
        ratio = above[0] / below[0], above[1] / below[1], error
        for kind, (estimate, known) in enumerate(
            zip((plain.estimate, coded.estimate, speedup), (above, below, ratio), strict=True)
        ):
            if estimate.low is not None:
                counts.given[kind] += 1
                counts.within[kind] += holds(estimate, known[1], known[2])
                counts.bare[kind] += holds(estimate, known[0], 0.0)
        counts.plans += 1
        counts.cannot_tell += duel.verdict == "cannot tell yet"
        verdicts.append(duel.verdict)
        counts.draws += len(coded.sampling)
    # the best of all that any seed took, not only of the pair at hand
    best = [
        min(mean for scheme, (_, mean, _) in means.items() if scheme.family.coded is coded) for coded in (False, True)
    ]
    counts.wrong = verdicts.count("coding does not pay" if best[0] / best[1] >= 1 + MARGIN else "coding pays")
    return counts


@dataclass(frozen=True)
class Trial:
    """Delays for worker processes."""

    name: str
    delays: str


TRIALS = (
    Trial("rare and slow", "bimodal:p=0.02,fast=20ms,slow=1s"),
    Trial("bursts of 10 rounds", "markov:fast=20ms,slow=400ms,enter=0.02,leave=0.1"),
    Trial("pareto 2.2", "pareto:scale=30ms,alpha=2.2"),
    Trial("pareto, one dead", "pareto:scale=30ms,alpha=2.5+dead:n=1"),
    Trial("exp, two slow", "exp:mean=60ms+slow:n=2,delay=150ms"),
    Trial("exp, rarely slow", "exp:mean=60ms+bimodal:p=0.01,fast=0s,slow=1s"),
)
REAL_WORKERS, REAL_SIZE = 8, Size(300, 200, 5)
# of each worker: a quarter of D, which is two copies, or a code that needs four responses
REAL_MEMORY = 8 * REAL_SIZE.length**2 / 4


def fitted_s(scheme: Scheme, delays: str, seed: int, matrix: np.ndarray) -> float:
    """Wall seconds of one fit on workers started for it, with as many iterations as plans count on."""
    model = CodedALS(REAL_SIZE.rank, code=scheme.code, iterations=ITERATIONS, tolerance=0.0)
    with LocalCluster(REAL_WORKERS, delays, seed) as cluster:
        started = time.perf_counter()
        model.fit(matrix, cluster)
        return time.perf_counter() - started


def real(options: argparse.Namespace) -> Iterator[str]:
    machine = calibrated(REAL_SIZE.rank + GUARD_VECTORS)
    matrix = np.random.default_rng(0).standard_normal((REAL_SIZE.rows, REAL_SIZE.columns))
    yield f"{'cluster':22}{'verdict':>22}{'plan':>22}{'measured':>22}{'seconds, plan':>16}{'measured':>14}"
    for trial in (trial for trial in TRIALS if options.only in trial.name):
        race = Race(
            Workload(REAL_SIZE, trial.delays, machine), schemes(REAL_WORKERS, ("lobpcg",)), memory_bytes=REAL_MEMORY
        )
        duel = race.duel(race.accurate)
        assert duel.plain is not None
        assert duel.coded is not None
        assert duel.speedup is not None
        seconds = {
            found.scheme: np.array(
                [fitted_s(found.scheme, trial.delays, seed, matrix) for seed in range(options.seeds)]
            )
            for found in (duel.plain, duel.coded)
        }
        plain_s, coded_s = seconds[duel.plain.scheme], seconds[duel.coded.scheme]
        measured = Sampling.plain(options.seeds).ratio(plain_s, coded_s)
        contradicted = (duel.verdict == "coding pays" and measured.high is not None and measured.high < 1 + MARGIN) or (
            duel.verdict == "coding does not pay" and measured.low is not None and measured.low >= 1 + MARGIN
        )
        yield (
            f"{trial.name:22}{duel.verdict:>22}{told(duel.speedup):>22}{told(measured):>22}"
            f"{f'{duel.plain.mean_s:.2f} {duel.coded.mean_s:.2f}':>16}{f'{plain_s.mean():.2f} {coded_s.mean():.2f}':>14}   "
            f"{duel.plain.scheme.code} against {duel.coded.scheme.code}{' CONTRADICTED' if contradicted else ''}"
        )


def told(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} (?)"
    return f"{estimate.value:.2f} ({estimate.low:.2f} - {estimate.high:.2f})"


def tables(options: argparse.Namespace) -> Iterator[str]:
    yield (
        f"{'cluster':22}{'without a code':>14}{'with':>14}{'times as fast':>14}{'cannot tell':>13}{'wrong':>8}{'draws':>9}   "
        "[% within (bare)]"
    )
    total, least = Counts(), 100.0
    for cluster in CLUSTERS:
        if options.only in cluster.name:
            started = time.process_time()
            counts = compared(cluster, options.seeds, options.fits)
            total.add(counts)
            least = min(least, *(100 * counts.within[counts.given > 0] / counts.given[counts.given > 0]), 100.0)
            yield f"{cluster.name:22}{counts.row()}   {time.process_time() - started:.0f} s"
    yield f"{'all':22}{total.row()}   least of a cluster {least:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="plans of each cluster")
    parser.add_argument("--fits", type=int, default=100_000, help="whose mean the intervals are held against")
    parser.add_argument("--only", default="", help="clusters whose name holds this")
    parser.add_argument("--real", action="store_true", help="on worker processes")
    options = parser.parse_args()
    for line in real(options) if options.real else tables(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
