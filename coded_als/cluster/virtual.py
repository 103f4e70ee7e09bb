"""The virtual clock: a cluster with real numerics and drawn times.

The time of a round follows from delays, multiplications and messages by `coded_als.cluster.waiting`. Every worker
starts on a new round at once, since real workers drop a superseded task (`coded_als.worker`): rounds are independent,
and a round takes until its stopping rule's last needed response is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from coded_als.arrays import Array
from coded_als.checks import RNG, seed_from
from coded_als.cluster.held import HeldArrays, newly
from coded_als.cluster.machine import Machine
from coded_als.cluster.piecewise import Played, gather_pieces, pieces_done
from coded_als.cluster.questions import EveryPiece
from coded_als.cluster.seam import Observer, Responses, Round, Status, StoppingRule, TaskEvent
from coded_als.cluster.waiting import RoundCost
from coded_als.delays.models import DelayModel
from coded_als.delays.streams import DelayStream, arrival_order
from coded_als.kernels import Stored


@dataclass(frozen=True)
class _SentRound:
    """A round with unused tasks that are still open; seconds count from its start where no clock is named."""

    index: int
    label: str
    sent_s: float  # on the cluster's clock
    delays: Array
    received_s: float
    computed_s: Array
    response_s: Array
    work_s: Array
    settled: frozenset[int]
    done: Mapping[int, int]


class SimulatedCluster:
    """W workers on a virtual clock: thousands fit on a laptop, and no call waits.

    Kernels run only for the responses that a round uses, so the factors are those of a real cluster. The
    master's own work takes no virtual time.

    Parameters
    ----------
    workers
        Number of workers W.
    delays
        A delay SPEC (`coded_als.delays.parse_delays`); equal seeds give a `LocalCluster` the same delays.
    seed
        Seed of the delays.
    rng
        In place of ``seed``: a whole number, a `numpy.random.SeedSequence`, or a `numpy.random.Generator` that a seed is
        drawn from. Without either the seed is 0.
    machine
        Speeds of workers and link.

    Examples
    --------
    >>> import numpy as np
    >>> from coded_als import CodedALS, SimulatedCluster
    >>> ratings = np.random.default_rng(0).standard_normal((60, 20))
    >>> cluster = SimulatedCluster(100, delays="bimodal:p=0.1,fast=5ms,slow=1s", seed=0)
    >>> CodedALS(rank=3, code="systematic:p=10").fit(ratings, cluster).converged_
    True
    >>> cluster.seconds() < 1  # no round has waited for a slow worker
    True
    """

    virtual = True

    def __init__(
        self,
        workers: int,
        delays: str | DelayModel = "none",
        seed: int | None = None,
        machine: Machine | None = None,
        *,
        rng: RNG = None,
    ) -> None:
        self._delays = DelayStream(delays, workers, seed_from(seed, rng))
        self.delays = self._delays.model
        self.size = workers
        self.observers: list[Observer] = []
        self.machine = Machine() if machine is None else machine
        self._arrays = HeldArrays(workers)
        self._round_index = 0
        self._now_s = 0.0
        self._open: _SentRound | None = None

    def seconds(self) -> float:
        return self._now_s

    def store(self, name: str, shares: Iterable[Stored]) -> None:
        self._arrays.store(name, shares)

    def drop(self, names: Iterable[str]) -> None:
        self._arrays.drop(names)

    def run(self, round: Round, until: StoppingRule) -> Responses:
        cost = RoundCost.of(round)
        received_s = cost.received_s(self.size, self.machine)
        self._settle_open(self._now_s + received_s)
        self._arrays.receive(round)
        drawn = self._delays.disturb(round.operations)
        if round.excluded:  # they take no turn on a shared core
            apart = np.isin(np.arange(self.size), list(round.excluded))
            drawn = replace(drawn, delays_s=np.where(apart, np.inf, drawn.delays_s))
        delays = drawn.delays_s
        response_s = cost.response_s(delays, self.machine, drawn.slowness)
        left_out: dict[int, Status] = {}
        results: dict[int, tuple[Array, ...]] = {}
        course = Played()
        work_s = self.machine.working_s(cost.operations, drawn.slowness)
        sent_s, elapsed_s = self._now_s, 0.0
        try:
            if isinstance(until, EveryPiece):
                results, course = gather_pieces(self._arrays, round, until, drawn, self.machine, left_out)
                work_s = work_s * pieces_done(until, course.done, self.size)
                for worker, heard_s in course.heard_s.items():
                    response_s[worker] = heard_s
            else:
                results = self._arrays.gather(round, arrival_order(response_s), until, left_out)
        finally:
            told: dict[int, Status] = {**dict.fromkeys(results, "counted"), **newly(left_out, round)}
            if told:
                # the last response that counts ends a round; in one that fails, the last that does not count
                elapsed_s = max(float(response_s[worker]) for worker in (results or told))
                self._now_s += elapsed_s
                self._open = _SentRound(
                    self._round_index,
                    round.label,
                    sent_s,
                    delays,
                    received_s,
                    cost.computed_s(delays, self.machine, drawn.slowness),
                    response_s,
                    work_s,
                    frozenset(told) | round.excluded,
                    course.done,
                )
                for worker, status in told.items():
                    self._report(self._open, worker, status)
            self._round_index += 1
        left = tuple(newly(left_out, round))
        return Responses(tuple(results), results, elapsed_s, left, course.done, course.answered_s, course.paces)

    def close(self) -> None:
        self._settle_open(None)
        self._arrays.clear()

    def __enter__(self) -> SimulatedCluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _settle_open(self, newer_arrives_s: float | None) -> None:
        """Report the outcome of the last round's unused tasks: the next one pre-empts those that still run."""
        sent, self._open = self._open, None
        if sent is None or not self.observers:
            return
        for worker in range(self.size):
            if worker in sent.settled:
                continue
            finished_s = sent.sent_s + float(sent.computed_s[worker])
            if finished_s <= (self._now_s if newer_arrives_s is None else newer_arrives_s):
                self._report(sent, worker, "late")
            elif newer_arrives_s is None:
                self._report(sent, worker, "unfinished", stopped_s=self._now_s)
            else:
                self._report(sent, worker, "superseded", stopped_s=newer_arrives_s)

    def _report(self, sent: _SentRound, worker: int, status: Status, stopped_s: float | None = None) -> None:
        delay, computing_s = float(sent.delays[worker]), float(sent.work_s[worker])
        received_s: float | None = None
        if stopped_s is None:
            received_s = sent.sent_s + float(sent.response_s[worker])
        else:
            worked_s = max(0.0, stopped_s - sent.sent_s - sent.received_s)
            delay, computing_s = min(delay, worked_s), max(0.0, min(computing_s, worked_s - delay))
        event = TaskEvent(sent.index, sent.label, worker, status, sent.sent_s, received_s, delay, computing_s)
        if worker in sent.done:
            event = replace(event, pieces=sent.done[worker])
        for observer in self.observers:
            observer(event)
