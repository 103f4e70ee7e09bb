"""Rounds in pieces on worker processes, beside the virtual clock and beside whole shares at two thresholds.

Slowness is injected as sleep: each worker's panels take so many times as long as its processor needs, so that twelve
workers together work for a third of one core. A piece is as high as in a product that takes as long without: one of a few
rows takes longer for each, which slowness would multiply. The virtual clock is told the link of this
machine as `plan --calibrate` measures it, and the speed of these very workers without the slowness injected: a shared
machine drifts by a tenth within minutes. For the same reason the three ways take turns, round by round. Whole shares stand
beside it at the same threshold, 6 of 12, and at that of ``systematic`` alone, 9 of 12.

    python -m benchmarks.pieces_real [--rounds 5] [--only speeds]
"""

from __future__ import annotations

import argparse
import re
import statistics
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import Cluster, Round, WellConditioned
from coded_als.cluster.foresight import Foresight
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.recording import EventLog
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.codes import Systematic, SystematicCode
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.delays import DelayStream
from coded_als.experiments.calibration import calibrated
from coded_als.master import LocalCluster

WORKERS, P, DEFAULT_P, SEED = 12, 6, 9, 3
# Rows of D, columns of the block that multiplies it, and the slowness of all workers. A piece is one panel, as in a whole share.
# A share is some 70 ms of work, and takes 30 times as long.
LENGTH, COLUMNS, FACTOR = 9000, 90, 30
SLOWED = f"slowdown-always:n={WORKERS},factor={FACTOR}"
CLUSTERS = {
    "none": SLOWED,
    "exp": f"{SLOWED}+exp:mean=80ms",
    "lognormal speeds .5": f"{SLOWED}+slowdown-lognormal:sigma=0.5",
    "half at half speed": f"{SLOWED}+slowdown-always:n=6,factor=2",
    "one at 1/3": f"{SLOWED}+slowdown-always:n=1,factor=3",
    "15 % at 1/5": f"{SLOWED}+slowdown:p=0.15,factor=5",
    "markov, 1/5": f"{SLOWED}+slowdown-markov:factor=5,enter=0.05,leave=0.2",
}


def product_of(p: int, gram: Array, right: Array) -> tuple[SystematicCode, Round]:
    """The code at a threshold, and a round of E = D X with shares of it named after it."""
    code = SystematicCode(p, 1, WORKERS)
    shape = code.response_shape((LENGTH, COLUMNS))
    work = shape[1] * LENGTH * COLUMNS
    return code, Round(
        "product", (f"D{p}",), [(right[None],)] * WORKERS, (), (shape,), operations=work, label="E = D X"
    )


class Rounds:
    """Rounds of E = D X on one cluster at a threshold, in pieces or with whole shares."""

    def __init__(self, cluster: Cluster, p: int, gram: Array, right: Array, *, pieces: bool) -> None:
        self.log, self.seconds = EventLog(), list[float]()
        self._cluster, self._gram, self._right, self._pieces = cluster, gram, right, pieces
        self._code, self._round = product_of(p, gram, right)
        self._foresight = Foresight()
        cluster.observers.append(self.log)
        cluster.store(f"D{p}", list(self._code.encode_left(gram)))

    def run(self) -> None:
        """One round more."""
        rule = WellConditioned(self._code, Systematic(self._code.p).tolerance)
        if self._pieces:
            work = self._round.operations
            until = self._foresight.foreseen(EveryPiece(rule, PieceLayout(WORKERS, WORKERS)), work)
            responses = self._cluster.run(self._round, until)
            self._foresight.learn(responses, until, work)
            code = CodeInPieces(self._code, until.layout)
            product = code.decode(responses.first(), responses.done, self._right.shape)
        else:
            responses = self._cluster.run(self._round, rule)
            product = self._code.decode(responses.first(), self._right.shape)
        assert np.allclose(product, self._gram @ self._right)
        self.seconds.append(responses.elapsed_s)

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def undisturbed_speed(self, delays: str, seed: int) -> float:
        """Multiplications a second of these workers, without the slowness injected."""
        stream = DelayStream(delays, WORKERS, seed)
        slowness = [stream.disturb(self._round.operations).slowness for _ in self.seconds]
        share_s = [
            event.computed_s * WORKERS / event.pieces / slowness[event.round_index][event.worker]
            for event in self.log.events
            if event.pieces
        ]
        return self._round.operations / statistics.median(share_s)


def case(name: str, delays: str, link: Machine, gram: Array, right: Array, rounds: int) -> None:
    """Print the medians of one cluster."""
    with ExitStack() as opened:
        clusters = [opened.enter_context(LocalCluster(WORKERS, delays, seed=SEED)) for _ in range(3)]
        real, *whole = (
            Rounds(cluster, p, gram, right, pieces=index == 0)
            for index, (cluster, p) in enumerate(zip(clusters, (P, P, DEFAULT_P), strict=True))
        )
        for _ in range(rounds):
            for way in (real, *whole):
                way.run()
    machine = replace(link, multiplications_per_second=real.undisturbed_speed(delays, SEED))
    with SimulatedCluster(WORKERS, delays, SEED, machine) as cluster:
        virtual = Rounds(cluster, P, gram, right, pieces=True)
        for _ in range(rounds):
            virtual.run()
        cluster.drop([f"D{P}"])
    share_s = FACTOR * product_of(P, gram, right)[1].operations / machine.multiplications_per_second
    equal_p, default_p = (way.median_s for way in whole)
    print(
        f"{name:22}{share_s:7.3f}{real.median_s:8.3f}{virtual.median_s:9.3f}{real.median_s / virtual.median_s:7.3f}"
        f"{equal_p:11.3f}{default_p:7.3f}{equal_p / real.median_s:9.2f}{default_p / real.median_s:6.2f}",
        flush=True,
    )


def main() -> None:
    """Print medians of rounds, and the virtual clock's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="clusters whose name this regular expression finds")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    gram, right = rng.standard_normal((LENGTH, LENGTH)), rng.standard_normal((LENGTH, COLUMNS))
    link = replace(calibrated(COLUMNS), cores=None)
    print(f"W={WORKERS}, p={P}; {link}")
    print(
        f"{'cluster':22}{'share':>7}{'pieces':>8}{'virtual':>9}{'ratio':>7}{'whole p=6':>11}{'p=9':>7}{'times as fast':>15}"
    )
    for name, delays in CLUSTERS.items():
        if re.search(options.only, name):
            case(name, delays, link, gram, right, options.rounds)


if __name__ == "__main__":
    main()
