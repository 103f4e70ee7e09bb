"""Stale answers (as DSAG counts them): do block iterations converge with them, and how long does that take?

    python benchmarks/stale.py

D lies on 10 workers by blocks of rows, each on one worker. A round ends with the answers of 8 workers. The blocks of the
others are those of their newest answers, labelled with an earlier round, and taken to the present basis by the small matrix
that fits best. A worker that is at work is not interrupted. The clock is virtual. The excess is that of the returned factors
over the best objective, by NumPy.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from coded_als import CodedALS
from coded_als.cluster import Responses, Round, StoppingRule, all_of
from coded_als.cluster.inline import InlineCluster
from coded_als.delays import DelayStream, Disturbance

WORKERS, FRESH, RANK, WORK_S, MOST_ROUNDS, SEEDS = 10, 8, 5, 0.1, 400, 3
DELAYS = ("exp:mean=100ms", "bimodal:p=0.1,fast=0ms,slow=1s", "measured:lambda", "measured:slow-machine")
Matrix = NDArray[np.float64]


class StaleCluster(InlineCluster):
    """Exact products, of which some blocks are those of an earlier round; and the virtual seconds of the rounds."""

    def __init__(self, delays: str, seed: int, fresh: int) -> None:
        super().__init__(WORKERS)
        self._stream, self._fresh = DelayStream(delays, WORKERS, seed), fresh
        self.now_s, self.rounds = 0.0, 0
        # the task at hand of each worker, and its newest answer: (round, when it is done, X, its rows of D X)
        self._tasks: dict[int, tuple[int, float, Matrix, Matrix]] = {}
        self._newest: dict[int, tuple[int, float, Matrix, Matrix]] = {}

    def run(self, round: Round, until: StoppingRule) -> Responses:
        responses = super().run(round, all_of(WORKERS))
        assert round.payloads is not None
        basis, drawn = round.payloads[0][0][0], self._stream.disturb(round.operations)
        fresh: set[int] = set()
        for worker in range(WORKERS):
            if worker not in self._tasks:
                self._begin(worker, basis, responses, drawn)
        while len(fresh) < self._fresh or len(self._newest) < WORKERS:
            worker = min(self._tasks, key=lambda number: self._tasks[number][1])
            self._newest[worker] = task = self._tasks.pop(worker)
            self.now_s = max(self.now_s, task[1])
            if task[0] == self.rounds:
                fresh.add(worker)
            else:
                self._begin(worker, basis, responses, drawn)
        results = {worker: (self._rows(worker, basis),) for worker in range(WORKERS)}
        self.rounds += 1
        return replace(responses, results=results)

    def _begin(self, worker: int, basis: Matrix, responses: Responses, drawn: Disturbance) -> None:
        done_s = self.now_s + drawn.delays_s[worker] + WORK_S * drawn.slowness[worker]
        self._tasks[worker] = self.rounds, done_s, basis, responses.results[worker][0]

    def _rows(self, worker: int, basis: Matrix) -> Matrix:
        """The newest rows of a worker, for the present basis."""
        index, _, before, rows = self._newest[worker]
        return rows if index == self.rounds else rows @ np.linalg.lstsq(before, basis, rcond=None)[0]


def ratings(seed: int) -> Matrix:
    """Singular values that fall by a tenth from one to the next, in no order of rows or columns."""
    draw = np.random.default_rng(seed)
    turned = np.linalg.qr(draw.standard_normal((200, 200)))[0]
    return (draw.standard_normal((300, 200)) * 0.9 ** np.arange(200)) @ turned


def fit(solver: str, delays: str, seed: int, fresh: int) -> tuple[Any, ...]:
    """Outcome, rounds, virtual seconds, and the excess over the best objective, relative to it."""
    matrix, cluster = ratings(seed), StaleCluster(delays, seed, fresh)
    code = f"systematic:p={WORKERS}"  # each worker holds a block of rows as it is
    model = CodedALS(rank=RANK, code=code, solver=solver, iterations=MOST_ROUNDS, precomputation="local")
    model.fit(matrix, cluster)
    best = float((np.linalg.svd(matrix, compute_uv=False)[RANK:] ** 2).sum())
    loss = float(((matrix - model.user_factors_ @ model.item_factors_.T) ** 2).sum())
    return model.outcome_, cluster.rounds, cluster.now_s, (loss - best) / best


def main() -> None:
    print(f"{'delays':<32}{'solver':<8}{'answers':<9}{'outcomes':<34}{'rounds':>8}{'seconds':>9}{'excess':>10}")
    for delays in DELAYS:
        for solver in ("krylov", "lobpcg", "als"):
            for name, fresh in (("all", WORKERS), ("stale", FRESH)):
                outcomes, rounds, seconds, excess = zip(
                    *(fit(solver, delays, s, fresh) for s in range(SEEDS)), strict=True
                )
                told = ", ".join(outcomes)
                numbers = f"{np.mean(rounds):>8.0f}{np.mean(seconds):>9.1f}{max(excess):>10.0e}"
                print(f"{delays:<32}{solver:<8}{name:<9}{told:<34}{numbers}", flush=True)


if __name__ == "__main__":
    main()
