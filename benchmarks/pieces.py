"""Rounds in pieces beside whole shares, uncoded rounds and the bound of pooled work, on the virtual clock, messages counted.

The clusters are those in which a share of 1/W of D takes a given time when nothing disturbs it: delays before the work in
units of that time, and factors of the work. The default is told nothing of them; it learns from the earlier rounds of the
same cluster, of which several are drawn. It is compared with the best threshold of whole shares that an oracle picks for
each kind of cluster, and with the moment at which the work of all workers, each at most its own share, adds up to D once:
nothing with the same memory ends sooner.

    python -m benchmarks.pieces [--clusters 10] [--rounds 20] [--workers 30] [--threshold 15] [--pieces 30] [--forget]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import WellConditioned
from coded_als.cluster.foresight import FEWEST, Foresight
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import play
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.waiting import RoundCost
from coded_als.codes import Systematic, SystematicCode
from coded_als.codes.pieces import PieceLayout
from coded_als.delays import DelayStream, Disturbance

# Units of time of the work of 1/W of D.
CLUSTERS = {
    "none": "none",
    "exp": "exp:mean=400ms",
    "bimodal 15 % + 20": "bimodal:p=0.15,fast=0s,slow=20s",
    "10 % dead": "dead:n=3",
    "lognormal speeds .25": "slowdown-lognormal:sigma=0.25",
    "lognormal speeds .5": "slowdown-lognormal:sigma=0.5",
    "half at double speed": "slowdown-always:n=15,factor=0.5",
    "one at 1/3": "slowdown-always:n=1,factor=3",
    "15 % at 1/5": "slowdown:p=0.15,factor=5",
    "pareto": "pareto:scale=100ms,alpha=1.2",
    "markov, 1/5": "slowdown-markov:factor=5,enter=0.05,leave=0.2",
}
MESSAGE_S, LATENCY_S = 1.5e-4, 1e-4


@dataclass(frozen=True)
class Result:
    """Mean seconds of a round, and the messages of one for each worker."""

    pieces_s: float
    oracle_s: float
    oracle_p: int
    pooled_s: float
    uncoded_s: float
    messages: float
    later: float  # messages of each worker once the master foresees rounds
    arcs: float  # part of the rounds in which workers begin in arcs by speed


def measured(spec: str, share_s: float, options: argparse.Namespace) -> Result:
    """The means over all rounds of some clusters of one kind."""
    workers, p = options.workers, options.threshold
    machine, work_s = Machine(1.0, np.inf, LATENCY_S, MESSAGE_S), share_s * workers / p
    clusters = [_drawn(spec, share_s, workers, options.rounds, seed) for seed in range(options.clusters)]
    code = SystematicCode(p, 1, workers)
    until = EveryPiece(WellConditioned(code, Systematic(p).tolerance), PieceLayout(workers, options.pieces))
    played = [one for drawn in clusters for one in _played(until, drawn, work_s, machine, options.forget)]
    elapsed_s, messages, begun = np.array(played).T
    drawn = [one for cluster in clusters for one in cluster]
    late, slow = (np.array([getattr(one, name) for one in drawn]) for name in ("delays_s", "slowness"))
    whole = {
        q: np.sort(RoundCost(share_s * workers / q).response_s(late, machine, slow), axis=1)[:, q - 1].mean()
        for q in range(1, workers + 1)
    }
    best = min(whole, key=whole.__getitem__)
    return Result(
        float(elapsed_s.mean()),
        float(whole[best]),
        best,
        float(np.mean([pooled_s(one, share_s, workers, p) for one in drawn])),
        float(whole[workers]),
        float(messages.mean()) / workers,
        float(messages.reshape(len(clusters), -1)[:, FEWEST:].mean()) / workers,
        float(begun.mean()),
    )


def _drawn(spec: str, share_s: float, workers: int, rounds: int, seed: int) -> list[Disturbance]:
    stream = DelayStream(spec, workers, seed)
    drawn = [stream.disturb() for _ in range(rounds)]
    return [Disturbance(one.delays_s * share_s, one.slowness) for one in drawn]


def _played(
    until: EveryPiece, drawn: list[Disturbance], work_s: float, machine: Machine, forget: bool
) -> Iterator[tuple[float, int, bool]]:
    """Seconds, messages, and whether workers begin in arcs, of each round of one cluster."""
    foresight, cost = Foresight(), RoundCost(work_s)
    for one in drawn:
        rule = until if forget else foresight.foreseen(until, work_s)
        course = play(cost, rule, one, machine)
        foresight.learn(course, rule, work_s)
        yield course.elapsed_s, course.messages, bool(rule.layout.starts)


def pooled_s(drawn: Disturbance, share_s: float, workers: int, p: int) -> float:
    """When the work of all workers, each at most a share of 1/p, adds up to D once."""
    ends_s = np.sort(np.concatenate([drawn.delays_s, drawn.delays_s + drawn.slowness * share_s * workers / p]))
    ends_s = ends_s[np.isfinite(ends_s)]

    def done(at_s: float) -> float:
        worked_s: Array = np.maximum(at_s - drawn.delays_s, 0)
        return float(np.minimum(workers / p, worked_s / (drawn.slowness * share_s)).sum())

    after = next(place for place, end_s in enumerate(ends_s) if done(end_s) >= workers * (1 - 1e-12))
    before_s, after_s = ends_s[after - 1], ends_s[after]  # the work grows linearly in between
    part = (workers - done(before_s)) / max(done(after_s) - done(before_s), 1e-300)
    return float(before_s + part * (after_s - before_s))


def main() -> None:
    """Print a table for shares of 1 s, and one for shares of 50 ms, for 1/W of D."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=10, help="of each kind, with chosen workers of their own")
    parser.add_argument("--rounds", type=int, default=20, help="of each cluster")
    parser.add_argument("--workers", type=int, default=30)
    parser.add_argument("--threshold", type=int, default=15, help="p: the memory of two copies at 15 of 30")
    parser.add_argument("--pieces", type=int, default=30, help="of each share")
    parser.add_argument("--forget", action="store_true", help="learn nothing from earlier rounds")
    options = parser.parse_args()
    for share_s in (1.0, 0.05):
        print(
            f"\nW={options.workers}, p={options.threshold}, {share_s:g} s for 1/W of D, {MESSAGE_S * 1e3:g} ms a message"
        )
        print(
            f"{'cluster':22}{'pieces':>9}{'oracle':>9}{'at p':>5}{'ratio':>7}{'/pooled':>9}{'/uncoded':>10}{'messages':>10}{'later':>7}{'arcs':>6}"
        )
        for name, spec in CLUSTERS.items():
            found = measured(spec, share_s, options)
            print(
                f"{name:22}{found.pieces_s:9.4f}{found.oracle_s:9.4f}{found.oracle_p:5d}"
                f"{found.pieces_s / found.oracle_s:7.3f}{found.pieces_s / found.pooled_s:9.3f}"
                f"{found.pieces_s / found.uncoded_s:10.3f}{found.messages:10.2f}{found.later:7.2f}{found.arcs:6.2f}"
            )


if __name__ == "__main__":
    main()
