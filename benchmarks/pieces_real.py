"""Rounds in pieces on worker processes, beside the virtual clock and beside whole shares at the default threshold.

Slowness is injected as sleep: each worker's panels take so many times as long as its processor needs, so that twelve
workers together work for less than one core, and a share takes some 200 ms. The speed that the virtual clock is told is
measured: the median seconds of an undisturbed share.

    python -m benchmarks.pieces_real [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from coded_als.arrays import Array
from coded_als.cluster import Cluster, Round, WellConditioned, all_of
from coded_als.cluster.foresight import Foresight
from coded_als.cluster.machine import Machine
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.recording import EventLog
from coded_als.cluster.virtual import SimulatedCluster
from coded_als.codes import Systematic, SystematicCode
from coded_als.codes.pieces import CodeInPieces, PieceLayout
from coded_als.master import LocalCluster

WORKERS, P, DEFAULT_P = 12, 6, 9
# of D, and the columns of the block that it is multiplied with: a share is some 10 ms of work, and takes 20 times as long
LENGTH, COLUMNS, FACTOR = 3600, 60, 20
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
    """Multiplications a second of a worker that is slowed down as all of them are, and by nothing else."""
    code, task = product_of(P, gram, right)
    log = EventLog()
    with LocalCluster(WORKERS, SLOWED) as cluster:
        cluster.observers.append(log)
        cluster.store(f"D{P}", list(code.encode_left(gram)))
        for _ in range(5):
            cluster.run(task, all_of(WORKERS))
    return task.operations / statistics.median(event.computed_s for event in log.events) * FACTOR


def main() -> None:
    """Print medians of rounds, and what the virtual clock says of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    gram, right = rng.standard_normal((LENGTH, LENGTH)), rng.standard_normal((LENGTH, COLUMNS))
    machine = Machine(measured_speed(gram, right), 1e9, 2e-4, 1e-4)
    print(
        f"W={WORKERS}, p={P}; a share takes {FACTOR * LENGTH**2 / P * COLUMNS / machine.multiplications_per_second:.3f} s"
    )
    print(f"{'cluster':22}{'pieces':>8}{'virtual':>9}{'ratio':>7}{'whole p=9':>11}{'times as fast':>15}")
    for name, spec in CLUSTERS.items():
        with LocalCluster(WORKERS, spec, seed=3) as cluster:
            in_pieces = statistics.median(seconds(cluster, P, gram, right, options.rounds, pieces=True))
        with SimulatedCluster(WORKERS, spec, 3, machine) as clock:
            virtual = statistics.median(seconds(clock, P, gram, right, options.rounds, pieces=True))
        with LocalCluster(WORKERS, spec, seed=3) as cluster:
            whole = statistics.median(seconds(cluster, DEFAULT_P, gram, right, options.rounds, pieces=False))
        print(
            f"{name:22}{in_pieces:8.3f}{virtual:9.3f}{in_pieces / virtual:7.3f}{whole:11.3f}{whole / in_pieces:15.2f}"
        )


if __name__ == "__main__":
    main()
