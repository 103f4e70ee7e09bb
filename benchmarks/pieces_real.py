"""Rounds in pieces on worker processes, beside the virtual clock and beside whole shares at two thresholds.

Slowness is injected as sleep: each worker's panels take so many times as long as its processor needs, so that twelve
workers together work for a third of one core, and a share takes some 400 ms. The virtual clock is told the link of this
machine as `plan --calibrate` measures it, and the speed of undisturbed workers that compute in pieces. Whole shares stand
beside it at the same threshold, 6 of 12, and at that of ``systematic`` alone, 9 of 12.

    python -m benchmarks.pieces_real [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import Cluster, Round, WellConditioned
from coded_als.cluster.foresight import Foresight
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.recording import EventLog
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.codes import Systematic, SystematicCode
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.experiments.calibration import calibrated
from coded_als.master import LocalCluster

WORKERS, P, DEFAULT_P = 12, 6, 9
# of D, and the columns of the block that it is multiplied with: a share is some 10 ms of work, and takes 40 times as long
LENGTH, COLUMNS, FACTOR = 3600, 60, 40
SLOWED = f"slowdown-always:n={WORKERS},factor={FACTOR}"
CLUSTERS = {
    "none": SLOWED,
    "exp": f"{SLOWED}+exp:mean=80ms",
    "lognormal speeds .5": f"{SLOWED}+slowdown-lognormal:sigma=0.5",
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


def seconds(cluster: Cluster, p: int, gram: Array, right: Array, rounds: int, *, pieces: bool) -> list[float]:
    """Seconds of each of some rounds on one cluster."""
    code, task = product_of(p, gram, right)
    cluster.store(f"D{p}", list(code.encode_left(gram)))
    rule, layout = WellConditioned(code, Systematic(p).tolerance), PieceLayout(WORKERS, WORKERS)
    foresight, found = Foresight(), []
    for _ in range(rounds):
        if pieces:
            until = foresight.foreseen(EveryPiece(rule, layout), task.operations)
            responses = cluster.run(task, until)
            foresight.learn(responses, until, task.operations)
            product = CodeInPieces(code, until.layout).decode(responses.first(), responses.done, (LENGTH, COLUMNS))
        else:
            responses = cluster.run(task, rule)
            product = code.decode(responses.first(), (LENGTH, COLUMNS))
        assert np.allclose(product, gram @ right)
        found.append(responses.elapsed_s)
    return found


def measured_speed(gram: Array, right: Array) -> float:
    """Multiplications a second of a worker that computes in pieces, slowed down as all of them are and by nothing else."""
    log = EventLog()
    with LocalCluster(WORKERS, SLOWED) as cluster:
        cluster.observers.append(log)
        seconds(cluster, P, gram, right, 5, pieces=True)
    done = [event for event in log.events if event.pieces]
    share_s = statistics.median(event.computed_s * WORKERS / event.pieces for event in done if event.pieces)
    return product_of(P, gram, right)[1].operations / share_s * FACTOR


def median_s(cluster: Cluster, p: int, rounds: int, *, pieces: bool) -> float:
    """Median seconds of a round on a cluster, which is closed."""
    rng = np.random.default_rng(0)
    gram, right = rng.standard_normal((LENGTH, LENGTH)), rng.standard_normal((LENGTH, COLUMNS))
    with cluster:
        return statistics.median(seconds(cluster, p, gram, right, rounds, pieces=pieces))


def main() -> None:
    """Print medians of rounds, and the virtual clock's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    gram, right = rng.standard_normal((LENGTH, LENGTH)), rng.standard_normal((LENGTH, COLUMNS))
    link = replace(calibrated(COLUMNS), cores=None)
    machine = replace(link, multiplications_per_second=measured_speed(gram, right))
    share_s = FACTOR * product_of(P, gram, right)[1].operations / machine.multiplications_per_second
    print(f"W={WORKERS}, p={P}; a share takes {share_s:.3f} s; {link}")
    print(f"{'cluster':22}{'pieces':>8}{'virtual':>9}{'ratio':>7}{'whole p=6':>11}{'p=9':>7}{'times as fast':>15}")
    for name, spec in CLUSTERS.items():
        real = median_s(LocalCluster(WORKERS, spec, seed=3), P, rounds, pieces=True)
        virtual = median_s(SimulatedCluster(WORKERS, spec, 3, machine), P, rounds, pieces=True)
        whole = [median_s(LocalCluster(WORKERS, spec, seed=3), p, rounds, pieces=False) for p in (P, DEFAULT_P)]
        print(
            f"{name:22}{real:8.3f}{virtual:9.3f}{real / virtual:7.3f}{whole[0]:11.3f}{whole[1]:7.3f}"
            f"{whole[0] / real:9.2f}{whole[1] / real:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
